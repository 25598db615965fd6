//! Scores of VAEs: lower bounds on the log-likelihood, and a deterministic statistic beside them by which they judge.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    Model, STATISTIC,
    network::Posterior,
    work::{Codes, Decoded, PosteriorSamples},
};
use crate::{
    domain::{
        image::{Image, ImageShape},
        likelihood::{self, Bound},
        random::{Random, Stream},
    },
    families::decoder::Observation,
    model::{
        Call, PerImage, Refusal,
        detect::Measures,
        score::{BoundChoice, Likelihood, Qualifiers, ScoreAsk, Scored, Scores},
        value::Map,
    },
    scheduling::{Class, JobError},
};

/// Codes that go through the decoder as one item: large enough to batch well, small enough to share workers.
const CODES_PER_ITEM: usize = 16;

#[async_trait]
impl Scores for Model {
    /// Encodes once and decodes `k` times.
    async fn score(&self, images: Vec<Image>, ask: &ScoreAsk, call: &Call) -> Result<Scored, Refusal> {
        let bound = bound(ask)?;
        let (count, k) = (images.len() as u64, bound.samples().unwrap_or(1));
        let cost = self.encoder.queue.estimate(count) + self.decoder.queue.estimate(count * u64::from(k));
        let permit = call.admit(Class::Interactive, cost)?;
        let posteriors = self.encoder.queue.run(&permit, images.clone(), call.deadline).await;
        let permit = &permit;
        let items = images.into_iter().zip(posteriors).map(async |(image, posterior)| {
            let shape = image.shape();
            let posterior = Arc::new(posterior?);
            let items = posterior_samples(image, &posterior, k as usize, ask);
            let decoded = self.decoder.queue.run(permit, items, call.deadline).await;
            combine(bound, &posterior, decoded, shape, ask.map)
        });
        Ok(Scored {
            qualifiers: Qualifiers {
                bound: bound.name().to_owned(),
                likelihood_of: None,
                label: None,
                k: Some(k),
                seed: Some(ask.seed),
                beta: self.is_weighted.then_some(1.0),
            },
            items: futures_util::future::join_all(items).await,
        })
    }
}

/// Judged by the evidence lower bound with its expectation taken at the posterior mean.
#[async_trait]
impl Measures for Model {
    fn statistic(&self) -> &'static str {
        STATISTIC
    }

    async fn measure(&self, images: Vec<Image>, call: &Call) -> Result<PerImage<f64>, Refusal> {
        let results = self.at_mean(&images, call).await?;
        let statistic = |(image, result): (&Image, Result<_, Refusal>)| {
            let (posterior, observation): (Posterior, Observation) = result?;
            let elbo = posterior.elbo_at_mean(&observation, image.levels());
            elbo.ok_or_else(|| Refusal::internal("a decoder without a likelihood was measured"))
        };
        Ok(images.iter().zip(results).map(statistic).collect())
    }
}

/// The bound that is asked for.
fn bound(ask: &ScoreAsk) -> Result<Bound, Refusal> {
    let samples = |default: u32| match ask.k.unwrap_or(default) {
        0 => Err(Refusal::option("k", "at least 1 posterior sample is needed")),
        k => Ok(k),
    };
    match ask.bound {
        None | Some(BoundChoice::Elbo) => Ok(Bound::Elbo { k: samples(16)? }),
        Some(BoundChoice::Iwae) => Ok(Bound::Iwae { k: samples(64)? }),
        Some(BoundChoice::Exact) => Err(Refusal::option(
            "bound",
            "a VAE has no exact likelihood: ask for \"elbo\" or \"iwae\"",
        )),
    }
}

/// The `k` posterior samples of an image in items. The noise is the same for every image of a request, so that a score
/// does not depend on its place among others.
fn posterior_samples(image: Image, posterior: &Arc<Posterior>, k: usize, ask: &ScoreAsk) -> Vec<Codes> {
    (0..k)
        .step_by(CODES_PER_ITEM)
        .map(|start| {
            Codes::Drawn(PosteriorSamples {
                image: image.clone(),
                posterior: Arc::clone(posterior),
                samples: start..k.min(start + CODES_PER_ITEM),
                random: Random::new(ask.seed, Stream::Posterior, 0),
                map: ask.map,
            })
        })
        .collect()
}

/// The bound that the likelihoods of posterior samples come to.
fn combine(
    bound: Bound,
    posterior: &Posterior,
    decoded: Vec<Result<Decoded, JobError>>,
    shape: ImageShape,
    map: bool,
) -> Result<Likelihood, Refusal> {
    let (mut likelihoods, mut log_ratios) = (Vec::new(), Vec::new());
    let mut sums = vec![0.0; if map { shape.dimensions() } else { 0 }];
    for part in decoded {
        let Decoded::Likelihoods(part) = part? else {
            return Err(Refusal::internal("samples came back without likelihoods"));
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
    let values = || sums.iter().map(|sum| (sum / k) as f32).collect();
    Ok(Likelihood {
        effective_sample_size,
        log_probability_map: map.then(|| Map {
            shape,
            values: values(),
        }),
        ..Likelihood::new(total, shape.dimensions())?
    })
}
