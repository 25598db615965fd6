//! Drawing from autoregressive models: new images, and the missing pixels of given ones.

use std::{sync::Arc, time::Instant};

use super::{
    Service,
    error::ServiceError,
    image_of,
    requests::{
        CompleteAnswer, CompleteOptions, CompletionMethod, PerImage, SampleAnswer, SampleOptions,
    },
    work::{Canvas, Drawing},
};
use crate::{
    domain::{
        image::{Image, ImageShape},
        random::{Random, Stream},
    },
    scheduling::{Class, Lane},
};

/// New images.
pub(super) async fn sample(
    service: &Service,
    shape: ImageShape,
    lane: &Lane<Drawing>,
    options: &SampleOptions,
    deadline: Instant,
) -> Result<SampleAnswer, ServiceError> {
    let nothing_known: Arc<[bool]> = Arc::new([]);
    let canvases = (0..u64::from(options.n))
        .map(|index| Canvas {
            levels: vec![0; shape.dimensions()],
            known: Arc::clone(&nothing_known),
            random: Random::new(options.seed, Stream::Level, index),
            temperature: options.temperature,
            frontier: 0,
            passes: 0,
        })
        .collect();
    let drawn = draw(service, shape, lane, canvases, deadline).await?;
    let (mut images, mut passes) = (Vec::new(), 0);
    for result in drawn {
        let (image, own) = result?;
        images.push(image);
        passes += own;
    }
    Ok(SampleAnswer {
        images,
        passes: Some(passes),
    })
}

/// Completions of partly given images.
pub(super) async fn complete(
    service: &Service,
    shape: ImageShape,
    lane: &Lane<Drawing>,
    images: &[Image],
    known_pixels: &[bool],
    options: &CompleteOptions,
    deadline: Instant,
) -> Result<CompleteAnswer, ServiceError> {
    let known: Arc<[bool]> = (0..shape.dimensions())
        .map(|index| known_pixels[index % shape.pixels()])
        .collect();
    let completions = options.n as usize;
    let canvases = images
        .iter()
        .flat_map(|image| (0..options.n).map(move |index| (image, index)))
        .map(|(image, index)| Canvas {
            levels: image
                .levels()
                .iter()
                .zip(&*known)
                .map(|(&level, &known)| if known { level } else { 0 })
                .collect(),
            known: Arc::clone(&known),
            random: Random::new(options.seed, Stream::Level, u64::from(index)),
            temperature: options.temperature,
            frontier: 0,
            passes: 0,
        })
        .collect();
    let mut drawn = draw(service, shape, lane, canvases, deadline)
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

async fn draw(
    service: &Service,
    shape: ImageShape,
    lane: &Lane<Drawing>,
    canvases: Vec<Canvas>,
    deadline: Instant,
) -> Result<PerImage<(Image, u64)>, ServiceError> {
    let passes = canvases.len() as u64 * lane.work().expected_passes();
    let permit = service.admit(Class::Bulk, lane.estimate(passes))?;
    let drawn = lane.run(&permit, canvases, deadline).await;
    Ok(drawn
        .into_iter()
        .map(|result| {
            let canvas = result?;
            Ok((image_of(shape, canvas.levels)?, canvas.passes))
        })
        .collect())
}
