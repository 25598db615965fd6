//! Scoring: exact for autoregressive models, a bound for latent-variable models.

use std::{sync::Arc, time::Instant};

use super::{
    ServedModel, Service,
    error::ServiceError,
    labels::{self, Condition},
    requests::{BoundChoice, LikelihoodOf, PerImage, Score, ScoreAnswer, ScoreOptions},
    work::{Codes, Decoded, Decoder, Encoder, Labelled, PosteriorSamples, Scoring},
};
use crate::{
    domain::{
        image::Image,
        likelihood::{self, Bound},
        random::{Random, Stream},
    },
    network::vae::Posterior,
    scheduling::{Class, JobError, Lane},
};

/// Codes that go through the decoder as one item: large enough to batch well, small enough to share workers.
const CODES_PER_ITEM: usize = 16;

/// Refuses what is said of bounds only.
pub(super) fn only_exact(options: &ScoreOptions) -> Result<(), ServiceError> {
    if matches!(options.bound, Some(BoundChoice::Elbo | BoundChoice::Iwae)) {
        return Err(ServiceError::InvalidOption {
            option: "bound",
            reason: "an autoregressive model has the exact likelihood and no bound: leave it out or ask for \"exact\""
                .to_owned(),
        });
    }
    if options.k.is_some() {
        return Err(ServiceError::InvalidOption {
            option: "k",
            reason: "the likelihood is exact: there are no posterior samples to count".to_owned(),
        });
    }
    Ok(())
}

/// Exact log-likelihoods.
pub(super) async fn exact(
    service: &Service,
    (model, lane): (&ServedModel, &Lane<Scoring>),
    images: Vec<Image>,
    condition: Condition,
    options: &ScoreOptions,
    deadline: Instant,
) -> Result<ScoreAnswer, ServiceError> {
    only_exact(options)?;
    let likelihood_of = match &condition {
        Condition::None => None,
        Condition::Label(label) => Some(LikelihoodOf::Given(model.label_name(*label))),
        Condition::Open(_) => Some(LikelihoodOf::Evidence),
    };
    let dimensions = model.shape().dimensions();
    let results = log_likelihoods(service, lane, images, condition, deadline)
        .await?
        .into_iter()
        .map(|result| {
            let (total, map) = result?;
            score(total, dimensions, None, options.map.then_some(map))
        })
        .collect();
    Ok(ScoreAnswer {
        bound: Bound::Exact,
        likelihood_of,
        seed: None,
        results,
    })
}

/// log p of images, and log p of every dimension given those before it: of a label, or of the mixture over all labels.
pub(super) async fn log_likelihoods(
    service: &Service,
    lane: &Lane<Scoring>,
    images: Vec<Image>,
    condition: Condition,
    deadline: Instant,
) -> Result<PerImage<(f64, Vec<f32>)>, ServiceError> {
    let label = match condition {
        Condition::None => 0,
        Condition::Label(label) => label,
        Condition::Open(prior) => {
            let witnesses = labels::witnesses(service, lane, &images, &prior, deadline).await?;
            let evidence = |witness: Result<labels::Witness, ServiceError>| {
                let beliefs = witness?.beliefs;
                let map = beliefs.mixture.iter().map(|&value| value as f32).collect();
                Ok((beliefs.log_evidence, map))
            };
            return Ok(witnesses.into_iter().map(evidence).collect());
        }
    };
    let maps = log_probabilities(service, lane, images, label, deadline).await?;
    Ok(maps
        .into_iter()
        .map(|map| {
            let map = map?;
            Ok((likelihood::total(&map), map))
        })
        .collect())
}

/// log p of every dimension of images, given a label where the model is conditioned on one.
async fn log_probabilities(
    service: &Service,
    lane: &Lane<Scoring>,
    images: Vec<Image>,
    label: u32,
    deadline: Instant,
) -> Result<Vec<Result<Vec<f32>, JobError>>, ServiceError> {
    let permit = service.admit(
        Class::Interactive,
        lane.estimate(images.len() as u64),
        deadline,
    )?;
    let items = images.into_iter().map(|image| Labelled { image, label });
    Ok(lane.run(&permit, items.collect(), deadline).await)
}

/// The bound that a latent-variable model is asked for.
pub(super) fn bound(options: &ScoreOptions, max_k: u32) -> Result<Bound, ServiceError> {
    let checked = |default: u32| match options.k.unwrap_or(default) {
        k if (1..=max_k).contains(&k) => Ok(k),
        k => Err(ServiceError::InvalidOption {
            option: "k",
            reason: format!("{k} is outside 1 to {max_k}"),
        }),
    };
    match options.bound {
        None | Some(BoundChoice::Elbo) => Ok(Bound::Elbo { k: checked(16)? }),
        Some(BoundChoice::Iwae) => Ok(Bound::Iwae { k: checked(64)? }),
        Some(BoundChoice::Exact) => Err(ServiceError::InvalidOption {
            option: "bound",
            reason: "a VAE has no exact likelihood: ask for \"elbo\" or \"iwae\"".to_owned(),
        }),
    }
}

/// Lower bounds: encode once, decode `k` times.
pub(super) async fn lower_bound(
    service: &Service,
    (encode, decode): (&Lane<Encoder>, &Lane<Decoder>),
    images: Vec<Image>,
    bound: Bound,
    options: &ScoreOptions,
    deadline: Instant,
) -> Result<ScoreAnswer, ServiceError> {
    let (count, k) = (images.len() as u64, bound.samples().unwrap_or(1));
    let cost = encode.estimate(count) + decode.estimate(count * u64::from(k));
    let permit = service.admit(Class::Interactive, cost, deadline)?;
    let posteriors = encode.run(&permit, images.clone(), deadline).await;
    let scores = images
        .into_iter()
        .zip(posteriors)
        .map(async |(image, posterior)| {
            let dimensions = image.shape().dimensions();
            let posterior = Arc::new(posterior?);
            let items = posterior_samples(image, &posterior, k as usize, options);
            let decoded = decode.run(&permit, items, deadline).await;
            combine(bound, &posterior, decoded, dimensions, options.map)
        });
    Ok(ScoreAnswer {
        bound,
        likelihood_of: None,
        seed: Some(options.seed),
        results: futures_util::future::join_all(scores).await,
    })
}

/// The `k` posterior samples of an image in items. The noise is the same for every image of a request, so that a score does not
/// depend on its place among others.
fn posterior_samples(
    image: Image,
    posterior: &Arc<Posterior>,
    k: usize,
    options: &ScoreOptions,
) -> Vec<Codes> {
    (0..k)
        .step_by(CODES_PER_ITEM)
        .map(|start| {
            Codes::Drawn(PosteriorSamples {
                image: image.clone(),
                posterior: Arc::clone(posterior),
                samples: start..k.min(start + CODES_PER_ITEM),
                random: Random::new(options.seed, Stream::Posterior, 0),
                map: options.map,
            })
        })
        .collect()
}

/// The bound that the likelihoods of posterior samples come to.
fn combine(
    bound: Bound,
    posterior: &Posterior,
    decoded: Vec<Result<Decoded, JobError>>,
    dimensions: usize,
    map: bool,
) -> Result<Score, ServiceError> {
    let (mut likelihoods, mut log_ratios) = (Vec::new(), Vec::new());
    let mut sums = vec![0.0; if map { dimensions } else { 0 }];
    for part in decoded {
        let Decoded::Likelihoods(part) = part? else {
            let cause = "samples came back without likelihoods".to_owned();
            return Err(ServiceError::Inference(cause));
        };
        likelihoods.extend(part.likelihoods);
        log_ratios.extend(part.log_ratios);
        for (sum, value) in sums.iter_mut().zip(part.map) {
            *sum += value;
        }
    }
    let k = likelihoods.len() as f64;
    let (total, effective_sample_size) = match bound {
        Bound::Iwae { .. } => {
            let weights: Vec<f64> = likelihoods
                .iter()
                .zip(&log_ratios)
                .map(|(likelihood, ratio)| likelihood + ratio)
                .collect();
            let size = likelihood::effective_sample_size(&weights);
            (likelihood::log_mean_exp(&weights), Some(size))
        }
        // The KL term is known in closed form; only the expectation is estimated.
        _ => (likelihoods.iter().sum::<f64>() / k - posterior.kl(), None),
    };
    let map = map.then(|| sums.iter().map(|sum| (sum / k) as f32).collect());
    score(total, dimensions, effective_sample_size, map)
}

/// A score, unless the model gave no number.
pub(super) fn score(
    log_likelihood_nats: f64,
    dimensions: usize,
    effective_sample_size: Option<f64>,
    map: Option<Vec<f32>>,
) -> Result<Score, ServiceError> {
    if log_likelihood_nats.is_nan() {
        return Err(ServiceError::not_a_number());
    }
    Ok(Score {
        log_likelihood_nats,
        bits_per_dim: likelihood::bits_per_dim(log_likelihood_nats, dimensions),
        perplexity: likelihood::perplexity(log_likelihood_nats, dimensions),
        effective_sample_size,
        map,
    })
}
