//! Laws of sampling and completion, through the service, on tiny models with random weights.

#![allow(clippy::unwrap_used)]

mod common;

use std::{path::Path, sync::Arc};

use common::{deadline, engine, fixture_service, fixtures};
use density_server::{
    domain::{
        image::Image,
        random::{Random, Stream},
    },
    repository::{Network, gate},
    runtime::Threads,
    service::{
        ServedModel, Service,
        requests::{
            CompleteOptions, CompletionMethod, Known, Observation, SampleOptions, ScoreOptions,
        },
    },
};

fn options(n: u32, seed: u64, temperature: f64) -> SampleOptions {
    SampleOptions {
        n,
        seed,
        temperature,
        observation: Observation::Sample,
        label: None,
    }
}

async fn sample(service: &Service, name: &str, options: &SampleOptions) -> Vec<Image> {
    let model = service.model(name, None).unwrap();
    let answer = service
        .sample(&model, options, None, deadline())
        .await
        .unwrap();
    answer.images
}

/// One dimension a pass, in order: what sampling means.
fn naive(folder: &Path, name: &str, seed: u64, index: u64, temperature: f64) -> Vec<u8> {
    let version = gate::load(&*engine(), folder, name, 1).unwrap();
    let Network::Autoregressive(network) = version.network else {
        panic!("{name} is not autoregressive");
    };
    let shape = network.shape();
    let random = Random::new(seed, Stream::Level, index);
    let mut levels = vec![0u8; shape.dimensions()];
    let mut scratch = Vec::new();
    for place in 0..shape.dimensions() {
        let logits = network
            .logits(&[levels.as_slice().into()], Threads::One)
            .unwrap();
        let dimension = shape.index_of(place);
        levels[dimension] = logits.draw(0, dimension, temperature, &random, &mut scratch);
    }
    levels
}

#[tokio::test]
async fn fixed_point_iteration_draws_what_the_naive_loop_draws() {
    let service = fixture_service();
    for name in [
        "tiny-pixelcnn",
        "tiny-rgb-pixelcnn",
        "tiny-binary-pixelcnn",
        "tiny-bernoulli-pixelcnn",
    ] {
        for temperature in [1.0, 0.6] {
            let images = sample(&service, name, &options(3, 11, temperature)).await;
            for (index, image) in images.iter().enumerate() {
                let folder = fixtures().join(name).join("1");
                let expected = naive(&folder, name, 11, index as u64, temperature);
                assert_eq!(image.levels(), expected, "{name} at {temperature}");
            }
        }
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_images_whatever_shares_the_batch() {
    let service = fixture_service();
    for name in [
        "tiny-pixelcnn",
        "tiny-rgb-pixelcnn",
        "tiny-pixelrnn",
        "tiny-vae",
    ] {
        let many = options(12, 5, 1.0);
        let (large, small, other) = tokio::join!(
            sample(&service, name, &many),
            async { sample(&service, name, &options(2, 5, 1.0)).await },
            async { sample(&service, name, &options(7, 6, 1.0)).await },
        );
        assert_eq!(large[..2], small[..], "{name}");
        assert_ne!(large[..7], other[..], "{name}");
        assert_eq!(sample(&service, name, &many).await, large, "{name}");
    }
}

#[tokio::test]
async fn frequencies_of_samples_follow_the_likelihood() {
    let service = fixture_service();
    let name = "tiny-binary-pixelcnn";
    let model = service.model(name, None).unwrap();
    let mut counts = [0usize; 16];
    let mut images: Vec<Option<Image>> = vec![None; 16];
    let total = 64 * 64;
    for seed in 0..64 {
        for image in sample(&service, name, &options(64, seed, 1.0)).await {
            let number = image
                .levels()
                .iter()
                .fold(0, |n, &bit| 2 * n + usize::from(bit));
            counts[number] += 1;
            images[number] = Some(image);
        }
    }
    for (count, image) in counts.into_iter().zip(images) {
        let Some(image) = image else { continue };
        let answer = service
            .score(&model, vec![image], &ScoreOptions::default(), deadline())
            .await
            .unwrap();
        let p = answer.results[0]
            .as_ref()
            .unwrap()
            .log_likelihood_nats
            .exp();
        let deviation = (p * (1.0 - p) / f64::from(total)).sqrt();
        let share = count as f64 / f64::from(total);
        assert!((share - p).abs() < 5.0 * deviation + 1e-3, "{share} {p}");
    }
}

fn complete_options(known: Known) -> CompleteOptions {
    CompleteOptions {
        known,
        n: 2,
        seed: 9,
        temperature: 1.0,
        label: None,
    }
}

async fn complete(
    service: &Service,
    model: &Arc<ServedModel>,
    image: &Image,
    known: Known,
) -> (CompletionMethod, Vec<Image>) {
    let answer = service
        .complete(
            model,
            vec![image.clone()],
            &complete_options(known),
            deadline(),
        )
        .await
        .unwrap();
    (
        answer.method,
        answer.results.into_iter().next().unwrap().unwrap().images,
    )
}

#[tokio::test]
async fn known_pixels_are_kept_and_only_they_matter() {
    let service = fixture_service();
    for name in [
        "tiny-pixelcnn",
        "tiny-rgb-pixelcnn",
        "tiny-pixelrnn",
        "tiny-vae",
    ] {
        let model = service.model(name, None).unwrap();
        let shape = model.shape();
        let given = sample(&service, name, &options(1, 77, 1.0)).await.remove(0);
        let (method, completions) = complete(&service, &model, &given, Known::Rows(2)).await;
        assert_eq!(completions.len(), 2);
        assert_eq!(
            method == CompletionMethod::Exact,
            model.latent_size().is_none(),
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
        let again = complete(&service, &model, &scrambled, Known::Rows(2)).await;
        assert_eq!(
            again.1, completions,
            "{name}: unknown levels must not matter"
        );
    }
}

#[tokio::test]
async fn completing_nothing_is_sampling_and_completing_everything_is_the_image() {
    let service = fixture_service();
    let model = service.model("tiny-pixelcnn", None).unwrap();
    let image = sample(&service, "tiny-pixelcnn", &options(1, 1, 1.0))
        .await
        .remove(0);
    let (_, nothing_known) = complete(&service, &model, &image, Known::Rows(0)).await;
    assert_eq!(
        nothing_known,
        sample(&service, "tiny-pixelcnn", &options(2, 9, 1.0)).await
    );
    let rows = model.shape().height();
    let (_, all_known) = complete(&service, &model, &image, Known::Rows(rows)).await;
    assert_eq!(all_known, [image.clone(), image.clone()]);
    let mut mask = vec![false; model.shape().pixels()];
    mask[7] = true;
    let (method, completions) = complete(&service, &model, &image, Known::Mask(mask)).await;
    assert_eq!(method, CompletionMethod::Ancestral);
    assert!(
        completions
            .iter()
            .all(|c| c.levels()[7] == image.levels()[7])
    );
}
