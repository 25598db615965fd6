//! Images through encoder and decoder, and everything between two of them.

use async_trait::async_trait;

use super::{
    Model,
    network::Posterior,
    parts::{unlabelled, usable},
};
use crate::{
    domain::image::Image,
    families::{
        codes::{codes_between, in_place},
        decoder::Observation,
    },
    model::{
        Call, PerImage, Refusal,
        codes::{Interpolates, Reconstruction, Reconstructs},
    },
    scheduling::Class,
};

#[async_trait]
impl Reconstructs for Model {
    /// The decoder's mean at the posterior mean, and how far it is from the image.
    async fn reconstruct(
        &self,
        images: Vec<Image>,
        map: bool,
        call: &Call,
    ) -> Result<PerImage<Reconstruction>, Refusal> {
        let results = self.at_mean(&images, call).await?;
        let reconstruction = |(image, result): (&Image, Result<(Posterior, Observation), Refusal>)| {
            let (_, observation) = result?;
            let errors = observation.squared_errors(image.levels());
            let log_likelihood = observation.log_likelihood(image.levels());
            Reconstruction::new(observation.mean_image()?, errors, log_likelihood, map)
        };
        Ok(images.iter().zip(results).map(reconstruction).collect())
    }
}

#[async_trait]
impl Interpolates for Model {
    async fn interpolate(&self, from: Image, to: Image, steps: u32, call: &Call) -> Result<Vec<Image>, Refusal> {
        let cost = self.encoder.queue.estimate(2) + self.decoder.queue.estimate(u64::from(steps));
        let permit = call.admit(Class::Interactive, cost)?;
        let mut ends = Vec::new();
        for posterior in self.encoder.queue.run(&permit, vec![from, to], call.deadline).await {
            ends.push(usable(posterior?)?.mean);
        }
        let codes = codes_between(&ends[0], &ends[1], steps);
        let observations = self.decoder.observations(&permit, unlabelled(codes), call).await;
        observations
            .into_iter()
            .map(|observation| observation?.mean_image())
            .collect()
    }
}

impl Model {
    /// The posterior of each image, and the distribution over images at its mean.
    pub(super) async fn at_mean(
        &self,
        images: &[Image],
        call: &Call,
    ) -> Result<PerImage<(Posterior, Observation)>, Refusal> {
        let count = images.len() as u64;
        let cost = self.encoder.queue.estimate(count) + self.decoder.queue.estimate(count);
        let permit = call.admit(Class::Interactive, cost)?;
        let posteriors = self.encoder.queue.run(&permit, images.to_vec(), call.deadline).await;
        let codes = posteriors
            .iter()
            .flatten()
            .map(|posterior| posterior.mean.clone())
            .collect();
        let observations = self.decoder.observations(&permit, unlabelled(codes), call).await;
        Ok(in_place(posteriors, observations)
            .map(|both| {
                let (posterior, observation) = both?;
                Ok((usable(posterior)?, observation))
            })
            .collect())
    }
}
