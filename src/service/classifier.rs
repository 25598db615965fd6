//! What classifiers can do besides naming labels.

use std::time::Instant;

use super::{
    Service,
    error::ServiceError,
    requests::{Encoding, PerImage},
    work::Classifying,
};
use crate::{
    domain::image::Image,
    network::classifier::Prediction,
    scheduling::{Class, JobError, Lane},
};

/// Features of images.
pub(super) async fn features(
    service: &Service,
    classify: &Lane<Classifying>,
    images: Vec<Image>,
    deadline: Instant,
) -> Result<PerImage<Encoding>, ServiceError> {
    let permit = service.admit(
        Class::Interactive,
        classify.estimate(images.len() as u64),
        deadline,
    )?;
    let predictions = classify.run(&permit, images, deadline).await;
    let features = |prediction: Result<Prediction, JobError>| {
        Ok(Encoding {
            code: prediction?.features,
            log_variance: None,
        })
    };
    Ok(predictions.into_iter().map(features).collect())
}
