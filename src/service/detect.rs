//! Detection: a two-sided conformal p-value of the log-likelihood.
//!
//! It bounds false alarms, not misses: an image that is *as* likely as the inliers passes, whatever it shows.

use std::time::Instant;

use super::{
    ServedModel, Service,
    error::ServiceError,
    latent,
    models::Lanes,
    requests::{DetectAnswer, DetectOptions, Detection, PerImage},
    score,
};
use crate::domain::{conformal::CalibrationError, family::Capability, image::Image, likelihood};

pub(super) async fn detect(
    service: &Service,
    model: &ServedModel,
    images: Vec<Image>,
    options: &DetectOptions,
    deadline: Instant,
) -> Result<DetectAnswer, ServiceError> {
    let version = &model.version;
    let (Some(calibration), Some(file)) = (&version.calibration, &version.manifest.calibration)
    else {
        return Err(model.unsupported(Capability::Detect));
    };
    let rate = options.false_alarm_rate;
    calibration
        .supports(rate)
        .map_err(|error: CalibrationError| ServiceError::InvalidOption {
            option: "false_alarm_rate",
            reason: error.to_string(),
        })?;
    let statistics: PerImage<f64> = match &model.lanes {
        Lanes::Autoregressive { score, .. } => {
            score::log_probabilities(service, score, images, 0, deadline)
                .await?
                .into_iter()
                .map(|map| Ok(likelihood::total(&map?)))
                .collect()
        }
        Lanes::Vae { encode, decode } => {
            latent::elbo_at_mean(service, (encode, decode), images, deadline).await?
        }
    };
    let dimensions = model.shape().dimensions();
    let results = statistics
        .into_iter()
        .map(|statistic| {
            let statistic = statistic?;
            let p_value = calibration.two_sided_p_value(statistic);
            Ok(Detection {
                reject: p_value <= rate,
                p_value,
                statistic,
                bits_per_dim: likelihood::bits_per_dim(statistic, dimensions),
            })
        })
        .collect();
    Ok(DetectAnswer {
        false_alarm_rate: rate,
        calibration_size: calibration.size(),
        calibration_description: file.description.clone(),
        statistic: file.statistic.name(),
        results,
    })
}
