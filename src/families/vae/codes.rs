//! Codes of images, images of codes, and everything between.

use async_trait::async_trait;

use super::{
    Model,
    network::{Observation, Posterior},
    work::{Codes, Decoded},
};
use crate::{
    domain::{
        image::Image,
        random::{Random, Stream},
    },
    families::codes::{codes_between, codes_of_prior, finite, image_of, in_place},
    model::{
        Call, PerImage, Refusal,
        codes::{DecodeAsk, Decodes, Encodes, Encoding, Interpolates, Reconstruction, Reconstructs, check_codes},
        draw::{
            CompleteAsk, Completed, Completes, CompletionMethod, Completions, DrawAsk, Drawn, Draws,
            Observation as Show, Order, Sampler,
        },
    },
    scheduling::{Class, JobError, Permit},
};

/// Rounds of pseudo-Gibbs completion.
const COMPLETION_ROUNDS: u32 = 32;

#[async_trait]
impl Encodes for Model {
    async fn encode(&self, images: Vec<Image>, call: &Call) -> Result<PerImage<Encoding>, Refusal> {
        let posteriors = call.run(&self.encode, images).await?;
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
impl Decodes for Model {
    async fn decode(&self, codes: Vec<Vec<f32>>, ask: &DecodeAsk, call: &Call) -> Result<PerImage<Image>, Refusal> {
        check_codes(&codes, self.latent_size)?;
        let permit = call.admit(Class::Interactive, self.decode.estimate(codes.len() as u64))?;
        let observations = self.observations(&permit, codes, call).await;
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
impl Draws for Model {
    /// Images of codes drawn from the prior. Temperature widens or narrows both the prior and the likelihood.
    async fn draw(&self, ask: &DrawAsk, call: &Call) -> Result<Drawn, Refusal> {
        let codes = codes_of_prior(self.latent_size, ask);
        let permit = call.admit(Class::Interactive, self.decode.estimate(codes.len() as u64))?;
        let observations = self.observations(&permit, codes, call).await;
        let image = |(index, observation): (usize, Result<Observation, JobError>)| {
            let random = Random::new(ask.seed, Stream::Level, index as u64);
            show(&observation?, ask.observation, ask.temperature, &random)
        };
        let images: Result<_, Refusal> = observations.into_iter().enumerate().map(image).collect();
        Ok(Drawn {
            images: images?,
            labels: Vec::new(),
            sampler: Sampler::decoder(),
        })
    }

    fn order(&self) -> Order {
        Order::AtOnce
    }
}

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
            let errors = observation.squared_errors(image.levels()).collect();
            let log_likelihood = observation.log_probabilities(image.levels()).sum();
            Reconstruction::new(observation.mean_image()?, errors, Some(log_likelihood), map)
        };
        Ok(images.iter().zip(results).map(reconstruction).collect())
    }
}

#[async_trait]
impl Interpolates for Model {
    async fn interpolate(&self, from: Image, to: Image, steps: u32, call: &Call) -> Result<Vec<Image>, Refusal> {
        let cost = self.encode.estimate(2) + self.decode.estimate(u64::from(steps));
        let permit = call.admit(Class::Interactive, cost)?;
        let mut ends = Vec::new();
        for posterior in self.encode.run(&permit, vec![from, to], call.deadline).await {
            ends.push(usable(posterior?)?.mean);
        }
        let codes = codes_between(&ends[0], &ends[1], steps);
        let observations = self.observations(&permit, codes, call).await;
        observations
            .into_iter()
            .map(|observation| observation?.mean_image())
            .collect()
    }
}

#[async_trait]
impl Completes for Model {
    /// Alternates between code and image: encodes the image, draws a code, decodes it, draws the missing pixels.
    async fn complete(&self, images: Vec<Image>, ask: &CompleteAsk, call: &Call) -> Result<Completed, Refusal> {
        // The image with its missing pixels taken from `fill`.
        let complete_with = |image: &Image, fill: &[u8]| {
            let shape = image.shape();
            let levels = image.levels().iter().zip(fill).enumerate();
            let keep = |(index, (&given, &new))| {
                if ask.known[index % shape.pixels()] { given } else { new }
            };
            image_of(shape, levels.map(keep))
        };
        let count = (images.len() * ask.n as usize) as u64;
        let each = self.encode.estimate(count) + self.decode.estimate(count);
        let permit = call.admit(Class::Interactive, each * COMPLETION_ROUNDS)?;
        // Missing pixels start dark; the rounds forget where they started.
        let mut drawn: PerImage<Image> = images
            .iter()
            .flat_map(|image| (0..ask.n).map(move |_| image))
            .map(|image| complete_with(image, &vec![0; image.levels().len()]))
            .collect();
        for round in 0..COMPLETION_ROUNDS {
            // The place of a completion among those of its own image: neighbours in a request change nothing.
            let random = |stream, place: usize| {
                let own = place as u64 % u64::from(ask.n);
                Random::new(ask.seed, stream, own << 32 | u64::from(round))
            };
            let good = drawn.iter().flatten().cloned().collect();
            let mut posteriors = self.encode.run(&permit, good, call.deadline).await.into_iter();
            let codes: PerImage<Vec<f32>> = drawn
                .iter()
                .enumerate()
                .map(|(place, image)| {
                    image.as_ref().map_err(Clone::clone)?;
                    let posterior = posteriors
                        .next()
                        .ok_or_else(|| Refusal::internal("an image was lost"))?;
                    Ok(usable(posterior?)?.draw(0, &random(Stream::Posterior, place)).0)
                })
                .collect();
            let good = codes.iter().flatten().cloned().collect();
            let mut observations = self.observations(&permit, good, call).await.into_iter();
            let mut fill = |place| {
                let observation = observations
                    .next()
                    .ok_or_else(|| Refusal::internal("a code was lost"))??;
                // The last round shows what is expected rather than one more layer of pixel noise.
                if round + 1 == COMPLETION_ROUNDS {
                    observation.mean_image()
                } else {
                    observation.draw(ask.temperature, &random(Stream::Level, place))
                }
            };
            drawn = drawn
                .into_iter()
                .zip(codes)
                .enumerate()
                .map(|(place, (image, code))| {
                    let image = image?;
                    code?;
                    complete_with(&image, fill(place)?.levels())
                })
                .collect();
        }
        let mut drawn = drawn.into_iter();
        let own = |_| {
            // All of an image's own are taken, also if one of them failed: the next image's come after them.
            let own: PerImage<Image> = drawn.by_ref().take(ask.n as usize).collect();
            let images = own.into_iter().collect::<Result<_, _>>()?;
            Ok(Completions {
                images,
                labels: Vec::new(),
            })
        };
        Ok(Completed {
            method: CompletionMethod::PseudoGibbs {
                iterations: COMPLETION_ROUNDS,
            },
            items: images.iter().map(own).collect(),
        })
    }

    fn order(&self) -> Order {
        Order::AtOnce
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
        let cost = self.encode.estimate(count) + self.decode.estimate(count);
        let permit = call.admit(Class::Interactive, cost)?;
        let posteriors = self.encode.run(&permit, images.to_vec(), call.deadline).await;
        let codes = posteriors
            .iter()
            .flatten()
            .map(|posterior| posterior.mean.clone())
            .collect();
        let observations = self.observations(&permit, codes, call).await;
        Ok(in_place(posteriors, observations)
            .map(|both| {
                let (posterior, observation) = both?;
                Ok((usable(posterior)?, observation))
            })
            .collect())
    }

    /// The distributions over images of codes.
    async fn observations(
        &self,
        permit: &Permit,
        codes: Vec<Vec<f32>>,
        call: &Call,
    ) -> Vec<Result<Observation, JobError>> {
        let items = codes.into_iter().map(Codes::Given).collect();
        let decoded = self.decode.run(permit, items, call.deadline).await;
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
}

/// A posterior, unless it is none.
fn usable(posterior: Posterior) -> Result<Posterior, Refusal> {
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
