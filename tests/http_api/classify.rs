//! Labels of images, by Bayes' rule from a density that is conditioned on labels.

use serde_json::{Value, json};

use crate::client::{self, COLUMNS, Call, ROWS, call, levels, npy, pixels};

const MODEL: &str = "tiny-conditional-pixelcnn";
const ARRAY: &str = "application/x-npy";

/// The model's labels and their prior.
pub(crate) const LABELS: [(&str, f64); 3] = [("round", 0.5), ("square", 0.25), ("other", 0.25)];

/// POST to an operation of the conditional model.
pub(crate) fn post(operation: &str) -> Call {
    client::post(MODEL, operation)
}

/// Results of an operation on some images.
pub(crate) async fn results(operation: &str, images: usize) -> Vec<Value> {
    let body = post(operation).body(ARRAY, npy(images)).send().await.ok();
    let results = body["results"].as_array().unwrap().clone();
    assert_eq!(results.len(), images);
    results
}

pub(crate) fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

/// All numbers of a nested list.
pub(crate) fn flat(value: &Value) -> Vec<f64> {
    match value.as_array() {
        Some(list) => list.iter().flat_map(flat).collect(),
        None => vec![number(value)],
    }
}

pub(crate) fn assert_near(a: f64, b: f64, tolerance: f64) {
    assert!((a - b).abs() <= tolerance * (1.0 + a.abs()), "{a} {b}");
}

fn doubles(bytes: &[u8]) -> Vec<f64> {
    let double = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().unwrap());
    bytes.chunks(8).map(double).collect()
}

fn singles(bytes: &[u8]) -> Vec<f32> {
    let single = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().unwrap());
    bytes.chunks(4).map(single).collect()
}

#[tokio::test]
async fn the_posterior_is_that_of_bayes_rule() {
    let classified = results("classify", 3).await;
    for (label, prior) in LABELS {
        let scores = results(&format!("score?label={label}"), 3).await;
        for (own, score) in classified.iter().zip(&scores) {
            let likelihood = number(&score["log_likelihood"]);
            assert_eq!(number(&own["log_likelihoods"][label]), likelihood);
            let joint = likelihood + f64::ln(prior);
            let posterior = number(&own["log_posterior"][label]);
            assert_near(posterior, joint - number(&own["log_likelihood"]), 1e-9);
            assert_near(number(&own["probabilities"][label]), posterior.exp(), 1e-12);
        }
    }
    for own in &classified {
        let probabilities = LABELS.map(|(label, _)| number(&own["probabilities"][label]));
        assert_near(probabilities.iter().sum(), 1.0, 1e-9);
        let largest = probabilities.into_iter().fold(0.0, f64::max);
        let label = own["label"].as_str().unwrap();
        assert_eq!(number(&own["probability"]), largest);
        assert_eq!(number(&own["probabilities"][label]), largest);
        assert!(own.get("pixel_evidence").is_none());
        let bits = -number(&own["log_likelihood"]) / ((ROWS * COLUMNS) as f64 * 2f64.ln());
        assert_near(number(&own["bits_per_dim"]), bits, 1e-9);
    }
}

#[tokio::test]
async fn the_most_probable_labels_are_listed_instead_of_all() {
    let (all, listed) = (results("classify", 3).await, results("classify?top=2", 3).await);
    for (all, listed) in all.iter().zip(&listed) {
        let top = listed["top"].as_array().unwrap();
        assert_eq!(top.len(), 2);
        assert_eq!(top[0]["label"], all["label"]);
        for own in top {
            let label = own["label"].as_str().unwrap();
            assert_eq!(own["probability"], all["probabilities"][label]);
            assert_eq!(own["log_posterior"], all["log_posterior"][label]);
        }
        assert!(number(&top[0]["probability"]) >= number(&top[1]["probability"]));
        assert!(listed.get("probabilities").is_none() && all.get("top").is_none());
    }
    let none = post("classify?top=0").body(ARRAY, npy(1)).send().await;
    none.problem(422, "invalid_option");
}

#[tokio::test]
async fn labels_come_in_the_order_of_their_numbers() {
    let answer = post("classify").body(ARRAY, npy(1)).send().await.text();
    let place = |label: &str| answer.find(&format!("\"{label}\":")).unwrap();
    let places = LABELS.map(|(label, _)| place(label));
    assert!(places.is_sorted(), "{answer}");
}

#[tokio::test]
async fn pixel_evidence_is_how_far_the_label_beats_the_mixture() {
    let classified = results("classify?map=true", 2).await;
    let mixture = results("score?map=true", 2).await;
    for (label, prior) in LABELS {
        let given = results(&format!("score?map=true&label={label}"), 2).await;
        for (index, own) in classified.iter().enumerate() {
            let evidence = flat(&own["pixel_evidence"][label]);
            let learnt = number(&own["log_posterior"][label]) - f64::ln(prior);
            assert_near(evidence.iter().sum(), learnt, 1e-4);
            let of = |results: &[Value]| flat(&results[index]["log_probability_map"]);
            for ((evidence, given), mixture) in evidence.into_iter().zip(of(&given)).zip(of(&mixture)) {
                assert_near(evidence, given - mixture, 1e-5);
            }
        }
    }
}

#[tokio::test]
async fn a_label_does_not_depend_on_the_company_of_the_image() {
    let together = results("classify?map=true", 4).await;
    for (variant, own) in together.iter().enumerate() {
        let alone = json!({"images": [{"pixels": pixels(variant)}], "map": true});
        let alone = post("classify").json(&alone).send().await.ok();
        assert_eq!(&alone["results"][0], own);
    }
}

#[tokio::test]
async fn arrays_and_pictures_have_a_place_for_every_label() {
    let ask = |operation: &str, format: &str| {
        let request = post(operation).body(ARRAY, npy(2));
        request.accept(format).send()
    };
    let (header, bytes) = ask("classify", ARRAY).await.array();
    assert!(header.contains("<f8") && header.contains("(2, 3)"), "{header}");
    let listed = results("classify?map=true", 2).await;
    let expected: Vec<f64> = listed
        .iter()
        .flat_map(|own| LABELS.map(|(label, _)| number(&own["probabilities"][label])))
        .collect();
    for (value, expected) in doubles(&bytes).into_iter().zip(expected) {
        assert_near(value, expected, 1e-12);
    }

    let (header, bytes) = ask("classify?map=true", ARRAY).await.array();
    assert!(header.contains("<f4") && header.contains("(2, 3, 1, 6, 5)"), "{header}");
    let expected: Vec<f64> = listed
        .iter()
        .flat_map(|own| LABELS.map(|(label, _)| flat(&own["pixel_evidence"][label])))
        .flatten()
        .collect();
    for (value, expected) in singles(&bytes).into_iter().zip(expected) {
        assert_near(f64::from(value), expected, 1e-6);
    }

    let picture = ask("classify?map=true", "image/png").await.picture();
    let scale = picture.height() / (2 * ROWS as u32 + 1);
    assert_eq!(picture.height(), scale * (2 * ROWS as u32 + 1));
    assert_eq!(picture.width(), scale * (3 * COLUMNS as u32 + 2));
    let detail = ask("classify", "image/png").await.problem(406, "not_acceptable");
    assert!(detail.contains("map=true"), "{detail}");
}

#[tokio::test]
async fn a_bad_image_does_not_spoil_its_neighbours() {
    let too_high: Vec<Vec<u8>> = levels(0).chunks(COLUMNS).map(|row| vec![9; row.len()]).collect();
    let images = json!({"images": [{"pixels": too_high}, {"pixels": pixels(1)}]});
    let answer = post("classify").json(&images).send().await.ok();
    assert_eq!(answer["results"][0]["error"]["status"], 422);
    assert_eq!(answer["results"][1], results("classify", 2).await[1]);
}

#[tokio::test]
async fn only_a_model_of_every_label_can_classify() {
    let answer = client::post("tiny-pixelcnn", "classify").body(ARRAY, npy(1));
    let detail = answer.send().await.problem(422, "unsupported");
    assert!(detail.contains("not conditioned on labels"), "{detail}");
    assert!(detail.contains("p(x|y) for every label"), "{detail}");
    for (model, can) in [(MODEL, true), ("tiny-pixelcnn", false), ("tiny-vae", false)] {
        let path = format!("/v1/models/{model}");
        let model = call("GET", &path).send().await.ok();
        let capabilities = model["capabilities"].as_array().unwrap();
        let classify = capabilities.iter().find(|own| own["name"] == "classify");
        assert_eq!(classify.unwrap()["available"], can, "{model}");
        assert_eq!(model["conditional"], can);
    }
    let unknown = post("classify?mapp=true").body(ARRAY, npy(1)).send().await;
    let detail = unknown.problem(422, "invalid_option");
    assert!(detail.contains("map"), "{detail}");
}

#[tokio::test]
async fn a_classifier_names_labels_and_says_nothing_of_the_image() {
    let ask = |operation: &str| {
        let request = client::post("tiny-classifier", operation);
        request.body(ARRAY, npy(2)).send()
    };
    let answer = ask("classify").await.ok();
    for own in answer["results"].as_array().unwrap() {
        let probabilities = own["probabilities"].as_object().unwrap();
        assert_near(probabilities.values().map(number).sum(), 1.0, 1e-9);
        let label = own["label"].as_str().unwrap();
        assert_eq!(probabilities[label], own["probability"]);
        for absent in ["log_likelihood", "log_likelihoods", "bits_per_dim", "pixel_evidence"] {
            assert!(own.get(absent).is_none(), "{absent} in {own}");
        }
    }
    let detail = ask("classify?map=true").await.problem(422, "invalid_option");
    assert!(detail.contains("as a whole"), "{detail}");
}

#[tokio::test]
async fn classified_images_are_counted() {
    results("classify", 2).await;
    let metrics = call("GET", "/metrics").send().await.text();
    let counted = format!("density_images_total{{model=\"{MODEL}\",operation=\"classify\"}}");
    let line = metrics.lines().find(|line| line.starts_with(&counted));
    let count: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(count >= 2.0);
}
