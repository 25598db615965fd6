//! What autoencoders can do: codes and images of codes, without a distribution over either.

use std::time::Instant;

use super::{
    ServedModel, Service,
    error::ServiceError,
    image_of,
    latent::codes_between,
    requests::{Encoding, PerImage, ReconstructOptions, Reconstruction},
    work::{Coding, Depicting},
};
use crate::{
    domain::image::Image,
    network::autoencoder::Picture,
    scheduling::{Class, JobError, Lane},
};

/// Codes of images.
pub(super) async fn encode(
    service: &Service,
    encode: &Lane<Coding>,
    images: Vec<Image>,
    deadline: Instant,
) -> Result<PerImage<Encoding>, ServiceError> {
    let permit = service.admit(
        Class::Interactive,
        encode.estimate(images.len() as u64),
        deadline,
    )?;
    let codes = encode.run(&permit, images, deadline).await;
    let encoding = |code: Result<Vec<f32>, JobError>| {
        Ok(Encoding {
            code: code?,
            log_variance: None,
        })
    };
    Ok(codes.into_iter().map(encoding).collect())
}

/// Images of given codes.
pub(super) async fn decode(
    service: &Service,
    model: &ServedModel,
    decode: &Lane<Depicting>,
    codes: Vec<Vec<f32>>,
    deadline: Instant,
) -> Result<PerImage<Image>, ServiceError> {
    let permit = service.admit(
        Class::Interactive,
        decode.estimate(codes.len() as u64),
        deadline,
    )?;
    let pictures = decode.run(&permit, codes, deadline).await;
    Ok(pictures
        .into_iter()
        .map(|picture| image_of(model.shape(), picture?.nearest_levels()))
        .collect())
}

/// Images through encoder and decoder, and how far they come out from where they went in.
pub(super) async fn reconstruct(
    service: &Service,
    model: &ServedModel,
    (encode, decode): (&Lane<Coding>, &Lane<Depicting>),
    images: Vec<Image>,
    options: &ReconstructOptions,
    deadline: Instant,
) -> Result<PerImage<Reconstruction>, ServiceError> {
    let count = images.len() as u64;
    let cost = encode.estimate(count) + decode.estimate(count);
    let permit = service.admit(Class::Interactive, cost, deadline)?;
    let codes = encode.run(&permit, images.clone(), deadline).await;
    let good = codes.iter().flatten().cloned().collect();
    let mut pictures = decode.run(&permit, good, deadline).await.into_iter();
    let reconstruction = |(image, code): (Image, Result<Vec<f32>, JobError>)| {
        code?;
        let lost = || Err(JobError::Failed("a code was lost".to_owned()));
        let picture: Picture = pictures.next().unwrap_or_else(lost)?;
        let errors = picture.squared_errors(image.levels()).collect();
        let again = image_of(model.shape(), picture.nearest_levels())?;
        Ok(Reconstruction::new(again, errors, None, options))
    };
    Ok(images.into_iter().zip(codes).map(reconstruction).collect())
}

/// Images on the straight line between the codes of two images.
pub(super) async fn interpolate(
    service: &Service,
    model: &ServedModel,
    (encode, decode): (&Lane<Coding>, &Lane<Depicting>),
    (from, to): (Image, Image),
    steps: u32,
    deadline: Instant,
) -> Result<Vec<Image>, ServiceError> {
    let cost = encode.estimate(2) + decode.estimate(u64::from(steps));
    let permit = service.admit(Class::Interactive, cost, deadline)?;
    let mut ends = Vec::new();
    for code in encode.run(&permit, vec![from, to], deadline).await {
        ends.push(code?);
    }
    let codes = codes_between(&ends[0], &ends[1], steps);
    decode
        .run(&permit, codes, deadline)
        .await
        .into_iter()
        .map(|picture| image_of(model.shape(), picture?.nearest_levels()))
        .collect()
}
