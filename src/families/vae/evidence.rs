//! What detectors ask of a VAE.

use super::network::{Network, Posterior};
use crate::{
    detection::evidence::{Answers, Latent, Latents},
    domain::{
        likelihood,
        random::{Random, Stream},
    },
    families::NetworkError,
    runtime::Threads,
};

/// Posterior samples behind the gap between bounds. Their noise is the same for every image.
const SAMPLES: usize = 16;

impl Latents for Network {
    fn latents(&self, images: &[&[u8]], samples: bool, threads: Threads) -> Answers<Latent> {
        let posteriors = self.encode(images, threads).map_err(text)?;
        let gaps = posteriors
            .iter()
            .zip(images)
            .map(|(posterior, levels)| {
                let gap = || self.iwae_gap(posterior, levels, threads);
                samples.then(gap).transpose()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let codes: Vec<f32> = posteriors.iter().flat_map(|p| p.mean.iter().copied()).collect();
        let observations = self.decode(&codes, threads).map_err(text)?;
        Ok(posteriors
            .into_iter()
            .zip(observations)
            .zip(images)
            .zip(gaps)
            .map(|(((posterior, observation), levels), iwae_gap)| {
                let reconstruction = -observation.log_probabilities(levels).sum::<f64>();
                let attainable = observation.attainable(levels);
                let gap = attainable.zip(observation.log_probabilities(levels));
                Latent {
                    kl: posterior.kl(),
                    reconstruction,
                    attainable_gap: observation.attainable(levels).sum::<f64>() + reconstruction,
                    gap: gap.map(|(best, own)| (best - own) as f32).collect(),
                    iwae_gap,
                    mean: posterior.mean,
                    log_variance: posterior.log_variance,
                }
            })
            .collect())
    }

    fn latent_size(&self) -> usize {
        self.latent_size()
    }
}

impl Network {
    /// log mean exp(w) − mean(w) in nats over log-weights w = log p(x | z) + log p(z) − log q(z | x) of posterior
    /// samples; never negative.
    fn iwae_gap(&self, posterior: &Posterior, levels: &[u8], threads: Threads) -> Result<f64, String> {
        let random = Random::new(0, Stream::Posterior, 0);
        let draws: Vec<(Vec<f32>, f64)> = (0..SAMPLES).map(|sample| posterior.draw(sample, &random)).collect();
        let codes: Vec<f32> = draws.iter().flat_map(|(code, _)| code).copied().collect();
        let weights: Vec<f64> = self
            .decode(&codes, threads)
            .map_err(text)?
            .iter()
            .zip(&draws)
            .map(|(observation, (_, log_ratio))| observation.log_probabilities(levels).sum::<f64>() + log_ratio)
            .collect();
        let mean = weights.iter().sum::<f64>() / SAMPLES as f64;
        Ok(likelihood::log_mean_exp(&weights) - mean)
    }
}

fn text(error: NetworkError) -> String {
    error.to_string()
}
