//! What latent-variable models can do: codes, images of codes, and everything between.

use std::time::Instant;

use super::{
    ServedModel, Service,
    error::ServiceError,
    image_of,
    requests::{
        CompleteAnswer, CompleteOptions, CompletionMethod, Completions, DecodeOptions, Encoding,
        Observation as Show, PerImage, ReconstructOptions, Reconstruction, SampleAnswer,
        SampleOptions, Sampler,
    },
    work::{Codes, Decoded, Decoder, Encoder},
};
use crate::{
    domain::{
        image::Image,
        random::{Random, Stream},
    },
    network::vae::{Observation, Posterior},
    scheduling::{Class, JobError, Lane, Permit},
};

/// Rounds of pseudo-Gibbs completion.
const COMPLETION_ROUNDS: u32 = 32;

/// Posterior parameters.
pub(super) async fn encode(
    service: &Service,
    encode: &Lane<Encoder>,
    images: Vec<Image>,
    deadline: Instant,
) -> Result<PerImage<Encoding>, ServiceError> {
    let permit = service.admit(
        Class::Interactive,
        encode.estimate(images.len() as u64),
        deadline,
    )?;
    let posteriors = encode.run(&permit, images, deadline).await;
    Ok(posteriors
        .into_iter()
        .map(|posterior| {
            let posterior = posterior?;
            Ok(Encoding {
                code: posterior.mean,
                log_variance: Some(posterior.log_variance),
            })
        })
        .collect())
}

/// Codes must be finite and of the right size.
pub(super) fn check_codes(codes: &[Vec<f32>], size: usize) -> Result<(), ServiceError> {
    for (index, code) in codes.iter().enumerate() {
        let found = if code.len() != size {
            format!("has {} numbers", code.len())
        } else if let Some(place) = code.iter().position(|value| !value.is_finite()) {
            format!("has {} at place {place}", code[place])
        } else {
            continue;
        };
        return Err(ServiceError::InvalidOption {
            option: "latents",
            reason: format!("code {index} {found}; a code of this model is {size} finite numbers"),
        });
    }
    Ok(())
}

/// Codes drawn from a standard normal prior, widened or narrowed by the temperature.
pub(super) fn codes_of_prior(size: usize, options: &SampleOptions) -> Vec<Vec<f32>> {
    (0..u64::from(options.n))
        .map(|index| {
            let random = Random::new(options.seed, Stream::Prior, index);
            (0..size as u32)
                .map(|i| (options.temperature * random.normal(i)) as f32)
                .collect()
        })
        .collect()
}

/// Codes at equal distances on the straight line between two, both ends included.
pub(super) fn codes_between(from: &[f32], to: &[f32], steps: u32) -> Vec<Vec<f32>> {
    (0..steps)
        .map(|step| {
            let t = step as f32 / (steps - 1) as f32;
            let between = |(&a, &b): (&f32, &f32)| (1.0 - t) * a + t * b;
            from.iter().zip(to).map(between).collect()
        })
        .collect()
}

/// Images of given codes.
pub(super) async fn decode(
    service: &Service,
    model: &ServedModel,
    decode: &Lane<Decoder>,
    codes: Vec<Vec<f32>>,
    options: &DecodeOptions,
    deadline: Instant,
) -> Result<PerImage<Image>, ServiceError> {
    let permit = service.admit(
        Class::Interactive,
        decode.estimate(codes.len() as u64),
        deadline,
    )?;
    let observations = observations(&permit, decode, codes, deadline).await;
    let image = |(index, observation): (usize, Result<Observation, JobError>)| {
        let random = Random::new(options.seed, Stream::Level, index as u64);
        show(model, &observation?, options.observation, 1.0, &random)
    };
    Ok(observations.into_iter().enumerate().map(image).collect())
}

/// Images of codes drawn from the prior. Temperature widens or narrows both the prior and the likelihood.
pub(super) async fn sample(
    service: &Service,
    model: &ServedModel,
    decode: &Lane<Decoder>,
    options: &SampleOptions,
    deadline: Instant,
) -> Result<SampleAnswer, ServiceError> {
    let codes = codes_of_prior(decode.work().0.latent_size(), options);
    let permit = service.admit(
        Class::Interactive,
        decode.estimate(codes.len() as u64),
        deadline,
    )?;
    let mut images = Vec::with_capacity(codes.len());
    let observations = observations(&permit, decode, codes, deadline).await;
    for (index, observation) in observations.into_iter().enumerate() {
        let random = Random::new(options.seed, Stream::Level, index as u64);
        images.push(show(
            model,
            &observation?,
            options.observation,
            options.temperature,
            &random,
        )?);
    }
    Ok(SampleAnswer {
        images,
        labels: Vec::new(),
        sampler: Sampler::Decoder,
    })
}

/// The decoder's mean at the posterior mean, and how far it is from the image.
pub(super) async fn reconstruct(
    service: &Service,
    model: &ServedModel,
    lanes: (&Lane<Encoder>, &Lane<Decoder>),
    images: Vec<Image>,
    options: &ReconstructOptions,
    deadline: Instant,
) -> Result<PerImage<Reconstruction>, ServiceError> {
    let results = at_mean(service, lanes, &images, deadline).await?;
    Ok(images
        .iter()
        .zip(results)
        .map(|(image, result)| {
            let (_, observation) = result?;
            let errors = observation.squared_errors(image.levels()).collect();
            let log_likelihood = observation.log_probabilities(image.levels()).sum();
            let again = image_of(model.shape(), observation.mean_levels())?;
            Ok(Reconstruction::new(
                again,
                errors,
                Some(log_likelihood),
                options,
            ))
        })
        .collect())
}

/// log p(x | z = μ(x)) − KL(q(z | x) ‖ p(z)) of images, in nats.
pub(super) async fn elbo_at_mean(
    service: &Service,
    lanes: (&Lane<Encoder>, &Lane<Decoder>),
    images: Vec<Image>,
    deadline: Instant,
) -> Result<PerImage<f64>, ServiceError> {
    let results = at_mean(service, lanes, &images, deadline).await?;
    Ok(images
        .iter()
        .zip(results)
        .map(|(image, result)| {
            let (posterior, observation) = result?;
            Ok(posterior.elbo_at_mean(&observation, image.levels()))
        })
        .collect())
}

/// Images on the straight line between the posterior means of two images.
pub(super) async fn interpolate(
    service: &Service,
    model: &ServedModel,
    (encode, decode): (&Lane<Encoder>, &Lane<Decoder>),
    (from, to): (Image, Image),
    steps: u32,
    deadline: Instant,
) -> Result<Vec<Image>, ServiceError> {
    let cost = encode.estimate(2) + decode.estimate(u64::from(steps));
    let permit = service.admit(Class::Interactive, cost, deadline)?;
    let mut ends = Vec::new();
    for posterior in encode.run(&permit, vec![from, to], deadline).await {
        ends.push(posterior?.mean);
    }
    let codes = codes_between(&ends[0], &ends[1], steps);
    observations(&permit, decode, codes, deadline)
        .await
        .into_iter()
        .map(|observation| image_of(model.shape(), observation?.mean_levels()))
        .collect()
}

/// Completion by alternating between code and image: encode the image, draw a code, decode it, draw the missing pixels.
pub(super) async fn complete(
    service: &Service,
    model: &ServedModel,
    (encode, decode): (&Lane<Encoder>, &Lane<Decoder>),
    images: &[Image],
    known_pixels: &[bool],
    options: &CompleteOptions,
    deadline: Instant,
) -> Result<CompleteAnswer, ServiceError> {
    let shape = model.shape();
    // The image with its missing pixels taken from `fill`.
    let complete_with = |image: &Image, fill: Vec<u8>| {
        let levels = image.levels().iter().zip(fill).enumerate();
        let keep = |(index, (&given, new)): (usize, _)| {
            if known_pixels[index % shape.pixels()] {
                given
            } else {
                new
            }
        };
        image_of(shape, levels.map(keep).collect())
    };
    let count = (images.len() * options.n as usize) as u64;
    let each = encode.estimate(count) + decode.estimate(count);
    let permit = service.admit(Class::Interactive, each * COMPLETION_ROUNDS, deadline)?;
    // Missing pixels start dark; the rounds forget where they started.
    let mut drawn: Vec<Image> = images
        .iter()
        .flat_map(|image| (0..options.n).map(move |_| image))
        .map(|image| complete_with(image, vec![0; shape.dimensions()]))
        .collect::<Result<_, _>>()?;
    for round in 0..COMPLETION_ROUNDS {
        // The place of a completion among those of its own image: neighbours in a request change nothing.
        let random = |stream, place: usize| {
            let own = place as u64 % u64::from(options.n);
            Random::new(options.seed, stream, own << 32 | u64::from(round))
        };
        let posteriors = encode.run(&permit, drawn.clone(), deadline).await;
        let codes = posteriors
            .into_iter()
            .enumerate()
            .map(|(place, posterior)| {
                posterior.map(|p| p.draw(0, &random(Stream::Posterior, place)).0)
            })
            .collect::<Result<_, _>>()?;
        let observations = observations(&permit, decode, codes, deadline).await;
        for (place, (image, observation)) in drawn.iter_mut().zip(observations).enumerate() {
            let observation = observation?;
            // The last round shows what is expected rather than one more layer of pixel noise.
            let fill = if round + 1 == COMPLETION_ROUNDS {
                observation.mean_levels()
            } else {
                observation.draw(options.temperature, &random(Stream::Level, place))
            };
            *image = complete_with(image, fill)?;
        }
    }
    let mut drawn = drawn.into_iter();
    Ok(CompleteAnswer {
        method: CompletionMethod::PseudoGibbs {
            iterations: COMPLETION_ROUNDS,
        },
        results: images
            .iter()
            .map(|_| {
                Ok(Completions {
                    images: drawn.by_ref().take(options.n as usize).collect(),
                    labels: Vec::new(),
                })
            })
            .collect(),
    })
}

/// The posterior of each image, and the distribution over images at its mean.
async fn at_mean(
    service: &Service,
    (encode, decode): (&Lane<Encoder>, &Lane<Decoder>),
    images: &[Image],
    deadline: Instant,
) -> Result<PerImage<(Posterior, Observation)>, ServiceError> {
    let count = images.len() as u64;
    let cost = encode.estimate(count) + decode.estimate(count);
    let permit = service.admit(Class::Interactive, cost, deadline)?;
    let posteriors = encode.run(&permit, images.to_vec(), deadline).await;
    let codes = posteriors
        .iter()
        .flatten()
        .map(|posterior| posterior.mean.clone())
        .collect();
    let mut observations = observations(&permit, decode, codes, deadline)
        .await
        .into_iter();
    Ok(posteriors
        .into_iter()
        .map(|posterior| {
            let posterior = posterior?;
            let observation = observations
                .next()
                .unwrap_or(Err(JobError::Failed("a code was lost".to_owned())));
            Ok((posterior, observation?))
        })
        .collect())
}

/// The distributions over images of codes.
async fn observations(
    permit: &Permit,
    decode: &Lane<Decoder>,
    codes: Vec<Vec<f32>>,
    deadline: Instant,
) -> Vec<Result<Observation, JobError>> {
    let items = codes.into_iter().map(Codes::Given).collect();
    let decoded = decode.run(permit, items, deadline).await;
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

fn show(
    model: &ServedModel,
    observation: &Observation,
    what: Show,
    temperature: f64,
    random: &Random,
) -> Result<Image, ServiceError> {
    let levels = match what {
        Show::Mean => observation.mean_levels(),
        Show::Sample => observation.draw(temperature, random),
    };
    image_of(model.shape(), levels)
}
