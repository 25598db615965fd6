//! Drawing from autoregressive models: new images, and the missing pixels of given ones.

use std::{sync::Arc, time::Instant};

use super::{
    ServedModel, Service,
    drawing::{Draw, Drawing, Drawn, Order, Purpose},
    error::ServiceError,
    image_of,
    labels::{self, Condition},
    progress::Board,
    requests::{
        CompleteAnswer, CompleteOptions, CompletionMethod, Completions, PerImage, SampleAnswer,
        SampleOptions, Sampler,
    },
    work::Scoring,
};
use crate::{
    domain::{
        bayes::{self, Prior},
        image::Image,
        random::{Random, Stream},
    },
    network::autoregressive::Compilation,
    scheduling::{Class, JobError, Lane},
};

/// New images, each of a label where the model is conditioned on one.
pub(super) async fn sample(
    service: &Service,
    model: &ServedModel,
    lane: &Lane<Drawing>,
    (options, labels, watch): (&SampleOptions, &[u32], Option<&Arc<Board>>),
    deadline: Instant,
) -> Result<SampleAnswer, ServiceError> {
    let shape = model.shape();
    let nothing_known: Arc<[bool]> = Arc::new([]);
    let orders = (0..options.n)
        .zip(labels)
        .map(|(index, &label)| Order {
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
        labels: Vec::new(),
        sampler: match lane.work().network().compilation() {
            Compilation::Wavefront(wavefront) => Sampler::Wavefront {
                steps: wavefront.steps(),
            },
            Compilation::Causal(_) | Compilation::Unknown(_) => Sampler::FixedPoint { passes },
        },
    })
}

/// Completions of partly given images. Without a label each completion of a conditional model has its own, drawn from
/// p(y | known pixels), so that completions come from p(missing | known).
pub(super) async fn complete(
    service: &Service,
    model: &ServedModel,
    (score, draw_lane): (&Lane<Scoring>, &Lane<Drawing>),
    images: &[Image],
    known_pixels: &[bool],
    (options, condition): (&CompleteOptions, Condition),
    deadline: Instant,
) -> Result<CompleteAnswer, ServiceError> {
    let shape = model.shape();
    let known: Arc<[bool]> = (0..shape.dimensions())
        .map(|index| known_pixels[index % shape.pixels()])
        .collect();
    let given: Vec<Image> = images
        .iter()
        .map(|image| {
            let levels = image.levels().iter().zip(&*known);
            let kept = levels.map(|(&level, &known)| if known { level } else { 0 });
            image_of(shape, kept.collect())
        })
        .collect::<Result<_, _>>()?;
    // Pixels are in the model's own order: exact if no given pixel follows a missing one.
    let missing_from = known_pixels.iter().position(|known| !known);
    let first = missing_from.unwrap_or(known_pixels.len());
    let in_order = !known_pixels[first..].contains(&true);
    let labels: PerImage<Vec<u32>> = match &condition {
        Condition::Open(_) if !in_order => {
            return Err(labels::invalid(format!(
                "a label can be drawn for a completion only where all given pixels come before all missing ones, in rows from the top \
                 and columns from the left; name one of: {}",
                model.label_names().join(", ")
            )));
        }
        Condition::Open(prior) if first > 0 => {
            let known = (prior, first * shape.channels());
            let posteriors = posteriors(service, score, &given, known, deadline).await?;
            let draw = |posterior: Result<Vec<f64>, ServiceError>| {
                Ok(labels::draw(&posterior?, options.n, options.seed))
            };
            posteriors.into_iter().map(draw).collect()
        }
        _ => given
            .iter()
            .map(|_| Ok(condition.draw(options.n, options.seed)))
            .collect(),
    };
    let orders = given
        .iter()
        .zip(&labels)
        .filter_map(|(image, labels)| Some((image, labels.as_ref().ok()?)))
        .flat_map(|(image, labels)| (0..options.n).zip(labels).map(move |own| (image, own)))
        .map(|(image, (index, &label))| Order {
            levels: image.levels().to_vec(),
            label,
            purpose: Purpose::Draw(Draw {
                known: Arc::clone(&known),
                random: Random::new(options.seed, Stream::Level, u64::from(index)),
                temperature: options.temperature,
            }),
            progress: None,
        })
        .collect();
    let mut drawn = draw(service, model, draw_lane, orders, deadline)
        .await?
        .into_iter();
    let results = labels
        .into_iter()
        .map(|labels| {
            let labels = labels?;
            // All of an image's own are taken, also if one of them failed: the next image's come after them.
            let own: Vec<_> = drawn.by_ref().take(labels.len()).collect();
            let images = own.into_iter().map(|result| result.map(|(image, _)| image));
            Ok(Completions {
                images: images.collect::<Result<_, _>>()?,
                labels: model.names_of(&labels),
            })
        })
        .collect();
    Ok(CompleteAnswer {
        method: if in_order {
            CompletionMethod::Exact
        } else {
            CompletionMethod::Ancestral
        },
        results,
    })
}

/// log p(y | the first `places` dimensions) of images.
async fn posteriors(
    service: &Service,
    lane: &Lane<Scoring>,
    images: &[Image],
    (prior, places): (&Prior, usize),
    deadline: Instant,
) -> Result<PerImage<Vec<f64>>, ServiceError> {
    let all = labels::ask_all(service, lane, images, prior, deadline).await?;
    Ok(images
        .iter()
        .zip(all)
        .map(|(image, maps)| {
            let posterior = bayes::posterior_of_prefix(image.shape(), &maps?, prior, places);
            Ok(posterior)
        })
        .collect())
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
    let permit = service.admit(Class::Bulk, lane.estimate(turns), deadline)?;
    let canvases = orders.into_iter().map(Into::into).collect();
    Ok(lane.run(&permit, canvases, deadline).await)
}
