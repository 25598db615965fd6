//! The routes: one file a group.

use std::sync::Arc;

use axum::{http::HeaderValue, response::Response};
use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    media::Appearance,
    service::{
        info::{ModelState, SamplerInfo},
        requests::Observation,
    },
};

use super::{HttpState, call::Call, output::json_text, problem::Problem};

mod classify;
mod complete;
mod compress;
mod decode;
mod decompress;
mod detect;
mod drift;
mod encode;
mod health;
mod interpolate;
mod models;
mod reconstruct;
mod sample;
mod score;

/// Every route with its description.
pub(super) fn all() -> OpenApiRouter<HttpState> {
    OpenApiRouter::with_openapi(super::openapi::base())
        .routes(routes!(health::index))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(models::list))
        .routes(routes!(models::show))
        .routes(routes!(models::show_version))
        .routes(routes!(drift::show, drift::reset))
        .routes(routes!(drift::show_version, drift::reset_version))
        .nest("/v1/models/{model}", operations())
        .nest("/v1/models/{model}/versions/{version}", operations())
}

/// What can be asked of a model; mounted for its serving version and for each version by number.
fn operations() -> OpenApiRouter<HttpState> {
    OpenApiRouter::default()
        .routes(routes!(score::score))
        .routes(routes!(detect::detect))
        .routes(routes!(sample::sample))
        .routes(routes!(complete::complete))
        .routes(routes!(compress::compress))
        .routes(routes!(decompress::decompress))
        .routes(routes!(encode::encode))
        .routes(routes!(decode::decode))
        .routes(routes!(reconstruct::reconstruct))
        .routes(routes!(interpolate::interpolate))
        .routes(routes!(classify::classify))
}

/// The model that answered.
#[derive(Debug, Serialize, ToSchema)]
struct Answered {
    /// Its name.
    #[schema(example = "fashion-mnist-pixelcnn")]
    model: String,
    /// Its version.
    #[schema(example = 1)]
    version: u32,
}

impl Answered {
    fn by(call: &Call) -> Self {
        Self {
            model: call.model.name().to_owned(),
            version: call.model.version(),
        }
    }
}

/// In which order the pixels of the model's images appear.
fn appearance(call: &Call) -> Appearance {
    let model = &call.model;
    let info = call
        .state
        .service
        .model_info(model.name(), Some(model.version()));
    let sampler = match info.map(|info| info.state) {
        Ok(ModelState::Ready(ready)) => ready.sampler,
        // The version has just been taken out of the repository.
        Ok(ModelState::Failed { .. }) | Err(_) => return Appearance::Rows,
    };
    match sampler {
        Some(SamplerInfo::Wavefront(cost)) => Appearance::Wavefront {
            lag: cost.lag as usize,
        },
        Some(SamplerInfo::FixedPoint { .. }) => Appearance::Rows,
        None => Appearance::AtOnce,
    }
}

/// A label by its name or its number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum LabelOption {
    Number(u32),
    Name(String),
}

impl From<LabelOption> for String {
    fn from(option: LabelOption) -> Self {
        match option {
            LabelOption::Number(number) => number.to_string(),
            LabelOption::Name(name) => name,
        }
    }
}

/// Values by the names of labels, in the order of their numbers.
#[derive(Debug)]
struct ByLabel<T>(Vec<(Arc<str>, T)>);

impl<T> ByLabel<T> {
    fn new(labels: &[Arc<str>], values: impl IntoIterator<Item = T>) -> Self {
        Self(labels.iter().cloned().zip(values).collect())
    }
}

impl<T: Serialize> Serialize for ByLabel<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (label, value) in &self.0 {
            map.serialize_entry(label.as_ref(), value)?;
        }
        map.end()
    }
}

/// Says which labels the images of an array or a picture have, if they have any.
fn tell_labels(response: &mut Response, labels: &[String]) -> Result<(), Problem> {
    if labels.is_empty() {
        return Ok(());
    }
    // JSON has escapes for all that a header cannot carry.
    let value = HeaderValue::from_bytes(json_text(&labels)?.as_bytes())
        .map_err(|error| Problem::internal(format!("labels make no header: {error}")))?;
    response.headers_mut().insert("x-labels", value);
    Ok(())
}

/// What to show of a decoder's distribution over images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ObservationOption {
    /// Its mean: smooth, not a sample of the model.
    Mean,
    /// A draw from it, with its pixel noise.
    Sample,
}

impl From<ObservationOption> for Observation {
    fn from(option: ObservationOption) -> Self {
        match option {
            ObservationOption::Mean => Self::Mean,
            ObservationOption::Sample => Self::Sample,
        }
    }
}
