//! Drawing from autoregressive models: new images, and the missing pixels of given ones.

use std::{sync::Arc, time::Instant};

use super::{
    ServedModel, Service,
    drawing::{Draw, Drawing, Drawn, Order, Purpose},
    error::ServiceError,
    image_of,
    progress::Board,
    requests::{
        CompleteAnswer, CompleteOptions, CompletionMethod, PerImage, SampleAnswer, SampleOptions,
        Sampler,
    },
};
use crate::{
    domain::{
        image::Image,
        random::{Random, Stream},
    },
    network::autoregressive::Compilation,
    scheduling::{Class, JobError, Lane},
};

/// New images, of a label where the model is conditioned on one.
pub(super) async fn sample(
    service: &Service,
    model: &ServedModel,
    lane: &Lane<Drawing>,
    (options, label, watch): (&SampleOptions, u32, Option<&Arc<Board>>),
    deadline: Instant,
) -> Result<SampleAnswer, ServiceError> {
    let shape = model.shape();
    let nothing_known: Arc<[bool]> = Arc::new([]);
    let orders = (0..options.n)
        .map(|index| Order {
            levels: vec![0; shape.dimensions()],
            label,
            purpose: Purpose::Draw(Draw {
                known: Arc::clone(&nothing_known),
                random: Random::new(options.seed, Stream::Level, u64::from(index)),
                temperature: options.temperature,
            }),
            progress: watch
                .map(|board| board.progress(index as usize, shape.width(), shape.height())),
        })
        .collect();
    let (mut images, mut passes) = (Vec::new(), 0);
    for result in draw(service, model, lane, orders, deadline).await? {
        let (image, own) = result?;
        images.push(image);
        passes += own.unwrap_or(0);
    }
    Ok(SampleAnswer {
        images,
        sampler: match lane.work().network().compilation() {
            Compilation::Wavefront(wavefront) => Sampler::Wavefront {
                steps: wavefront.steps(),
            },
            Compilation::Causal(_) | Compilation::Unknown(_) => Sampler::FixedPoint { passes },
        },
    })
}

/// Completions of partly given images.
pub(super) async fn complete(
    service: &Service,
    model: &ServedModel,
    lane: &Lane<Drawing>,
    images: &[Image],
    known_pixels: &[bool],
    (options, label): (&CompleteOptions, u32),
    deadline: Instant,
) -> Result<CompleteAnswer, ServiceError> {
    let shape = model.shape();
    let known: Arc<[bool]> = (0..shape.dimensions())
        .map(|index| known_pixels[index % shape.pixels()])
        .collect();
    let completions = options.n as usize;
    let orders = images
        .iter()
        .flat_map(|image| (0..options.n).map(move |index| (image, index)))
        .map(|(image, index)| Order {
            levels: image
                .levels()
                .iter()
                .zip(&*known)
                .map(|(&level, &known)| if known { level } else { 0 })
                .collect(),
            label,
            purpose: Purpose::Draw(Draw {
                known: Arc::clone(&known),
                random: Random::new(options.seed, Stream::Level, u64::from(index)),
                temperature: options.temperature,
            }),
            progress: None,
        })
        .collect();
    let mut drawn = draw(service, model, lane, orders, deadline)
        .await?
        .into_iter();
    let results: PerImage<Vec<Image>> = images
        .iter()
        .map(|_| {
            drawn
                .by_ref()
                .take(completions)
                .map(|result| result.map(|(image, _)| image))
                .collect()
        })
        .collect();
    // Pixels are in the model's own order: exact if no given pixel follows a missing one.
    let first_missing = known_pixels.iter().position(|known| !known);
    let in_order = first_missing.is_none_or(|first| !known_pixels[first..].contains(&true));
    Ok(CompleteAnswer {
        method: if in_order {
            CompletionMethod::Exact
        } else {
            CompletionMethod::Ancestral
        },
        results,
    })
}

/// The images, and the full passes that each took if it was drawn by fixed-point iteration.
async fn draw(
    service: &Service,
    model: &ServedModel,
    lane: &Lane<Drawing>,
    orders: Vec<Order>,
    deadline: Instant,
) -> Result<PerImage<(Image, Option<u64>)>, ServiceError> {
    let drawn = follow(service, lane, orders, deadline).await?;
    let passes = service
        .metrics
        .sampling_passes
        .with_label_values(&[model.name()]);
    Ok(drawn
        .into_iter()
        .map(|result| {
            let drawn = result?;
            passes.inc_by(drawn.passes.unwrap_or(0));
            Ok((image_of(model.shape(), drawn.levels)?, drawn.passes))
        })
        .collect())
}

/// Has orders worked on as bulk work.
pub(super) async fn follow(
    service: &Service,
    lane: &Lane<Drawing>,
    orders: Vec<Order>,
    deadline: Instant,
) -> Result<Vec<Result<Drawn, JobError>>, ServiceError> {
    let turns = orders.len() as u64 * lane.work().expected_turns();
    let permit = service.admit(Class::Bulk, lane.estimate(turns))?;
    let canvases = orders.into_iter().map(Into::into).collect();
    Ok(lane.run(&permit, canvases, deadline).await)
}
