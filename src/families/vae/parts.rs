//! Encoder and decoder as they serve, together or one without the other.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    network::Posterior,
    work::{Codes, Decode, Decoded},
};
use crate::{
    domain::{
        image::Image,
        random::{Random, Stream},
    },
    families::{
        codes::{codes_of_prior, finite, only_means},
        decoder::{Observation, Seed},
    },
    model::{
        Call, PerImage, Refusal,
        codes::{DecodeAsk, Decodes, Encodes, Encoding, check_codes},
        draw::{DrawAsk, Drawn, Draws, Observation as Show, Order, Sampler},
        work::Batches,
    },
    scheduling::{Class, JobError, Lane, Permit},
};

/// An encoder with its queue.
pub(super) struct EncoderPart {
    pub(super) queue: Batches<Image, Posterior>,
    pub(super) latent_size: usize,
}

/// A decoder with its queue.
pub(super) struct DecoderPart {
    pub(super) queue: Arc<Lane<Decode>>,
    pub(super) latent_size: usize,
    /// Whether it is given labels.
    pub(super) is_conditional: bool,
    /// Whether it gives a distribution over images.
    pub(super) has_likelihood: bool,
}

#[async_trait]
impl Encodes for EncoderPart {
    async fn encode(&self, images: Vec<Image>, call: &Call) -> Result<PerImage<Encoding>, Refusal> {
        let posteriors = call.run(&self.queue, images).await?;
        let encoding = |posterior: Result<Posterior, JobError>| {
            let posterior = usable(posterior?)?;
            Ok(Encoding {
                code: posterior.mean,
                log_variance: Some(posterior.log_variance),
            })
        };
        Ok(posteriors.into_iter().map(encoding).collect())
    }

    fn code_size(&self) -> usize {
        self.latent_size
    }

    fn has_variance(&self) -> bool {
        true
    }
}

#[async_trait]
impl Decodes for DecoderPart {
    async fn decode(&self, codes: Vec<Vec<f32>>, ask: &DecodeAsk, call: &Call) -> Result<PerImage<Image>, Refusal> {
        check_codes(&codes, self.latent_size)?;
        self.check(ask.observation)?;
        let permit = call.admit(Class::Interactive, self.queue.estimate(codes.len() as u64))?;
        let labels = ask.condition.draw(codes.len() as u32, ask.seed);
        let observations = self.observations(&permit, seeds(codes, &labels), call).await;
        let image = |(index, observation): (usize, Result<Observation, JobError>)| {
            let random = Random::new(ask.seed, Stream::Level, index as u64);
            show(&observation?, ask.observation, 1.0, &random)
        };
        Ok(observations.into_iter().enumerate().map(image).collect())
    }

    fn code_size(&self) -> usize {
        self.latent_size
    }
}

#[async_trait]
impl Draws for DecoderPart {
    /// Images of codes drawn from the prior. Temperature widens or narrows both the prior and the likelihood.
    async fn draw(&self, ask: &DrawAsk, call: &Call) -> Result<Drawn, Refusal> {
        self.check(ask.observation)?;
        let codes = codes_of_prior(self.latent_size, ask);
        let labels = ask.condition.draw(ask.n, ask.seed);
        let permit = call.admit(Class::Interactive, self.queue.estimate(codes.len() as u64))?;
        let observations = self.observations(&permit, seeds(codes, &labels), call).await;
        let image = |(index, observation): (usize, Result<Observation, JobError>)| {
            let random = Random::new(ask.seed, Stream::Level, index as u64);
            show(&observation?, ask.observation, ask.temperature, &random)
        };
        let images: Result<_, Refusal> = observations.into_iter().enumerate().map(image).collect();
        Ok(Drawn {
            images: images?,
            labels: if self.is_conditional { labels } else { Vec::new() },
            sampler: Sampler::decoder(),
        })
    }

    fn order(&self) -> Order {
        Order::AtOnce
    }
}

impl DecoderPart {
    /// What becomes of codes.
    pub(super) async fn observations(
        &self,
        permit: &Permit,
        seeds: Vec<Seed>,
        call: &Call,
    ) -> Vec<Result<Observation, JobError>> {
        let items = seeds.into_iter().map(Codes::Given).collect();
        let decoded = self.queue.run(permit, items, call.deadline).await;
        decoded
            .into_iter()
            .map(|result| match result? {
                Decoded::Observation(observation) => Ok(observation),
                Decoded::Likelihoods(_) => {
                    let cause = "a code came back without its image".to_owned();
                    Err(JobError::Failed(cause))
                }
            })
            .collect()
    }

    /// Without a distribution over images there is nothing to draw from it.
    fn check(&self, observation: Show) -> Result<(), Refusal> {
        if self.has_likelihood {
            Ok(())
        } else {
            only_means(observation)
        }
    }
}

/// Codes with their labels.
fn seeds(codes: Vec<Vec<f32>>, labels: &[u32]) -> Vec<Seed> {
    let both = codes.into_iter().zip(labels);
    both.map(|(code, &label)| Seed { code, label }).collect()
}

/// Codes without labels.
pub(super) fn unlabelled(codes: Vec<Vec<f32>>) -> Vec<Seed> {
    codes.into_iter().map(|code| Seed { code, label: 0 }).collect()
}

/// A posterior, unless it is none.
pub(super) fn usable(posterior: Posterior) -> Result<Posterior, Refusal> {
    finite("the mean of the posterior", &posterior.mean)?;
    finite("the variance of the posterior", &posterior.log_variance)?;
    Ok(posterior)
}

fn show(observation: &Observation, what: Show, temperature: f64, random: &Random) -> Result<Image, Refusal> {
    match what {
        Show::Mean => observation.mean_image(),
        Show::Sample => observation.draw(temperature, random),
    }
}
