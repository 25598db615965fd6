//! The committed trained models, through the service: parity with the training framework, and what they are for.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    fs,
    sync::{Arc, LazyLock},
};

use common::{deadline, engine, service_over, trained};
use density_server::{
    domain::image::Image,
    media,
    scheduling::SchedulerConfig,
    service::{
        ServedModel, Service,
        requests::{
            BoundChoice, Compressed, DetectOptions, Observation, SampleOptions, Sampler,
            ScoreOptions,
        },
    },
};

/// One for all tests: proving causality takes a pass a pixel.
fn service() -> &'static Service {
    static SERVICE: LazyLock<Arc<Service>> =
        LazyLock::new(|| service_over(&trained(), engine(), SchedulerConfig::default()));
    &SERVICE
}

fn model(service: &Service, name: &str) -> Arc<ServedModel> {
    service.model(name, None).unwrap()
}

/// The golden images of a model and the log-likelihoods that PyTorch gave them.
fn golden(model: &ServedModel) -> (Vec<Image>, Vec<f64>) {
    let folder = trained()
        .join(model.name())
        .join(model.version().to_string());
    let images = fs::read(folder.join("golden_images.npy")).unwrap();
    let scores = fs::read(folder.join("golden_scores.npy")).unwrap();
    (
        media::read_images(&images, model.shape(), usize::MAX).unwrap(),
        media::read_f64(&scores).unwrap(),
    )
}

#[tokio::test]
async fn served_scores_are_those_of_the_training_framework() {
    let service = service();
    for name in ["fashion-mnist-pixelcnn", "fashion-mnist-pixelrnn"] {
        let model = model(service, name);
        let (images, expected) = golden(&model);
        let answer = service
            .score(&model, images, &ScoreOptions::default(), deadline())
            .await
            .unwrap();
        for (score, expected) in answer.results.into_iter().zip(expected) {
            let score = score.unwrap().log_likelihood_nats;
            let allowed = 1e-3 + 1e-6 * expected.abs();
            assert!(
                (score - expected).abs() <= allowed,
                "{name}: {score} {expected}"
            );
        }
    }
}

#[tokio::test]
async fn a_score_does_not_depend_on_company() {
    let service = service();
    for name in [
        "fashion-mnist-pixelcnn",
        "fashion-mnist-pixelrnn",
        "fashion-mnist-vae",
    ] {
        let model = model(service, name);
        let (images, _) = golden(&model);
        let score = async |images| {
            let options = ScoreOptions::default();
            let answer = service.score(&model, images, &options, deadline()).await;
            let scores = answer.unwrap().results.into_iter();
            let bits = scores.map(|score| score.unwrap().log_likelihood_nats.to_bits());
            bits.collect::<Vec<_>>()
        };
        let together = score(images.clone()).await;
        for (image, together) in images.into_iter().zip(together) {
            assert_eq!(score(vec![image]).await, [together], "{name}");
        }
    }
}

#[tokio::test]
async fn the_importance_weighted_bound_lies_above_the_elbo() {
    let service = service();
    let vae = model(service, "fashion-mnist-vae");
    let (images, _) = golden(&vae);
    let images = images[..4].to_vec();
    let mut means = Vec::new();
    for (bound, k) in [(BoundChoice::Elbo, 64), (BoundChoice::Iwae, 64)] {
        let options = ScoreOptions {
            bound: Some(bound),
            k: Some(k),
            ..ScoreOptions::default()
        };
        let answer = service
            .score(&vae, images.clone(), &options, deadline())
            .await;
        let scores = answer.unwrap().results;
        let total: f64 = scores
            .into_iter()
            .map(|s| s.unwrap().log_likelihood_nats)
            .sum();
        means.push(total / 4.0);
    }
    assert!(means[1] > means[0], "{means:?}");
}

#[tokio::test]
async fn clothes_are_accepted_and_noise_is_rejected() {
    let service = service();
    for name in [
        "fashion-mnist-pixelcnn",
        "fashion-mnist-pixelrnn",
        "fashion-mnist-vae",
        "fashion-mnist-gate",
    ] {
        let model = model(service, name);
        let (clothes, _) = golden(&model);
        let noise: Vec<u8> = (0..784u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let noise = Image::new(model.shape(), noise).unwrap();
        let images = vec![clothes[0].clone(), noise];
        let options = DetectOptions::default();
        let answer = service
            .detect(&model, images, &options, deadline())
            .await
            .unwrap();
        let rejected: Vec<bool> = answer
            .results
            .into_iter()
            .map(|r| r.unwrap().reject)
            .collect();
        assert_eq!(rejected, [false, true], "{name}");
    }
}

#[tokio::test]
async fn a_sample_is_as_likely_as_what_it_was_trained_on() {
    let service = service();
    let pixelcnn = model(service, "fashion-mnist-pixelcnn");
    let options = SampleOptions {
        n: 1,
        seed: 1,
        temperature: 1.0,
        observation: Observation::Sample,
        label: None,
    };
    let answer = service.sample(&pixelcnn, &options, None, deadline()).await;
    let answer = answer.unwrap();
    let more = SampleOptions {
        n: 3,
        ..options.clone()
    };
    let among_others = service
        .sample(&pixelcnn, &more, None, deadline())
        .await
        .unwrap();
    assert_eq!(among_others.images[0], answer.images[0]);
    assert!(
        matches!(answer.sampler, Sampler::Wavefront { steps } if steps < 784),
        "{:?}",
        answer.sampler
    );
    let options = DetectOptions {
        false_alarm_rate: 0.001,
        ..DetectOptions::default()
    };
    let answer = service
        .detect(&pixelcnn, answer.images, &options, deadline())
        .await
        .unwrap();
    assert!(!answer.results[0].as_ref().unwrap().reject);
}

#[tokio::test]
async fn a_code_is_as_long_as_the_likelihood_allows_and_reads_back_in_any_company() {
    let service = service();
    let pixelcnn = model(service, "fashion-mnist-pixelcnn");
    let (images, scores) = golden(&pixelcnn);
    let compressed = service
        .compress(&pixelcnn, images.clone(), None, deadline())
        .await
        .unwrap();
    let mut streams = Vec::new();
    for (compressed, score) in compressed.into_iter().zip(scores) {
        let compressed = compressed.unwrap();
        let bits = -score / std::f64::consts::LN_2;
        assert!((compressed.ideal_bits - bits).abs() < 0.01 + 1e-5 * bits);
        let code = compressed.bytes.len() - Compressed::HEADER_BYTES;
        assert!(
            code as f64 <= 1.01 * bits / 8.0 + 8.0,
            "{code} bytes for {bits} bits"
        );
        streams.push(compressed.bytes);
    }
    // Images are compressed among others and read alone, and the other way round.
    let all = service
        .decompress(&pixelcnn, streams.clone(), deadline())
        .await;
    for (read, image) in all.unwrap().into_iter().zip(&images) {
        assert_eq!(&read.unwrap(), image);
    }
    for (stream, image) in streams.into_iter().zip(images).take(3) {
        let own = vec![stream.clone()];
        let read = service
            .decompress(&pixelcnn, own, deadline())
            .await
            .unwrap();
        assert_eq!(read[0].as_ref().unwrap(), &image);
        let again = service
            .compress(&pixelcnn, vec![image], None, deadline())
            .await;
        assert_eq!(again.unwrap()[0].as_ref().unwrap().bytes, stream);
    }
}
