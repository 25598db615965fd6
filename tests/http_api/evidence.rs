//! What a model that is conditioned on labels answers when no label is named: p(x), over all labels.

use std::{fs, path::Path};

use density_server::{
    detection::{
        calibrate::{By, Inliers},
        statistics::Requirement,
    },
    domain::{
        image::{Image, ImageShape},
        random::{Random, Stream},
    },
    families::detector::{Recipe, calibrate},
    media,
    scheduling::SchedulerConfig,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    classify::{LABELS, assert_near, flat, number, post, results},
    client::{self, COLUMNS, ROWS, npy},
    common::{engine, fixture_models, fixtures, model, service_over},
};

const ARRAY: &str = "application/x-npy";

/// The names of labels in an answer.
fn names(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap_or_else(|_| panic!("{value}"))
}

#[tokio::test]
async fn the_evidence_is_the_sum_over_labels() {
    let evidence = results("score?map=true", 3).await;
    let mut sums = [0.0; 3];
    for (label, prior) in LABELS {
        let given = results(&format!("score?label={label}"), 3).await;
        for (sum, score) in sums.iter_mut().zip(&given) {
            *sum += prior * number(&score["log_likelihood"]).exp();
        }
    }
    for (own, sum) in evidence.iter().zip(sums) {
        let log_likelihood = number(&own["log_likelihood"]);
        assert_near(log_likelihood, f64::ln(sum), 1e-9);
        let map = flat(&own["log_probability_map"]);
        assert_near(map.iter().sum(), log_likelihood, 1e-5);
        assert!(map.iter().all(|&value| value < 1e-6), "of levels");
    }
}

#[tokio::test]
async fn an_answer_says_what_it_is_the_likelihood_of() {
    let ask = async |model: &str, operation: &str| {
        let request = client::post(model, operation).body(ARRAY, npy(1));
        request.send().await.ok()
    };
    let conditional = "tiny-conditional-pixelcnn";
    let open = ask(conditional, "score").await;
    assert_eq!(open["likelihood_of"], "p(x)");
    assert!(open.get("label").is_none());
    for label in ["square", "1"] {
        let given = ask(conditional, &format!("score?label={label}")).await;
        assert_eq!(given["likelihood_of"], "p(x|y)");
        assert_eq!(given["label"], "square");
    }
    let plain = ask("tiny-pixelcnn", "score").await;
    assert!(plain.get("likelihood_of").is_none() && plain.get("label").is_none());
}

#[tokio::test]
async fn samples_without_a_label_draw_theirs_from_the_prior() {
    let path = "sample?n=64&seed=5";
    let drawn = post(path).send().await.ok();
    let labels = names(&drawn["labels"]);
    let images = drawn["images"].as_array().unwrap();
    for (label, prior) in LABELS {
        let given = post(&format!("{path}&label={label}")).send().await.ok();
        assert_eq!(names(&given["labels"]), vec![label.to_owned(); 64]);
        let mut count = 0;
        for (place, image) in images.iter().enumerate() {
            if labels[place] == label {
                assert_eq!(image, &given["images"][place], "{label} {place}");
                count += 1;
            }
        }
        // Six standard deviations of a binomial.
        let spread = 6.0 * (64.0 * prior * (1.0 - prior)).sqrt();
        assert!((f64::from(count) - 64.0 * prior).abs() < spread, "{label} {count}");
    }
    let array = post(path).accept(ARRAY).send().await;
    let header: Value = serde_json::from_str(array.header("x-labels")).unwrap();
    assert_eq!(names(&header), labels);
    let plain = client::post("tiny-pixelcnn", "sample").send().await.ok();
    assert!(plain.get("labels").is_none());
}

#[tokio::test]
async fn generators_draw_their_labels_too() {
    let sample = async |path: &str| client::post("tiny-gan", path).send().await.ok();
    let drawn = sample("sample?n=16&seed=5").await;
    let labels = names(&drawn["labels"]);
    assert_eq!(labels.len(), 16);
    for (label, _) in LABELS {
        let given = sample(&format!("sample?n=16&seed=5&label={label}")).await;
        for (place, own) in labels.iter().enumerate() {
            let same = drawn["images"][place] == given["images"][place];
            assert!(same || own != label, "{label} {place}");
        }
        assert!(labels.iter().any(|own| own == label), "{labels:?}");
    }
}

#[tokio::test]
async fn completions_without_a_label_draw_theirs_from_what_is_known() {
    let ask = |operation: &str| {
        let request = post(operation).body(ARRAY, npy(2));
        request.send()
    };
    let drawn = ask("complete?rows=4&n=24&seed=3").await.ok();
    assert_eq!(drawn["method"], "exact");
    let given = LABELS.map(|(label, _)| format!("complete?rows=4&n=24&seed=3&label={label}"));
    let mut different = false;
    for (number, path) in given.iter().enumerate() {
        let given = ask(path).await.ok();
        for (own, given) in [0, 1].map(|image| (&drawn["results"][image], &given["results"][image])) {
            for (place, label) in names(&own["labels"]).iter().enumerate() {
                let same = label == LABELS[number].0;
                assert!(!same || own["images"][place] == given["images"][place]);
                different |= number > 0 && same;
            }
        }
    }
    assert!(different, "more than one label was drawn");
    let picture = post("complete?rows=0&seed=3&n=2").body(ARRAY, npy(1));
    let picture = picture.accept(ARRAY).send().await;
    let header: Value = serde_json::from_str(picture.header("x-labels")).unwrap();
    // Where nothing is known, completion is sampling.
    let sample = post("sample?n=2&seed=3").accept(ARRAY).send().await;
    assert_eq!(picture.body, sample.body);
    assert_eq!(names(&header).len(), 2);
}

#[tokio::test]
async fn a_completion_whose_label_cannot_be_drawn_asks_for_one() {
    let pixels = client::pixels(0);
    let mut mask = vec![vec![1; COLUMNS]; ROWS];
    mask[0][0] = 0;
    let body = json!({"images": [{"pixels": pixels}], "mask": mask});
    let answer = post("complete").json(&body).send().await;
    let detail = answer.problem(422, "invalid_option");
    assert!(detail.contains("round, square, other"), "{detail}");
    let answer = post("complete?label=round").json(&body).send().await.ok();
    assert_eq!(answer["method"], "ancestral");
    assert_eq!(names(&answer["results"][0]["labels"]), ["round"]);
}

/// A repository with the conditional fixture, calibrated with `scores`.
fn calibrated(repository: &Path, scores: &[f64]) {
    let name = "tiny-conditional-pixelcnn";
    let folder = repository.join(name).join("1");
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir(fixtures().join(name).join("1")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    let file = media::write_f64(&[scores.len()], scores.iter().copied());
    let digest: String = Sha256::digest(&file).iter().map(|byte| format!("{byte:02x}")).collect();
    fs::write(folder.join("calibration.npy"), file).unwrap();
    let manifest = folder.join("model.toml");
    let text = fs::read_to_string(&manifest).unwrap().replace(
        "[provenance]",
        "[calibration]\nscores = \"calibration.npy\"\nstatistic = \"log_likelihood\"\ndescription = \
         \"some\"\n\n[provenance]",
    );
    fs::write(manifest, text + &format!("\"calibration.npy\" = \"{digest}\"\n")).unwrap();
}

#[tokio::test]
async fn detection_looks_at_the_evidence() {
    let scores = results("score", 3).await;
    let evidence: Vec<f64> = scores.iter().map(|own| number(&own["log_likelihood"])).collect();
    // Ninety-nine inliers that are less likely than the first image and as many that are more likely: it is the middle
    // one.
    let inliers: Vec<f64> = (0..198)
        .map(|i| evidence[0] + if i % 2 == 0 { 1e-6 } else { -1e-6 } * f64::from(1 + i / 2))
        .collect();
    let repository = tempfile::tempdir().unwrap();
    calibrated(repository.path(), &inliers);
    let service = service_over(repository.path(), engine(), SchedulerConfig::default());
    let request = post("detect?false_alarm_rate=0.02").of(&service);
    let answer = request.body(ARRAY, npy(3)).send().await.ok();
    for (own, evidence) in answer["results"].as_array().unwrap().iter().zip(&evidence) {
        let statistic = &own["statistics"]["log_likelihood"];
        assert_eq!(number(&statistic["value"]), *evidence);
    }
    let p_value = |place: usize| number(&answer["results"][place]["p_value"]);
    assert!(p_value(0) > 0.98, "{answer}");
    assert_eq!(answer["results"][0]["decision"], "accept");
    assert!(p_value(1) < 0.02, "{answer}");
    assert_eq!(answer["results"][1]["decision"], "reject");
}

#[tokio::test]
async fn a_conditional_model_is_no_member_of_a_detector() {
    let models = fixture_models();
    let shape = ImageShape::new(1, ROWS, COLUMNS, 4).unwrap();
    let image = |number| {
        let random = Random::new(1, Stream::Probe, number);
        let levels = (0..30).map(|index| (random.uniform(index) * 4.0) as u8);
        Image::new(shape, levels.collect::<Vec<u8>>()).unwrap()
    };
    let model = model(&models, "tiny-conditional-pixelcnn");
    let recipe = Recipe {
        name: "gate".to_owned(),
        description: "a gate".to_owned(),
        members: vec![(Requirement::Density, model)],
        stir: false,
        samples: false,
        by: By::Everything,
        bank: 100,
        per_label: false,
        tiles: None,
        golden: Vec::new(),
        seed: 1,
        data: "noise".to_owned(),
        licence: "none".to_owned(),
        command: "none".to_owned(),
    };
    let inliers = Inliers {
        data: (0..700).map(image).collect(),
        fit: Vec::new(),
    };
    let folder = tempfile::tempdir().unwrap();
    let refused = calibrate(models.resources(), &recipe, inliers, folder.path(), |_| {});
    let reason = refused.await.unwrap_err().to_string();
    assert!(reason.contains("conditioned on labels"), "{reason}");
    assert!(fs::read_dir(folder.path()).unwrap().next().is_none());
}
