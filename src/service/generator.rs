//! Drawing from generators.

use std::time::Instant;

use super::{
    ServedModel, Service,
    error::ServiceError,
    image_of,
    latent::codes_of_prior,
    only_means,
    requests::{SampleAnswer, SampleOptions, Sampler},
    work::Generating,
};
use crate::{
    network::generator::Seed,
    scheduling::{Class, Lane},
};

/// Images of codes drawn from the prior, which temperature widens or narrows.
pub(super) async fn sample(
    service: &Service,
    model: &ServedModel,
    generate: &Lane<Generating>,
    (options, labels): (&SampleOptions, &[u32]),
    deadline: Instant,
) -> Result<SampleAnswer, ServiceError> {
    only_means(options.observation)?;
    let codes = codes_of_prior(generate.work().0.latent_size(), options);
    let permit = service.admit(
        Class::Interactive,
        generate.estimate(codes.len() as u64),
        deadline,
    )?;
    let seeds = codes
        .into_iter()
        .zip(labels)
        .map(|(code, &label)| Seed { code, label })
        .collect();
    let images: Result<_, ServiceError> = generate
        .run(&permit, seeds, deadline)
        .await
        .into_iter()
        .map(|picture| image_of(model.shape(), picture?.nearest_levels()))
        .collect();
    Ok(SampleAnswer {
        images: images?,
        labels: Vec::new(),
        sampler: Sampler::Decoder,
    })
}
