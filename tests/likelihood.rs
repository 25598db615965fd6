//! Laws of served likelihoods, on tiny models with random weights.

#![allow(clippy::unwrap_used)]

mod common;

use common::{call, can, fixture_models, model};
use density_server::{
    domain::image::{Image, ImageShape},
    model::{
        Model,
        catalogue::Catalogue,
        labels::Condition,
        score::{BoundChoice, Likelihood, ScoreAsk, Scores},
    },
    repository::Repository,
};

fn ask(map: bool) -> ScoreAsk {
    ScoreAsk {
        bound: None,
        k: None,
        seed: 3,
        map,
        condition: Condition::None,
    }
}

async fn scores(models: &Repository, model: &Model, images: Vec<Image>, ask: &ScoreAsk) -> Vec<Likelihood> {
    let scored = can::<dyn Scores>(model)
        .score(images, ask, &call(models))
        .await
        .unwrap();
    scored.items.into_iter().collect::<Result<_, _>>().unwrap()
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
    let listings = fixture_models().listings();
    assert_eq!(listings.len(), 11);
    for listing in listings {
        assert!(listing.model.is_some(), "{listing:#?}");
    }
}

#[tokio::test]
async fn probabilities_of_all_images_sum_to_one() {
    let models = fixture_models();
    for name in ["tiny-binary-pixelcnn", "tiny-bernoulli-pixelcnn"] {
        let model = model(&models, name);
        let images = all_images(model.shape);
        assert_eq!(images.len(), 16);
        let scores = scores(&models, &model, images, &ask(false)).await;
        let total: f64 = scores.iter().map(|s| s.log_likelihood.0.exp()).sum();
        assert!((total - 1.0).abs() < 1e-5, "{name}: {total}");
        let (first, last) = (&scores[0], &scores[15]);
        assert_ne!(first.log_likelihood.0, last.log_likelihood.0);
    }
}

#[tokio::test]
async fn a_score_does_not_depend_on_company() {
    let models = fixture_models();
    let options = ask(true);
    for name in [
        "tiny-pixelcnn",
        "tiny-rgb-pixelcnn",
        "tiny-mixture-pixelcnn",
        "tiny-pixelrnn",
        "tiny-vae",
    ] {
        let model = model(&models, name);
        let images = varied_images(model.shape, 37);
        let together = scores(&models, &model, images.clone(), &options).await;
        for (image, together) in images.into_iter().zip(together) {
            let alone = scores(&models, &model, vec![image], &options).await;
            assert_eq!(
                alone[0].log_likelihood.0.to_bits(),
                together.log_likelihood.0.to_bits(),
                "{name}"
            );
            assert_eq!(alone[0].log_probability_map, together.log_probability_map, "{name}");
        }
    }
}

#[tokio::test]
async fn a_later_dimension_leaves_earlier_log_probabilities_unchanged() {
    let models = fixture_models();
    let options = ask(true);
    for name in [
        "tiny-pixelcnn",
        "tiny-rgb-pixelcnn",
        "tiny-mixture-pixelcnn",
        "tiny-pixelrnn",
    ] {
        let model = model(&models, name);
        let shape = model.shape;
        let original = varied_images(shape, 1).remove(0);
        let changed: Vec<Image> = (0..shape.dimensions())
            .map(|place| {
                let mut levels = original.levels().to_vec();
                let level = &mut levels[shape.index_of(place)];
                *level = (*level + 1) % shape.levels() as u8;
                Image::new(shape, levels).unwrap()
            })
            .collect();
        let before = scores(&models, &model, vec![original], &options).await;
        let before = &before[0].log_probability_map.as_ref().unwrap().values;
        let after = scores(&models, &model, changed, &options).await;
        let mut any_later_change = false;
        for (place, score) in after.iter().enumerate() {
            let after = &score.log_probability_map.as_ref().unwrap().values;
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
    let models = fixture_models();
    let options = ask(true);
    let model = model(&models, "tiny-rgb-pixelcnn");
    let images = varied_images(model.shape, 5);
    for score in scores(&models, &model, images, &options).await {
        let sum: f64 = score
            .log_probability_map
            .unwrap()
            .values
            .iter()
            .map(|&v| f64::from(v))
            .sum();
        assert!((sum - score.log_likelihood.0).abs() < 1e-9);
    }
}

#[tokio::test]
async fn importance_weighted_bounds_are_tighter_and_repeatable() {
    let models = fixture_models();
    let model = model(&models, "tiny-vae");
    let images = varied_images(model.shape, 8);
    let bound = |bound, k| ScoreAsk {
        bound: Some(bound),
        k: Some(k),
        ..ask(false)
    };
    let mean = |scores: &[Likelihood]| scores.iter().map(|s| s.log_likelihood.0).sum::<f64>() / scores.len() as f64;
    let elbo = scores(&models, &model, images.clone(), &bound(BoundChoice::Elbo, 512)).await;
    let loose = scores(&models, &model, images.clone(), &bound(BoundChoice::Iwae, 4)).await;
    let tight = scores(&models, &model, images.clone(), &bound(BoundChoice::Iwae, 1024)).await;
    assert!(mean(&elbo) < mean(&tight), "{} {}", mean(&elbo), mean(&tight));
    assert!(mean(&loose) < mean(&tight) + 0.5);
    for score in &tight {
        let size = score.effective_sample_size.unwrap();
        assert!((1.0..=1024.0).contains(&size));
    }
    let again = scores(&models, &model, images, &bound(BoundChoice::Iwae, 1024)).await;
    for (first, second) in tight.iter().zip(&again) {
        assert_eq!(first.log_likelihood.0.to_bits(), second.log_likelihood.0.to_bits());
    }
}
