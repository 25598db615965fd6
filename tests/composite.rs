//! Composites of Bayes' rule from end to end: made from a classifier and a density, served, asked, refused where
//! something is wrong.

#![allow(clippy::unwrap_used)]

mod command;
mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{Server, call, can, fixtures, model, models_of, service_of};
use density_server::{
    domain::{
        image::{Image, ImageShape},
        random::{Random, Stream},
    },
    media,
    model::{
        Kind, Model,
        catalogue::Catalogue,
        classify::{Classification, Classifies, ClassifyAsk, Decision},
        info::State,
        score::{ScoreAsk, Scores},
    },
    operations::Limits,
    repository::Repository,
    transport::http::HttpConfig,
};
use serde_json::{Value, json};

const NAME: &str = "tiny-bayes";

/// A repository with the members of a composite.
fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tiny-classifier", "tiny-pixelcnn", "tiny-vae"] {
        let (from, to) = (fixtures().join(name).join("1"), folder.path().join(name).join("1"));
        fs::create_dir_all(&to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
    folder
}

/// Images with every level equally likely, which is what the members were calibrated with.
fn images(count: usize, seed: u64) -> Vec<Image> {
    let shape = ImageShape::new(1, 6, 5, 4).unwrap();
    (0..count as u64)
        .map(|index| {
            let random = Random::new(seed, Stream::Probe, index);
            let levels = (0..30).map(|place| (4.0 * random.uniform(place)) as u8);
            Image::new(shape, levels.collect::<Vec<u8>>()).unwrap()
        })
        .collect()
}

fn array(folder: &Path, name: &str, images: &[Image]) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, media::write_images(images, images[0].shape())).unwrap();
    path
}

/// `density-server calibrate` with more arguments; its output.
fn calibrate(repository: &Path, arguments: &[&str]) -> std::process::Output {
    command::binary()
        .args(["calibrate", "--repository", command::text(repository)])
        .args(arguments)
        .output()
        .unwrap()
}

/// A repository with a composite that 300 images calibrated.
fn with_composite() -> tempfile::TempDir {
    let folder = repository();
    let data = array(folder.path(), "data.npy", &images(300, 1));
    let output = calibrate(
        folder.path(),
        &[
            "tiny-classifier",
            "--member",
            "density=tiny-pixelcnn",
            "--name",
            NAME,
            "--data",
            command::text(&data),
        ],
    );
    let said = command::stdout(&output, 0);
    assert!(said.contains("300 images calibrate"), "{said}");
    folder
}

async fn classify(models: &Repository, name: &str, images: Vec<Image>, ask: &ClassifyAsk) -> Vec<Classification> {
    let classifies = can::<dyn Classifies>(&model(models, name));
    let answer = classifies.classify(images, ask, &call(models)).await;
    answer.unwrap().into_iter().map(Result::unwrap).collect()
}

async fn log_likelihoods(models: &Repository, model: &Model, images: Vec<Image>, label: Option<&str>) -> Vec<f64> {
    let ask = ScoreAsk {
        bound: None,
        k: None,
        seed: 0,
        map: false,
        condition: model.condition(label).unwrap(),
    };
    let scores = can::<dyn Scores>(model);
    let answer = scores.score(images, &ask, &call(models)).await.unwrap();
    let items = answer.items.into_iter();
    items.map(|item| item.unwrap().log_likelihood.0).collect()
}

#[tokio::test]
async fn its_answers_are_those_of_its_members_put_together() {
    let folder = with_composite();
    let models = models_of(folder.path());
    let (composite, density) = (model(&models, NAME), model(&models, "tiny-pixelcnn"));
    let images = images(20, 2);
    let ask = ClassifyAsk::default();
    let together = classify(&models, NAME, images.clone(), &ask).await;
    let alone = classify(&models, "tiny-classifier", images.clone(), &ask).await;
    let score = async |model, label| log_likelihoods(&models, model, images.clone(), label).await;
    let log_density = score(&density, None).await;
    assert_eq!(score(&composite, None).await, log_density);
    let given_square = score(&composite, Some("square")).await;
    // The prior of the fixture.
    let prior = [0.5f64, 0.25, 0.25];
    for (place, (own, alone)) in together.iter().zip(&alone).enumerate() {
        assert_eq!(own.log_posterior, alone.log_posterior);
        assert!((own.log_evidence.unwrap() - log_density[place]).abs() < 1e-9);
        let likelihoods = own.log_likelihoods.as_ref().unwrap();
        for (label, likelihood) in likelihoods.iter().enumerate() {
            let expected = alone.log_posterior[label] + log_density[place] - prior[label].ln();
            assert!((likelihood - expected).abs() < 1e-9);
        }
        assert!((given_square[place] - likelihoods[1]).abs() < 1e-9);
        let doubts = own.doubts.as_ref().unwrap();
        let surest = alone.log_posterior.iter().copied().fold(f64::MIN, f64::max);
        assert_eq!(doubts.ambiguity.value, -surest);
    }
}

#[tokio::test]
async fn each_reason_rejects_no_more_than_it_may() {
    let folder = with_composite();
    let models = models_of(folder.path());
    let ask = ClassifyAsk {
        false_alarm_rate: Some(0.1),
        ..ClassifyAsk::default()
    };
    let answer = classify(&models, NAME, images(1_000, 3), &ask).await;
    let doubts: Vec<_> = answer.into_iter().map(|own| own.doubts.unwrap()).collect();
    let ambiguous = doubts.iter().filter(|own| own.ambiguity.reject).count();
    let novel = doubts.iter().filter(|own| own.novelty.reject).count();
    // The rates are Beta(30, 271) and, two-sided among 200, near Beta(20, 181): six standard deviations either way.
    assert!((25..=220).contains(&ambiguous), "{ambiguous}");
    assert!((15..=240).contains(&novel), "{novel}");
    for own in &doubts {
        let expected = match (own.novelty.p_value <= 0.1, own.ambiguity.p_value <= 0.1) {
            (true, _) => Decision::NoneOfThese,
            (false, true) => Decision::Ambiguous,
            (false, false) => Decision::Accept,
        };
        assert_eq!(own.decision(), expected);
    }
}

/// Tensors tell what JSON tells of the reasons to give no label.
fn same_doubts(outputs: &Value, results: &[Value]) {
    let outputs = outputs.as_array().unwrap();
    for (name, reason, of) in [
        ("novel", "novelty", "reject"),
        ("ambiguous", "ambiguity", "reject"),
        ("novelty_p_value", "novelty", "p_value"),
        ("ambiguity_p_value", "ambiguity", "p_value"),
    ] {
        let tensor = outputs.iter().find(|own| own["name"] == name);
        let tensor = tensor.unwrap_or_else(|| panic!("{name} is not among {outputs:?}"));
        let expected: Vec<&Value> = results.iter().map(|own| &own[reason][of]).collect();
        let told: Vec<&Value> = tensor["data"].as_array().unwrap().iter().collect();
        assert_eq!(told, expected, "{name}");
    }
}

#[tokio::test]
async fn over_http_a_rejected_image_has_no_label() {
    let folder = with_composite();
    let service = service_of(Arc::new(models_of(folder.path())), Limits::default());
    let server = Server::start(&service, HttpConfig::default()).await;
    let client = reqwest::Client::new();
    let ask = async |query: &str, images: &[Image]| {
        let answer = client
            .post(format!("{}/v1/models/{NAME}/{query}", server.url))
            .header("content-type", "application/x-npy")
            .body(media::write_images(images, images[0].shape()))
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap())
    };
    let mut asked = images(40, 4);
    // Not one of the inliers looks like this.
    asked.push(Image::new(asked[0].shape(), vec![3; 30]).unwrap());
    let (status, body) = ask("classify?false_alarm_rate=0.2", &asked).await;
    assert_eq!(status, 200, "{body}");
    let results = body["results"].as_array().unwrap();
    for own in results {
        let accepted = own["decision"] == "accept";
        assert_eq!(own["label"].is_string(), accepted, "{own}");
        assert_eq!(own["false_alarm_rate"], 0.2);
        for reason in ["ambiguity", "novelty"] {
            let p = own[reason]["p_value"].as_f64().unwrap();
            assert_eq!(own[reason]["reject"], p <= 0.2, "{own}");
        }
        let sum: f64 = own["probabilities"]
            .as_object()
            .unwrap()
            .values()
            .map(|p| p.as_f64().unwrap())
            .sum();
        assert!((sum - 1.0).abs() < 1e-9);
    }
    let decisions: Vec<&str> = results.iter().map(|own| own["decision"].as_str().unwrap()).collect();
    let metrics = client.get(format!("{}/metrics", server.url)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for decision in ["accept", "ambiguous", "none_of_these"] {
        let count = decisions.iter().filter(|own| **own == decision).count();
        assert!(count > 0, "{decisions:?}");
        let line = format!("density_decisions_total{{decision=\"{decision}\",model=\"{NAME}\"}} {count}");
        assert!(metrics.contains(&line), "{line} is not in {metrics}");
    }
    let flat: Vec<u8> = asked.iter().flat_map(|image| image.levels().to_vec()).collect();
    let tensor = json!({"name": "image", "datatype": "UINT8", "shape": [asked.len(), 1, 6, 5], "data": flat});
    let tensors = client
        .post(format!("{}/v2/models/{NAME}:classify/infer", server.url))
        .json(&json!({"inputs": [tensor], "parameters": {"false_alarm_rate": 0.2}}))
        .send()
        .await
        .unwrap();
    let tensors: Value = tensors.json().await.unwrap();
    same_doubts(&tensors["outputs"], results);
    let declared = async |model: &str| {
        let about = client
            .get(format!("{}/v2/models/{model}:classify", server.url))
            .send()
            .await;
        let about: Value = about.unwrap().json().await.unwrap();
        let outputs = about["outputs"].as_array().unwrap().clone();
        outputs
            .iter()
            .map(|own| own["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(declared("tiny-classifier").await, ["probabilities"]);
    let of_composite = declared(NAME).await;
    assert!(of_composite.contains(&"novel".to_owned()), "{of_composite:?}");
    let about = client
        .get(format!("{}/v1/models/{NAME}", server.url))
        .send()
        .await
        .unwrap();
    let about: Value = about.json().await.unwrap();
    assert_eq!(about["likelihood"], "categorical");
    assert_eq!(about["calibration"]["size"], 300);
    // Two-sided among the 200 scores of the density.
    let smallest = about["calibration"]["smallest_false_alarm_rate"].as_f64().unwrap();
    assert!((smallest - 2.0 / 201.0).abs() < 1e-12, "{about}");

    let refusals = [
        ("classify?map=true", "density that is conditioned on labels"),
        ("classify?false_alarm_rate=0.0001", "false-alarm rate"),
        ("classify?false_alarm_rate=2", "false_alarm_rate"),
        ("score?label=square&map=true", "does not come apart"),
        ("score?label=triangle", "round, square, other"),
        ("detect", "classify says it"),
        ("encode", "ask its members"),
    ];
    for (query, reason) in refusals {
        let (status, body) = ask(query, &asked[..1]).await;
        assert_eq!(status, 422, "{query}: {body}");
        assert!(body["detail"].as_str().unwrap().contains(reason), "{query}: {body}");
    }
    server.shut_down().await.unwrap();
}

#[tokio::test]
async fn a_model_that_always_names_a_label_has_no_false_alarm_rate() {
    let folder = repository();
    let models = models_of(folder.path());
    let ask = ClassifyAsk {
        false_alarm_rate: Some(0.1),
        ..ClassifyAsk::default()
    };
    let error = can::<dyn Classifies>(&model(&models, "tiny-classifier"))
        .classify(images(1, 5), &ask, &call(&models))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::InvalidOption);
    assert!(error.to_string().contains("none of these"), "{error}");
}

#[test]
fn what_does_not_fit_together_is_refused_when_it_is_made() {
    let folder = repository();
    let data = array(folder.path(), "data.npy", &images(300, 1));
    let few = array(folder.path(), "few.npy", &images(99, 1));
    let made = |members: &[&str], data: &Path, more: &[&str]| {
        let mut arguments = vec!["tiny-classifier", "--name", NAME, "--data", command::text(data)];
        for member in members {
            arguments.extend(["--member", member]);
        }
        arguments.extend(more);
        let output = calibrate(folder.path(), &arguments);
        assert_eq!(output.status.code(), Some(2), "{members:?}");
        command::stderr(&output)
    };
    let density = "density=tiny-pixelcnn";
    for (members, data, more, reason) in [
        (&["density=tiny-vae"][..], &data, &[][..], "an exact density"),
        (&[density, "novelty=tiny-vae"], &data, &[], "a detector"),
        (&[density, density], &data, &[], "there is a density already"),
        (
            &[density, "classifier=tiny-classifier"],
            &data,
            &[],
            "is the model itself",
        ),
        (&[density, "judge=tiny-vae"], &data, &[], "classifier, density, novelty"),
        (&[density], &few, &[], "at least 100"),
        (&[density], &data, &["--stir"], "--stir is for detectors"),
    ] {
        let said = made(members, data, more);
        assert!(said.contains(reason), "{members:?}: {said}");
    }
    assert!(!folder.path().join(NAME).exists(), "nothing half made is left");
    let data = command::text(&data);
    let arguments = ["--member", density, "--name", "tiny-pixelcnn"];
    let in_its_place = [&["tiny-classifier", "--data", data], &arguments[..]].concat();
    let output = calibrate(folder.path(), &in_its_place);
    assert_eq!(output.status.code(), Some(2));
    let said = command::stderr(&output);
    assert!(said.contains("choose another name"), "{said}");
    assert!(!folder.path().join("tiny-pixelcnn/2").exists());
}

/// Why the composite does not serve.
fn refused(models: &Repository) -> String {
    let listing = models.listing(NAME, None).unwrap();
    assert_eq!(listing.state, State::Failed);
    listing.reason.unwrap()
}

#[test]
fn a_member_that_is_another_one_now_takes_the_composite_down_and_nothing_else() {
    let folder = with_composite();
    let manifest = folder.path().join(NAME).join("1/model.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let line = text.lines().find(|line| line.starts_with("sha256 = ")).unwrap();
    fs::write(&manifest, text.replace(line, "sha256 = \"00\"")).unwrap();
    let models = models_of(folder.path());
    let reason = refused(&models);
    assert!(
        reason.contains("is not the one that the composite was made of"),
        "{reason}"
    );
    assert!(models.model("tiny-classifier", None).is_ok());

    fs::remove_dir_all(folder.path().join("tiny-pixelcnn")).unwrap();
    fs::write(&manifest, text).unwrap();
    models.scan().unwrap();
    let reason = refused(&models);
    assert!(
        reason.contains("tiny-pixelcnn version 1: there is no such model"),
        "{reason}"
    );
}

#[test]
fn a_composite_brings_its_members_along_when_it_is_asked_for_alone() {
    let folder = with_composite();
    let data = array(folder.path(), "more.npy", &images(30, 6));
    let output = command::binary()
        .args([
            "classify",
            command::text(&folder.path().join(NAME)),
            command::text(&data),
        ])
        .output()
        .unwrap();
    let table = command::stdout(&output, 0);
    let columns: Vec<&str> = table.lines().next().unwrap().split(',').collect();
    for column in [
        "label",
        "probability",
        "decision",
        "ambiguity.p_value",
        "novelty.p_value",
        "log_likelihood",
    ] {
        assert!(columns.contains(&column), "{column} is not in {columns:?}");
    }
    assert_eq!(table.lines().count(), 31);
}

#[test]
fn evaluate_tells_what_each_reason_rejects_and_what_that_is_worth() {
    let folder = with_composite();
    let data = array(folder.path(), "held-out.npy", &images(200, 7));
    let shape = ImageShape::new(1, 6, 5, 4).unwrap();
    let flat: Vec<Image> = (0..4)
        .map(|level| Image::new(shape, vec![level; 30]).unwrap())
        .collect();
    let flat = array(folder.path(), "flat.npy", &flat);
    let labels = folder.path().join("labels.txt");
    let text: Vec<&str> = (0..200).map(|place| ["round", "square", "other"][place % 3]).collect();
    fs::write(&labels, text.join("\n")).unwrap();
    let report = folder.path().join("report");
    let output = command::binary()
        .args(["evaluate", NAME, "--repository", command::text(folder.path())])
        .args(["--data", command::text(&data), "--labels", command::text(&labels)])
        .args(["--outliers", &format!("flat={}", flat.display())])
        .args(["--output", command::text(&report)])
        .output()
        .unwrap();
    let said = command::stdout(&output, 0);
    assert!(
        said.contains("none of these") && said.contains("with the outliers, by both"),
        "{said}"
    );
    let report: Value = serde_json::from_slice(&fs::read(report.join("report.json")).unwrap()).unwrap();
    let rejection = &report["rejection"];
    let number = |value: &Value| value.as_f64().unwrap();
    for set in rejection["sets"].as_array().unwrap() {
        let mut labelled = 1.0;
        for shares in set["at"].as_array().unwrap() {
            let all = ["labelled", "ambiguous", "none_of_these"].map(|share| number(&shares[share]));
            assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{shares}");
            assert!(all[0] <= labelled, "fewer labels at a larger rate: {set}");
            labelled = all[0];
        }
    }
    let accuracy = number(&report["classification"]["accuracy"]);
    let curves = rejection["curves"].as_array().unwrap();
    assert_eq!(curves.len(), 4);
    for curve in &curves[..2] {
        assert!((number(&curve["accuracy_of_all"]) - accuracy).abs() < 1e-12);
    }
    for curve in &curves[2..] {
        let expected = accuracy * 200.0 / 204.0;
        assert!(
            (number(&curve["accuracy_of_all"]) - expected).abs() < 1e-12,
            "outliers have no right label"
        );
    }
}
