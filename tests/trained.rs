//! The committed trained models: parity with the training framework, and what they are for.

#![allow(clippy::unwrap_used)]

mod common;

use std::{fs, sync::LazyLock};

use common::{call, can, model, models_of, trained};
use density_server::{
    domain::image::Image,
    media,
    model::{
        Model,
        compress::{Compressed, Compresses},
        detect::{JudgeAsk, Judges},
        draw::{DrawAsk, Draws, Observation},
        labels::Condition,
        score::{BoundChoice, ScoreAsk, Scores},
    },
    repository::Repository,
};

/// One for all tests: proving causality takes a pass a pixel.
fn models() -> &'static Repository {
    static MODELS: LazyLock<Repository> = LazyLock::new(|| models_of(&trained()));
    &MODELS
}

/// Log-likelihoods of images.
async fn scores(model: &Model, images: Vec<Image>, bound: Option<BoundChoice>) -> Vec<f64> {
    let k = bound.map(|_| 64);
    let ask = ScoreAsk {
        bound,
        k,
        seed: 0,
        map: false,
        condition: Condition::None,
    };
    let scored = can::<dyn Scores>(model)
        .score(images, &ask, &call(models()))
        .await
        .unwrap();
    scored
        .items
        .into_iter()
        .map(|score| score.unwrap().log_likelihood.0)
        .collect()
}

/// Which images are rejected at a false-alarm rate.
async fn rejected(model: &Model, images: Vec<Image>, false_alarm_rate: f64) -> Vec<bool> {
    let ask = JudgeAsk {
        false_alarm_rate,
        confidence: None,
        false_discovery_rate: None,
        map: false,
    };
    let judged = can::<dyn Judges>(model)
        .judge(images, &ask, &call(models()))
        .await
        .unwrap();
    judged.into_iter().map(|verdict| verdict.unwrap().reject).collect()
}

/// The golden images of a model and the log-likelihoods that PyTorch gave them.
fn golden(model: &Model) -> (Vec<Image>, Vec<f64>) {
    let folder = trained().join(&model.name).join(model.version.to_string());
    let images = fs::read(folder.join("golden_images.npy")).unwrap();
    let scores = fs::read(folder.join("golden_scores.npy")).unwrap();
    (
        media::read_images(&images, model.shape, usize::MAX).unwrap(),
        media::read_f64(&scores).unwrap(),
    )
}

#[tokio::test]
async fn served_scores_are_those_of_the_training_framework() {
    for name in ["fashion-mnist-pixelcnn", "fashion-mnist-pixelrnn", "cifar10-pixelcnn"] {
        let model = model(models(), name);
        let (images, expected) = golden(&model);
        for (score, expected) in scores(&model, images, None).await.into_iter().zip(expected) {
            let allowed = 1e-3 + 1e-6 * expected.abs();
            assert!((score - expected).abs() <= allowed, "{name}: {score} {expected}");
        }
    }
}

#[tokio::test]
async fn a_score_does_not_depend_on_company() {
    for name in [
        "fashion-mnist-pixelcnn",
        "fashion-mnist-pixelrnn",
        "fashion-mnist-vae",
        "cifar10-pixelcnn",
    ] {
        let model = model(models(), name);
        let (images, _) = golden(&model);
        let together = scores(&model, images.clone(), None).await;
        for (image, together) in images.into_iter().zip(together) {
            let alone = scores(&model, vec![image], None).await;
            assert_eq!(alone[0].to_bits(), together.to_bits(), "{name}");
        }
    }
}

#[tokio::test]
async fn the_importance_weighted_bound_lies_above_the_elbo() {
    let vae = model(models(), "fashion-mnist-vae");
    let (images, _) = golden(&vae);
    let mut means = Vec::new();
    for bound in [BoundChoice::Elbo, BoundChoice::Iwae] {
        let scores = scores(&vae, images[..4].to_vec(), Some(bound)).await;
        means.push(scores.iter().sum::<f64>() / 4.0);
    }
    assert!(means[1] > means[0], "{means:?}");
}

#[tokio::test]
async fn clothes_are_accepted_and_noise_is_rejected() {
    for name in [
        "fashion-mnist-pixelcnn",
        "fashion-mnist-pixelrnn",
        "fashion-mnist-vae",
        "fashion-mnist-gate",
    ] {
        let model = model(models(), name);
        let (clothes, _) = golden(&model);
        let noise: Vec<u8> = (0..784u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let noise = Image::new(model.shape, noise).unwrap();
        let rejected = rejected(&model, vec![clothes[0].clone(), noise], 0.01).await;
        assert_eq!(rejected, [false, true], "{name}");
    }
}

#[tokio::test]
async fn a_sample_is_as_likely_as_what_it_was_trained_on() {
    let pixelcnn = model(models(), "fashion-mnist-pixelcnn");
    let draws = can::<dyn Draws>(&pixelcnn);
    let ask = |n| DrawAsk {
        n,
        seed: 1,
        temperature: 1.0,
        observation: Observation::Sample,
        condition: Condition::None,
    };
    let drawn = draws.draw(&ask(1), &call(models())).await.unwrap();
    let among_others = draws.draw(&ask(3), &call(models())).await.unwrap();
    assert_eq!(among_others.images[0], drawn.images[0]);
    assert_eq!(drawn.sampler.name, "wavefront");
    assert!(drawn.sampler.steps.unwrap() < 784, "{:?}", drawn.sampler);
    assert_eq!(rejected(&pixelcnn, drawn.images, 0.001).await, [false]);
}

#[tokio::test]
async fn a_code_is_as_long_as_the_likelihood_allows_and_reads_back_in_any_company() {
    for name in ["fashion-mnist-pixelcnn", "cifar10-pixelcnn"] {
        codes_are_as_long_as_the_likelihood_allows(&model(models(), name)).await;
    }
}

async fn codes_are_as_long_as_the_likelihood_allows(pixelcnn: &Model) {
    let compresses = can::<dyn Compresses>(pixelcnn);
    let (images, scores) = golden(pixelcnn);
    let call = call(models());
    let compressed = compresses
        .compress(images.clone(), &Condition::None, &call)
        .await
        .unwrap();
    let mut streams = Vec::new();
    for (compressed, score) in compressed.into_iter().zip(scores) {
        let compressed = compressed.unwrap();
        let bits = -score / std::f64::consts::LN_2;
        assert!((compressed.ideal_bits - bits).abs() < 0.01 + 1e-5 * bits);
        let code = compressed.bytes.len() - Compressed::HEADER_BYTES;
        assert!(code as f64 <= 1.01 * bits / 8.0 + 8.0, "{code} bytes for {bits} bits");
        streams.push(compressed.bytes);
    }
    // Images are compressed among others and read alone, and the other way round.
    let all = compresses.decompress(streams.clone(), &call).await.unwrap();
    for (read, image) in all.into_iter().zip(&images) {
        assert_eq!(&read.unwrap(), image);
    }
    for (stream, image) in streams.into_iter().zip(images).take(3) {
        let read = compresses.decompress(vec![stream.clone()], &call).await.unwrap();
        assert_eq!(read[0].as_ref().unwrap(), &image);
        let again = compresses.compress(vec![image], &Condition::None, &call).await.unwrap();
        assert_eq!(again[0].as_ref().unwrap().bytes, stream);
    }
}
