//! The head of a request: names in its path, options in its query.

use axum::{
    extract::{FromRequestParts, Path, rejection::PathRejection},
    http::request::Parts,
};
use serde::Deserialize;

use crate::{
    intake::options::Value,
    model::{Kind, Refusal, refusal::clip},
};

use super::problem::Problem;

/// The part of a path that names a model, and perhaps a version of it.
#[derive(Debug, Deserialize)]
pub(crate) struct ModelPath {
    /// The name.
    pub(crate) model: String,
    /// The version.
    pub(crate) version: Option<u32>,
}

/// The model's name and version from the path.
pub(crate) fn model_path(path: Result<Path<ModelPath>, PathRejection>) -> Result<ModelPath, Refusal> {
    path.map(|Path(path)| path).map_err(|_| {
        Refusal::new(
            Kind::UnknownRoute,
            "a version is a whole number, as in /v1/models/{model}/versions/1",
        )
    })
}

/// Options of a query string, in order.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Takes a query string apart.
    pub(crate) fn new(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.into_owned().collect())
    }

    /// Takes all values of one option out.
    pub(crate) fn take(&mut self, name: &str) -> Vec<String> {
        let (own, rest) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(given, _)| given == name);
        self.0 = rest;
        own.into_iter().map(|(_, value)| value).collect()
    }

    /// The version that the query names.
    pub(crate) fn take_version(&mut self) -> Result<Option<u32>, Refusal> {
        let mut versions = self.take("version");
        versions.dedup();
        match &versions[..] {
            [] => Ok(None),
            [version] => version.trim().parse().map(Some).map_err(|_| {
                let reason = format!("{:?} is not a whole number", clip(version));
                Refusal::option("version", reason)
            }),
            _ => Err(Refusal::option("version", "given twice; give it once")),
        }
    }

    /// What is left.
    pub(crate) fn rest(self) -> impl Iterator<Item = (String, Value)> {
        self.0.into_iter().map(|(name, value)| (name, Value::Text(value)))
    }

    /// Refuses what is left.
    pub(crate) fn nothing_else(self, known: &str) -> Result<(), Refusal> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(Refusal::option(
                clip(name),
                format!("there is no such option here; {known}"),
            )),
        }
    }
}

/// The head of a request for something about a model that needs no body: the model's name and perhaps a version.
pub(crate) struct About(pub(crate) String, pub(crate) Option<u32>);

impl<S: Send + Sync> FromRequestParts<S> for About {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let ModelPath { model, version } = model_path(Path::from_request_parts(parts, state).await)?;
        let mut query = Query::new(parts.uri.query());
        if version.is_some() {
            query.nothing_else("there are none")?;
            return Ok(Self(model, version));
        }
        let version = query.take_version()?;
        query.nothing_else("there is: version")?;
        Ok(Self(model, version))
    }
}
