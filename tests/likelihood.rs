//! Laws of served likelihoods, through the service, on tiny models with random weights.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{deadline, fixture_service};
use density_server::{
    domain::image::{Image, ImageShape},
    service::{
        ServedModel, Service,
        info::ModelState,
        requests::{BoundChoice, Score, ScoreOptions},
    },
};

fn model(service: &Service, name: &str) -> Arc<ServedModel> {
    service.model(name, None).unwrap_or_else(|error| {
        panic!("{error}; {:#?}", service.models());
    })
}

async fn scores(
    service: &Service,
    model: &Arc<ServedModel>,
    images: Vec<Image>,
    options: &ScoreOptions,
) -> Vec<Score> {
    let answer = service.score(model, images, options, deadline()).await;
    let results: Result<_, _> = answer.unwrap().results.into_iter().collect();
    results.unwrap()
}

/// Every image of a shape with few dimensions.
fn all_images(shape: ImageShape) -> Vec<Image> {
    let count = shape.levels().pow(shape.dimensions() as u32);
    (0..count)
        .map(|number| {
            let digit = |i: u32| (number / shape.levels().pow(i) % shape.levels()) as u8;
            let levels: Vec<u8> = (0..shape.dimensions() as u32).map(digit).collect();
            Image::new(shape, levels).unwrap()
        })
        .collect()
}

/// Images with every kind of level in every place, the same at every run.
fn varied_images(shape: ImageShape, count: usize) -> Vec<Image> {
    (0..count)
        .map(|n| {
            let level = |i: usize| ((i * i + 7 * i * n + 3 * n + i / 3) % shape.levels()) as u8;
            let levels: Vec<u8> = (0..shape.dimensions()).map(level).collect();
            Image::new(shape, levels).unwrap()
        })
        .collect()
}

#[tokio::test]
async fn every_fixture_passes_its_load_gate() {
    let service = fixture_service();
    let models = service.models();
    assert_eq!(models.len(), 10);
    for model in models {
        assert!(matches!(model.state, ModelState::Ready(_)), "{model:#?}");
    }
}

#[tokio::test]
async fn probabilities_of_all_images_sum_to_one() {
    let service = fixture_service();
    for name in ["tiny-binary-pixelcnn", "tiny-bernoulli-pixelcnn"] {
        let model = model(&service, name);
        let images = all_images(model.shape());
        assert_eq!(images.len(), 16);
        let scores = scores(&service, &model, images, &ScoreOptions::default()).await;
        let total: f64 = scores.iter().map(|s| s.log_likelihood_nats.exp()).sum();
        assert!((total - 1.0).abs() < 1e-5, "{name}: {total}");
        let (first, last) = (&scores[0], &scores[15]);
        assert_ne!(first.log_likelihood_nats, last.log_likelihood_nats);
    }
}

#[tokio::test]
async fn a_score_does_not_depend_on_company() {
    let service = fixture_service();
    let options = ScoreOptions {
        map: true,
        ..ScoreOptions::default()
    };
    for name in [
        "tiny-pixelcnn",
        "tiny-rgb-pixelcnn",
        "tiny-pixelrnn",
        "tiny-vae",
    ] {
        let model = model(&service, name);
        let images = varied_images(model.shape(), 37);
        let together = scores(&service, &model, images.clone(), &options).await;
        for (image, together) in images.into_iter().zip(together) {
            let alone = scores(&service, &model, vec![image], &options).await;
            assert_eq!(
                alone[0].log_likelihood_nats.to_bits(),
                together.log_likelihood_nats.to_bits(),
                "{name}"
            );
            assert_eq!(alone[0].map, together.map, "{name}");
        }
    }
}

#[tokio::test]
async fn a_later_dimension_leaves_earlier_log_probabilities_unchanged() {
    let service = fixture_service();
    let options = ScoreOptions {
        map: true,
        ..ScoreOptions::default()
    };
    for name in ["tiny-pixelcnn", "tiny-rgb-pixelcnn", "tiny-pixelrnn"] {
        let model = model(&service, name);
        let shape = model.shape();
        let original = varied_images(shape, 1).remove(0);
        let changed: Vec<Image> = (0..shape.dimensions())
            .map(|place| {
                let mut levels = original.levels().to_vec();
                let level = &mut levels[shape.index_of(place)];
                *level = (*level + 1) % shape.levels() as u8;
                Image::new(shape, levels).unwrap()
            })
            .collect();
        let before = scores(&service, &model, vec![original], &options).await;
        let before = before[0].map.as_ref().unwrap();
        let after = scores(&service, &model, changed, &options).await;
        let mut any_later_change = false;
        for (place, score) in after.iter().enumerate() {
            let after = score.map.as_ref().unwrap();
            for earlier in 0..place {
                let index = shape.index_of(earlier);
                assert_eq!(before[index].to_bits(), after[index].to_bits(), "{name}");
            }
            any_later_change |= (place + 1..shape.dimensions())
                .any(|later| before[shape.index_of(later)] != after[shape.index_of(later)]);
        }
        assert!(any_later_change, "{name} ignores its input");
    }
}

#[tokio::test]
async fn a_map_sums_to_the_log_likelihood() {
    let service = fixture_service();
    let options = ScoreOptions {
        map: true,
        ..ScoreOptions::default()
    };
    let model = model(&service, "tiny-rgb-pixelcnn");
    let images = varied_images(model.shape(), 5);
    for score in scores(&service, &model, images, &options).await {
        let sum: f64 = score.map.unwrap().iter().map(|&v| f64::from(v)).sum();
        assert!((sum - score.log_likelihood_nats).abs() < 1e-9);
    }
}

#[tokio::test]
async fn importance_weighted_bounds_are_tighter_and_repeatable() {
    let service = fixture_service();
    let model = model(&service, "tiny-vae");
    let images = varied_images(model.shape(), 8);
    let bound = |bound, k| ScoreOptions {
        label: None,
        bound: Some(bound),
        k: Some(k),
        seed: 3,
        map: false,
    };
    let mean = |scores: &[Score]| {
        scores.iter().map(|s| s.log_likelihood_nats).sum::<f64>() / scores.len() as f64
    };
    let elbo = scores(
        &service,
        &model,
        images.clone(),
        &bound(BoundChoice::Elbo, 512),
    )
    .await;
    let loose = scores(
        &service,
        &model,
        images.clone(),
        &bound(BoundChoice::Iwae, 4),
    )
    .await;
    let tight = scores(
        &service,
        &model,
        images.clone(),
        &bound(BoundChoice::Iwae, 1024),
    )
    .await;
    assert!(
        mean(&elbo) < mean(&tight),
        "{} {}",
        mean(&elbo),
        mean(&tight)
    );
    assert!(mean(&loose) < mean(&tight) + 0.5);
    for score in &tight {
        let size = score.effective_sample_size.unwrap();
        assert!((1.0..=1024.0).contains(&size));
    }
    let again = scores(&service, &model, images, &bound(BoundChoice::Iwae, 1024)).await;
    for (first, second) in tight.iter().zip(&again) {
        assert_eq!(
            first.log_likelihood_nats.to_bits(),
            second.log_likelihood_nats.to_bits()
        );
    }
}
