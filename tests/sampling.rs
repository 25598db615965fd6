//! Laws of sampling and completion, on tiny models with random weights.

#![allow(clippy::unwrap_used)]

mod common;

use common::{call, can, fixture_models, model};
use density_server::{
    domain::{
        image::Image,
        random::{Random, Stream},
    },
    families::autoregressive::network::{Network, Scratch},
    model::{
        Model,
        draw::{CompleteAsk, Completes, CompletionMethod, DrawAsk, Draws, Observation},
        labels::Condition,
        score::{ScoreAsk, Scores},
    },
    repository::Repository,
    runtime::Threads,
};

fn options(n: u32, seed: u64, temperature: f64) -> DrawAsk {
    DrawAsk {
        n,
        seed,
        temperature,
        observation: Observation::Sample,
        condition: Condition::None,
    }
}

async fn sample(models: &Repository, name: &str, ask: &DrawAsk) -> Vec<Image> {
    let draws = can::<dyn Draws>(&model(models, name));
    draws.draw(ask, &call(models)).await.unwrap().images
}

/// One dimension a pass, in order: what sampling means.
fn naive(model: &Model, seed: u64, index: u64, temperature: f64) -> Vec<u8> {
    let network = can::<Network>(model);
    let shape = network.shape();
    let random = Random::new(seed, Stream::Level, index);
    let mut levels = vec![0u8; shape.dimensions()];
    let mut scratch = Scratch::default();
    for place in 0..shape.dimensions() {
        let logits = network.logits(&[levels.as_slice().into()], Threads::One).unwrap();
        let dimension = shape.index_of(place);
        levels[dimension] = logits.predict(0, dimension, &levels, |prediction| {
            prediction.draw(temperature, random.uniform(dimension as u32), &mut scratch)
        });
    }
    levels
}

#[tokio::test]
async fn fixed_point_iteration_draws_what_the_naive_loop_draws() {
    let models = fixture_models();
    for name in [
        "tiny-pixelcnn",
        "tiny-rgb-pixelcnn",
        "tiny-mixture-pixelcnn",
        "tiny-binary-pixelcnn",
        "tiny-bernoulli-pixelcnn",
    ] {
        for temperature in [1.0, 0.6] {
            let images = sample(&models, name, &options(3, 11, temperature)).await;
            for (index, image) in images.iter().enumerate() {
                let expected = naive(&model(&models, name), 11, index as u64, temperature);
                assert_eq!(image.levels(), expected, "{name} at {temperature}");
            }
        }
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_images_whatever_shares_the_batch() {
    let models = fixture_models();
    for name in [
        "tiny-pixelcnn",
        "tiny-rgb-pixelcnn",
        "tiny-mixture-pixelcnn",
        "tiny-pixelrnn",
        "tiny-vae",
    ] {
        let many = options(12, 5, 1.0);
        let (large, small, other) = tokio::join!(
            sample(&models, name, &many),
            async { sample(&models, name, &options(2, 5, 1.0)).await },
            async { sample(&models, name, &options(7, 6, 1.0)).await },
        );
        assert_eq!(large[..2], small[..], "{name}");
        assert_ne!(large[..7], other[..], "{name}");
        assert_eq!(sample(&models, name, &many).await, large, "{name}");
    }
}

#[tokio::test]
async fn frequencies_of_samples_follow_the_likelihood() {
    let models = fixture_models();
    let name = "tiny-binary-pixelcnn";
    let model = model(&models, name);
    let mut counts = [0usize; 16];
    let mut images: Vec<Option<Image>> = vec![None; 16];
    let total = 64 * 64;
    for seed in 0..64 {
        for image in sample(&models, name, &options(64, seed, 1.0)).await {
            let number = image.levels().iter().fold(0, |n, &bit| 2 * n + usize::from(bit));
            counts[number] += 1;
            images[number] = Some(image);
        }
    }
    for (count, image) in counts.into_iter().zip(images) {
        let Some(image) = image else { continue };
        let ask = ScoreAsk {
            bound: None,
            k: None,
            seed: 0,
            map: false,
            condition: Condition::None,
        };
        let scored = can::<dyn Scores>(&model).score(vec![image], &ask, &call(&models)).await;
        let p = scored.unwrap().items[0].as_ref().unwrap().log_likelihood.0.exp();
        let deviation = (p * (1.0 - p) / f64::from(total)).sqrt();
        let share = count as f64 / f64::from(total);
        assert!((share - p).abs() < 5.0 * deviation + 1e-3, "{share} {p}");
    }
}

/// One flag a pixel: the first rows are known.
fn rows(model: &Model, count: usize) -> Vec<bool> {
    (0..model.shape.pixels())
        .map(|pixel| pixel < count * model.shape.width())
        .collect()
}

async fn complete(
    models: &Repository,
    model: &Model,
    image: &Image,
    known: Vec<bool>,
) -> (CompletionMethod, Vec<Image>) {
    let ask = CompleteAsk {
        known,
        n: 2,
        seed: 9,
        temperature: 1.0,
        condition: Condition::None,
    };
    let completes = can::<dyn Completes>(model);
    let completed = completes
        .complete(vec![image.clone()], &ask, &call(models))
        .await
        .unwrap();
    (
        completed.method,
        completed.items.into_iter().next().unwrap().unwrap().images,
    )
}

#[tokio::test]
async fn known_pixels_are_kept_and_only_they_matter() {
    let models = fixture_models();
    for name in [
        "tiny-pixelcnn",
        "tiny-rgb-pixelcnn",
        "tiny-mixture-pixelcnn",
        "tiny-pixelrnn",
        "tiny-vae",
    ] {
        let model = model(&models, name);
        let shape = model.shape;
        let given = sample(&models, name, &options(1, 77, 1.0)).await.remove(0);
        let (method, completions) = complete(&models, &model, &given, rows(&model, 2)).await;
        assert_eq!(completions.len(), 2);
        assert_eq!(
            method == CompletionMethod::Exact,
            model.card.latent_size.is_none(),
            "{name}"
        );
        let known = |index: usize| index % shape.pixels() < 2 * shape.width();
        for completion in &completions {
            for index in (0..shape.dimensions()).filter(|&index| known(index)) {
                assert_eq!(completion.levels()[index], given.levels()[index], "{name}");
            }
        }
        let scrambled: Vec<u8> = given
            .levels()
            .iter()
            .enumerate()
            .map(|(index, &level)| if known(index) { level } else { level ^ 1 })
            .collect();
        let scrambled = Image::new(shape, scrambled).unwrap();
        let again = complete(&models, &model, &scrambled, rows(&model, 2)).await;
        assert_eq!(again.1, completions, "{name}: unknown levels must not matter");
    }
}

#[tokio::test]
async fn completing_nothing_is_sampling_and_completing_everything_is_the_image() {
    let models = fixture_models();
    let model = model(&models, "tiny-pixelcnn");
    let image = sample(&models, "tiny-pixelcnn", &options(1, 1, 1.0)).await.remove(0);
    let (_, nothing_known) = complete(&models, &model, &image, rows(&model, 0)).await;
    assert_eq!(
        nothing_known,
        sample(&models, "tiny-pixelcnn", &options(2, 9, 1.0)).await
    );
    let (_, all_known) = complete(&models, &model, &image, rows(&model, model.shape.height())).await;
    assert_eq!(all_known, [image.clone(), image.clone()]);
    let mut mask = vec![false; model.shape.pixels()];
    mask[7] = true;
    let (method, completions) = complete(&models, &model, &image, mask).await;
    assert_eq!(method, CompletionMethod::Ancestral);
    assert!(completions.iter().all(|c| c.levels()[7] == image.levels()[7]));
}
