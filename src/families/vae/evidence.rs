//! What detectors ask of a VAE.

use std::sync::Arc;

use super::network::{Encoder, Posterior};
use crate::{
    detection::evidence::{Answers, Latent, Latents, SquaredErrors},
    domain::{
        likelihood,
        random::{Random, Stream},
    },
    families::{
        NetworkError,
        decoder::{Decoder, Observation},
    },
    runtime::Threads,
};

/// Only a decoder with a likelihood is asked.
const NO_LIKELIHOOD: &str = "its decoder gives no likelihood";

/// Posterior samples behind the gap between bounds. Their noise is the same for every image.
const SAMPLES: usize = 16;

/// Encoder and decoder, as detectors run them.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) encoder: Arc<Encoder>,
    pub(super) decoder: Arc<Decoder>,
}

impl Latents for Network {
    fn latents(&self, images: &[&[u8]], samples: bool, threads: Threads) -> Answers<Latent> {
        let posteriors = self.encoder.encode(images, threads).map_err(text)?;
        let gaps = posteriors
            .iter()
            .zip(images)
            .map(|(posterior, levels)| {
                let gap = || self.iwae_gap(posterior, levels, threads);
                samples.then(gap).transpose()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let observations = self.at_means(&posteriors, threads)?;
        posteriors
            .into_iter()
            .zip(observations)
            .zip(images)
            .zip(gaps)
            .map(|(((posterior, observation), levels), iwae_gap)| {
                let own = observation
                    .log_probabilities(levels)
                    .ok_or_else(|| NO_LIKELIHOOD.to_owned())?;
                let reconstruction = -own.iter().sum::<f64>();
                let gap = observation.attainable(levels).zip(own);
                let gap: Vec<f32> = gap.map(|(best, own)| (best - own) as f32).collect();
                Ok(Latent {
                    kl: posterior.kl(),
                    reconstruction,
                    attainable_gap: observation.attainable(levels).sum::<f64>() + reconstruction,
                    gap,
                    iwae_gap,
                    mean: posterior.mean,
                    log_variance: posterior.log_variance,
                })
            })
            .collect()
    }

    fn latent_size(&self) -> usize {
        self.encoder.latent_size()
    }
}

impl SquaredErrors for Network {
    fn squared_errors(&self, images: &[&[u8]], threads: Threads) -> Answers<Vec<f64>> {
        let posteriors = self.encoder.encode(images, threads).map_err(text)?;
        let observations = self.at_means(&posteriors, threads)?;
        let both = observations.iter().zip(images);
        Ok(both
            .map(|(observation, levels)| observation.squared_errors(levels))
            .collect())
    }
}

impl Network {
    /// What becomes of the means of posteriors.
    fn at_means(&self, posteriors: &[Posterior], threads: Threads) -> Result<Vec<Observation>, String> {
        let codes: Vec<f32> = posteriors.iter().flat_map(|p| p.mean.iter().copied()).collect();
        self.decoder.decode_codes(&codes, threads).map_err(text)
    }

    /// log mean exp(w) − mean(w) in nats over log-weights w = log p(x | z) + log p(z) − log q(z | x) of posterior
    /// samples; never negative.
    fn iwae_gap(&self, posterior: &Posterior, levels: &[u8], threads: Threads) -> Result<f64, String> {
        let random = Random::new(0, Stream::Posterior, 0);
        let draws: Vec<(Vec<f32>, f64)> = (0..SAMPLES).map(|sample| posterior.draw(sample, &random)).collect();
        let codes: Vec<f32> = draws.iter().flat_map(|(code, _)| code).copied().collect();
        let observations = self.decoder.decode_codes(&codes, threads).map_err(text)?;
        let weight = |(observation, (_, log_ratio)): (&Observation, &(_, f64))| {
            Ok(log_likelihood(observation, levels)? + log_ratio)
        };
        let weights: Vec<f64> = observations
            .iter()
            .zip(&draws)
            .map(weight)
            .collect::<Result<_, String>>()?;
        let mean = weights.iter().sum::<f64>() / SAMPLES as f64;
        Ok(likelihood::log_mean_exp(&weights) - mean)
    }
}

fn log_likelihood(observation: &Observation, levels: &[u8]) -> Result<f64, String> {
    let value = observation.log_likelihood(levels);
    value.ok_or_else(|| NO_LIKELIHOOD.to_owned())
}

fn text(error: NetworkError) -> String {
    error.to_string()
}
