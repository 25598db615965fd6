//! VAEs with other likelihoods than a discretised logistic, or with none, and parts of VAEs: each is served for what it
//! is, with the numbers of the training framework, and says why it is not more.

#![allow(clippy::unwrap_used)]

mod common;

use std::{fs, path::PathBuf};

use common::{Server, call, can, load, model, models_of, root, service_over};
use density_server::{
    domain::image::Image,
    families::GateError,
    media,
    model::{
        Model,
        codes::{DecodeAsk, Decodes, Encodes, Interpolates, Reconstructs},
        detect::Judges,
        draw::{Completes, DrawAsk, Draws, Observation},
        info::Density,
        labels::Condition,
        score::{BoundChoice, ScoreAsk, Scores},
    },
    scheduling::SchedulerConfig,
    transport::http::HttpConfig,
};
use serde_json::{Value, json};

const WITHOUT_LIKELIHOOD: [&str; 2] = ["grey-cross-entropy-vae", "squared-error-vae"];

fn folder() -> PathBuf {
    root().join("tests/fixtures/parts")
}

fn golden(name: &str, file: &str) -> Vec<u8> {
    fs::read(folder().join(name).join("1").join(file)).unwrap()
}

fn golden_images(model: &Model) -> Vec<Image> {
    media::read_images(&golden(&model.name, "golden_images.npy"), model.shape, usize::MAX).unwrap()
}

fn why_not<C: ?Sized + Send + Sync + 'static>(model: &Model) -> String {
    model.can::<C>().err().unwrap().to_string()
}

#[test]
fn each_head_reproduces_the_numbers_of_the_training_framework() {
    for (name, likelihood, density) in [
        ("gaussian-vae", "gaussian", Density::LowerBound),
        ("sigma-vae", "gaussian", Density::LowerBound),
        ("bernoulli-vae", "bernoulli", Density::LowerBound),
        ("mixture-vae", "discretized-logistic-mixture", Density::LowerBound),
        ("grey-cross-entropy-vae", "none", Density::Implicit),
        ("squared-error-vae", "none", Density::Implicit),
        ("vae-encoder", "none", Density::None),
        ("vae-decoder", "none", Density::Implicit),
    ] {
        let loaded = load(&folder().join(name).join("1"), name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(
            (loaded.card.likelihood, loaded.card.density),
            (likelihood, density),
            "{name}"
        );
        let golden = loaded.card.checks.iter().any(|check| check.name.starts_with("golden"));
        assert!(golden, "{name}: {:#?}", loaded.card.checks);
    }
}

#[tokio::test]
async fn a_bound_is_below_a_tighter_one_for_every_head() {
    let models = models_of(&folder());
    for name in ["gaussian-vae", "sigma-vae", "bernoulli-vae", "mixture-vae"] {
        let vae = model(&models, name);
        let mut means = Vec::new();
        for bound in [BoundChoice::Elbo, BoundChoice::Iwae] {
            let ask = ScoreAsk {
                bound: Some(bound),
                k: Some(256),
                seed: 3,
                map: true,
                condition: Condition::None,
            };
            let scored = can::<dyn Scores>(&vae)
                .score(golden_images(&vae), &ask, &call(&models))
                .await;
            let scores = scored.unwrap().items.into_iter().map(Result::unwrap);
            let totals: Vec<f64> = scores.map(|score| score.log_likelihood.0).collect();
            assert!(totals.iter().all(|total| total.is_finite() && *total < 0.0), "{name}");
            means.push(totals.iter().sum::<f64>());
        }
        assert!(means[0] <= means[1], "{name}: {means:?}");
        let drawn = draw(&models, &vae, Observation::Sample, Condition::None).await.unwrap();
        assert_eq!(drawn.len(), 5);
    }
}

async fn draw(
    models: &density_server::repository::Repository,
    model: &Model,
    observation: Observation,
    condition: Condition,
) -> Result<Vec<Image>, density_server::model::Refusal> {
    let ask = DrawAsk {
        n: 5,
        seed: 1,
        temperature: 1.0,
        observation,
        condition,
    };
    let drawn = can::<dyn Draws>(model).draw(&ask, &call(models)).await?;
    Ok(drawn.images)
}

#[tokio::test]
async fn without_a_likelihood_there_are_reconstructions_codes_and_draws_and_a_reason() {
    let models = models_of(&folder());
    for name in WITHOUT_LIKELIHOOD {
        let vae = model(&models, name);
        let images = golden_images(&vae);
        let reconstructed = can::<dyn Reconstructs>(&vae)
            .reconstruct(images.clone(), false, &call(&models))
            .await;
        let scores = media::read_f64(&golden(name, "golden_scores.npy")).unwrap();
        for (reconstruction, score) in reconstructed.unwrap().into_iter().zip(scores) {
            let reconstruction = reconstruction.unwrap();
            let error = reconstruction.mean_squared_error * vae.shape.dimensions() as f64;
            assert!((error - score).abs() < 1e-3, "{name}: {error} {score}");
            assert_eq!(reconstruction.log_likelihood_given_code, None);
        }
        can::<dyn Encodes>(&vae)
            .encode(images.clone(), &call(&models))
            .await
            .unwrap();
        let between = can::<dyn Interpolates>(&vae);
        let way = between
            .interpolate(images[0].clone(), images[1].clone(), 3, &call(&models))
            .await;
        assert_eq!(way.unwrap().len(), 3);
        draw(&models, &vae, Observation::Mean, Condition::None).await.unwrap();
        let refused = draw(&models, &vae, Observation::Sample, Condition::None)
            .await
            .unwrap_err();
        assert!(refused.to_string().contains("nothing to draw"), "{refused}");
        let reason = why_not::<dyn Scores>(&vae);
        assert_eq!(reason, why_not::<dyn Judges>(&vae));
        assert_eq!(reason, why_not::<dyn Completes>(&vae));
        let part = if name == "squared-error-vae" {
            "sigma"
        } else {
            "do not sum to 1"
        };
        assert!(reason.contains(part), "{name}: {reason}");
    }
}

#[tokio::test]
async fn an_encoder_alone_encodes() {
    let models = models_of(&folder());
    let encoder = model(&models, "vae-encoder");
    let codes = can::<dyn Encodes>(&encoder)
        .encode(golden_images(&encoder), &call(&models))
        .await
        .unwrap();
    let means = media::read_numbers(&golden("vae-encoder", "golden_means.npy"), &[3]).unwrap();
    let found: Vec<f64> = codes
        .into_iter()
        .flat_map(|code| code.unwrap().code)
        .map(f64::from)
        .collect();
    assert_eq!(found.len(), means.len());
    assert!(found.iter().zip(means).all(|(a, b)| (a - b).abs() < 1e-3));
    assert!(why_not::<dyn Scores>(&encoder).contains("encoder only"));
    assert!(why_not::<dyn Decodes>(&encoder).contains("no decoder"));
    assert!(why_not::<dyn Draws>(&encoder).contains("no decoder"));
}

#[tokio::test]
async fn a_decoder_alone_decodes_for_labels_and_says_why_it_has_no_density() {
    let models = models_of(&folder());
    let decoder = model(&models, "vae-decoder");
    let codes = media::read_numbers(&golden("vae-decoder", "golden_latents.npy"), &[3]).unwrap();
    let images = media::read_numbers(&golden("vae-decoder", "golden_images.npy"), &[1, 6, 5]).unwrap();
    for (index, (code, image)) in codes.chunks(3).zip(images.chunks(30)).enumerate() {
        let ask = DecodeAsk {
            observation: Observation::Mean,
            seed: 0,
            condition: Condition::Label(index as u32 % 2),
        };
        let code = code.iter().map(|&value| value as f32).collect();
        let decoded = can::<dyn Decodes>(&decoder)
            .decode(vec![code], &ask, &call(&models))
            .await
            .unwrap();
        let decoded = decoded.into_iter().next().unwrap().unwrap();
        let near = |(&level, value): (&u8, &f64)| (f64::from(level) - value * 15.0).abs() <= 0.5 + 1e-4;
        assert!(decoded.levels().iter().zip(image).all(near), "{index}");
    }
    assert!(why_not::<dyn Scores>(&decoder).contains("decoder only"));
    assert!(why_not::<dyn Encodes>(&decoder).contains("no encoder"));
    let one = draw(&models, &decoder, Observation::Mean, Condition::Label(0))
        .await
        .unwrap();
    let other = draw(&models, &decoder, Observation::Mean, Condition::Label(1))
        .await
        .unwrap();
    assert_ne!(one, other);
}

#[tokio::test]
async fn parts_answer_over_http() {
    let service = service_over(&folder(), common::engine(), SchedulerConfig::default());
    let server = Server::start(&service, HttpConfig::default()).await;
    let client = reqwest::Client::new();
    let post = async |path: &str, body: Value| {
        let answer = client
            .post(format!("{}/v1/models/{path}", server.url))
            .json(&body)
            .send()
            .await
            .unwrap();
        let status = answer.status().as_u16();
        (status, answer.json::<Value>().await.unwrap())
    };
    let codes = json!({"latents": [[0.0, 1.0, -1.0], [0.5, 0.5, 0.5]]});
    let (status, answer) = post("vae-decoder/decode?label=square", codes.clone()).await;
    assert_eq!(
        (status, &answer["labels"]),
        (200, &json!(["square", "square"])),
        "{answer}"
    );
    let (_, answer) = post("vae-decoder/decode", codes).await;
    assert_eq!(answer["labels"].as_array().unwrap().len(), 2, "{answer}");
    assert!(answer["seed"].is_u64(), "{answer}");
    let (status, answer) = post("vae-decoder/sample?n=2&label=0&seed=1", json!({})).await;
    assert_eq!((status, &answer["sampler"]), (200, &json!("decoder")), "{answer}");
    let image = json!({"images": [{"pixels": vec![vec![3; 5]; 6]}]});
    let (status, answer) = post("vae-decoder/score", image.clone()).await;
    assert_eq!(status, 422);
    assert!(answer["detail"].as_str().unwrap().contains("decoder only"), "{answer}");
    let (status, answer) = post("squared-error-vae/score", image.clone()).await;
    assert_eq!(status, 422);
    assert!(answer["detail"].as_str().unwrap().contains("sigma"), "{answer}");
    let (status, answer) = post("gaussian-vae/score", image).await;
    assert_eq!((status, &answer["bound"]), (200, &json!("elbo")), "{answer}");
}

/// What the gate says of a fixture of which `from` in the manifest was replaced.
fn altered(name: &str, changes: &[(&str, &str)]) -> GateError {
    let copy = tempfile::tempdir().unwrap();
    let version = copied(name, copy.path());
    let path = version.join("model.toml");
    let mut text = fs::read_to_string(&path).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from:?} in {text}");
        text = text.replace(from, to);
    }
    fs::write(&path, text).unwrap();
    load(&version, name).unwrap_err()
}

#[tokio::test]
async fn a_weighted_kl_term_is_scored_with_weight_one_and_told() {
    let repository = tempfile::tempdir().unwrap();
    let name = "gaussian-vae";
    let version = copied(name, repository.path());
    let manifest = version.join("model.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("[provenance]\n", "[provenance]\nbeta = 4.0\n")).unwrap();
    let (weighted, plain) = (models_of(repository.path()), models_of(&folder()));
    let mut scores = Vec::new();
    for models in [&weighted, &plain] {
        let vae = model(models, name);
        let ask = ScoreAsk {
            bound: None,
            k: Some(4),
            seed: 1,
            map: false,
            condition: Condition::None,
        };
        let scored = can::<dyn Scores>(&vae)
            .score(golden_images(&vae), &ask, &call(models))
            .await
            .unwrap();
        let first = scored.items.into_iter().next().unwrap().unwrap();
        scores.push((scored.qualifiers.beta, first.log_likelihood.0));
    }
    assert_eq!((scores[0].0, scores[1].0), (Some(1.0), None));
    assert_eq!(scores[0].1, scores[1].1);
    let told = &model(&weighted, name).card.checks;
    assert!(
        told.iter().any(|check| check.finding.contains("scored with β = 1")),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|check| check.name == "latent" && check.finding.starts_with("3 of 3 units"))
    );
}

/// A copy of a fixture in a repository.
fn copied(name: &str, repository: &std::path::Path) -> PathBuf {
    let version = repository.join(name).join("1");
    fs::create_dir_all(&version).unwrap();
    for file in fs::read_dir(folder().join(name).join("1")).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, version.join(file.file_name().unwrap())).unwrap();
    }
    version
}

#[test]
fn what_does_not_go_together_is_refused_with_what_would() {
    let likelihood = "[likelihood]\nhead = \"gaussian\"\nsigma = 0.2\n";
    for (name, from, to, part) in [
        ("sigma-vae", "sigma = 0.2", "sigma = 0.0", "finite and above 0"),
        (
            "sigma-vae",
            "sigma = 0.2\n",
            "",
            "names mean and log_scale, and not mean",
        ),
        (
            "sigma-vae",
            "\"gaussian\"",
            "\"bernoulli\"",
            "only a \"gaussian\" head has one",
        ),
        (
            "sigma-vae",
            "\"gaussian\"\nsigma = 0.2",
            "\"categorical\"",
            "a decoder has a",
        ),
        ("sigma-vae", likelihood, "", "golden squared errors"),
        (
            "bernoulli-vae",
            "[declared]\nlogits = \"probabilities\"\n",
            "",
            "golden scores",
        ),
        (
            "bernoulli-vae",
            "\"bernoulli\"",
            "\"gaussian\"",
            "names mean and log_scale, and not logits",
        ),
        (
            "squared-error-vae",
            "[golden]",
            "[likelihood]\nhead = \"gaussian\"\nsigma = 0.5\n[golden]",
            "golden scores",
        ),
        (
            "vae-encoder",
            "[golden]",
            "[likelihood]\nhead = \"gaussian\"\n[golden]",
            "an encoder alone gives codes",
        ),
        ("vae-decoder", "label = \"label\"\n", "", "no label input"),
        (
            "vae-decoder",
            "[golden]",
            "[input]\nscale = 1.0\noffset = 0.0\n[golden]",
            "takes codes, not images",
        ),
    ] {
        let error = altered(name, &[(from, to)]).to_string();
        assert!(error.contains(part), "{name}: {error}");
    }
}

#[test]
fn a_golden_number_that_is_not_the_models_is_found() {
    for (name, file) in [
        ("vae-encoder", "golden_log_variances.npy"),
        ("vae-decoder", "golden_images.npy"),
    ] {
        let copy = tempfile::tempdir().unwrap();
        let version = copied(name, copy.path());
        let path = version.join(file);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 2;
        bytes[last] ^= 0x40;
        fs::write(&path, &bytes).unwrap();
        let manifest = version.join("model.toml");
        let text = fs::read_to_string(&manifest).unwrap();
        let old = text
            .lines()
            .find(|line| line.starts_with(&format!("{file:?}")))
            .unwrap();
        let hash = density_server::families::manifest::sha256(&bytes);
        fs::write(&manifest, text.replace(old, &format!("{file:?} = \"{hash}\""))).unwrap();
        let error = load(&version, name).unwrap_err();
        assert!(matches!(error, GateError::Golden { .. }), "{name}: {error}");
    }
}
