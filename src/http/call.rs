//! One call of an operation of a model: what the head of the request says, and how its body is read.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    RequestExt,
    body::Body,
    extract::{FromRequestParts, Path, Request, rejection::PathRejection},
    http::{HeaderMap, request::Parts},
};
use bytes::Bytes;
use serde::Deserialize;

use crate::{
    domain::{
        family::{Capability, Family},
        image::ImageShape,
    },
    service::ServedModel,
};

use super::{
    HttpState,
    accept::{self, Format},
    body,
    config::HttpConfig,
    options::{Options, seconds_to_duration},
    problem::{Problem, ProblemKind},
    scope::RequestScope,
};

/// Bodies above this size are decoded away from the threads that serve connections.
const INLINE_BYTES: usize = 256 << 10;

/// The part of a path that names a model, and perhaps a version of it.
#[derive(Debug, Deserialize)]
pub(crate) struct ModelPath {
    /// The name.
    pub(crate) model: String,
    /// The version.
    pub(crate) version: Option<u32>,
}

/// A call whose head has been understood: the model is there, it is ready and it can do what is asked.
pub(crate) struct Call {
    /// The server.
    pub(crate) state: HttpState,
    /// The request.
    pub(crate) scope: Arc<RequestScope>,
    /// The model.
    pub(crate) model: Arc<ServedModel>,
    /// When the answer is of no more use.
    pub(crate) deadline: Instant,
    /// Headers of the request.
    pub(crate) headers: HeaderMap,
    /// The format of the answer.
    pub(crate) format: Format,
    /// Options of the query.
    options: Options,
    body: Body,
}

impl Call {
    /// Understands the head of a request, before its body is read. `formats` are those that the operation can answer in,
    /// the default first.
    pub(crate) async fn open(
        state: HttpState,
        capability: Capability,
        formats: &[Format],
        mut request: Request,
    ) -> Result<Self, Problem> {
        let path = model_path(request.extract_parts().await);
        let (parts, body) = request.into_parts();
        let head = path.and_then(|path| Head::read(&state, capability, formats, &path, &parts));
        let scope = scope(&parts);
        let head = match head {
            Ok(head) => head,
            Err(problem) => {
                body::refuse(body, &parts.headers, state.config.max_body_bytes).await;
                return Err(problem);
            }
        };
        Ok(Self {
            deadline: scope.started() + head.time_limit,
            state,
            scope,
            model: head.model,
            headers: parts.headers,
            format: head.format,
            options: head.options,
            body,
        })
    }

    /// Gives up a call whose body is not wanted.
    pub(crate) async fn refuse(&mut self, problem: Problem) -> Problem {
        let body = std::mem::take(&mut self.body);
        body::refuse(body, &self.headers, self.state.config.max_body_bytes).await;
        problem
    }

    /// The size of the model's images.
    pub(crate) fn shape(&self) -> ImageShape {
        self.model.shape()
    }

    /// Takes the options of the query.
    pub(crate) fn take_options(&mut self) -> Options {
        std::mem::take(&mut self.options)
    }

    /// Reads the body.
    pub(crate) async fn read_body(&mut self) -> Result<Bytes, Problem> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let config = &self.state.config;
        let time = config.body_timeout.min(left);
        let body = std::mem::take(&mut self.body);
        body::read(body, &self.headers, config.max_body_bytes, time).await
    }

    /// Refuses more images than one request may bring or ask for, and notes their number.
    pub(crate) fn count_images(&self, images: usize) -> Result<(), Problem> {
        self.scope.set_images(images);
        super::input::check_count(images, self.state.config.max_images)
    }
}

/// What the head of a request says.
struct Head {
    model: Arc<ServedModel>,
    time_limit: Duration,
    format: Format,
    options: Options,
}

impl Head {
    fn read(
        state: &HttpState,
        capability: Capability,
        formats: &[Format],
        path: &ModelPath,
        parts: &Parts,
    ) -> Result<Self, Problem> {
        let mut options = Options::from_query(parts.uri.query())?;
        let version = match path.version {
            Some(version) => Some(version),
            None => options.take("version")?,
        };
        let model = state.service.model(&path.model, version)?;
        scope(parts).set_model(&model);
        model.require(capability)?;
        // Only detectors have a map that could be a picture or an array.
        let plain = capability == Capability::Detect && model.family() != Family::Detector;
        let formats = if plain { &[Format::Json] } else { formats };
        Ok(Self {
            model,
            time_limit: time_limit(&state.config, capability, &parts.headers, &mut options)?,
            format: accept::negotiate(&parts.headers, formats)?,
            options,
        })
    }
}

/// Runs `work` here if it is small, else on a thread that may block. `bytes` is how much it has to read or write.
pub(crate) async fn offload<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if bytes <= INLINE_BYTES {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        // The panic goes on in this request, where the layer that answers 500 catches it.
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => panic!("the runtime is shutting down"),
        },
    }
}

/// The model's name and version from the path.
pub(crate) fn model_path(
    path: Result<Path<ModelPath>, PathRejection>,
) -> Result<ModelPath, Problem> {
    path.map(|Path(path)| path).map_err(|_| {
        Problem::new(
            ProblemKind::UnknownRoute,
            "a version is a whole number, as in /v1/models/{model}/versions/1",
        )
    })
}

/// The scope that the outermost layer opened.
pub(crate) fn scope(parts: &Parts) -> Arc<RequestScope> {
    parts
        .extensions
        .get::<Arc<RequestScope>>()
        .cloned()
        .unwrap_or_else(|| Arc::new(RequestScope::new(&parts.headers)))
}

/// The time that the client asks for, in the query or in a header, as far as the server allows it; else the default.
fn time_limit(
    config: &HttpConfig,
    capability: Capability,
    headers: &HeaderMap,
    options: &mut Options,
) -> Result<Duration, Problem> {
    let header = headers.get("x-request-timeout").map(|value| {
        let seconds = value
            .to_str()
            .ok()
            .and_then(|text| text.trim().parse().ok());
        seconds_to_duration("X-Request-Timeout", seconds.unwrap_or(f64::NAN))
    });
    let asked = match (options.take_timeout()?, header.transpose()?) {
        (Some(query), Some(header)) => Some(query.min(header)),
        (query, header) => query.or(header),
    };
    let default = match capability {
        Capability::Sample | Capability::Complete | Capability::Compress => {
            config.max_request_timeout
        }
        _ => config.request_timeout,
    };
    Ok(asked.unwrap_or(default).min(config.max_request_timeout))
}

/// The head of a request for something about a model that needs no body.
pub(crate) struct Query {
    /// The path.
    pub(crate) path: ModelPath,
    /// The options.
    pub(crate) options: Options,
}

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Ok(Self {
            path: model_path(Path::from_request_parts(parts, state).await)?,
            options: Options::from_query(parts.uri.query())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(capability: Capability, query: &str, header: Option<&'static str>) -> Option<u64> {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("x-request-timeout", value.parse().ok()?);
        }
        let mut options = Options::from_query(Some(query)).ok()?;
        let limit = time_limit(&HttpConfig::default(), capability, &headers, &mut options);
        limit.ok().map(|limit| limit.as_secs())
    }

    #[test]
    fn clients_choose_their_deadline_within_bounds() {
        use Capability::{Complete, Compress, Sample, Score};
        assert_eq!(limit(Score, "", None), Some(60));
        assert_eq!(limit(Sample, "", None), Some(600));
        assert_eq!(limit(Complete, "", None), Some(600));
        assert_eq!(limit(Compress, "", None), Some(600));
        assert_eq!(limit(Score, "timeout=5", None), Some(5));
        assert_eq!(limit(Score, "", Some("100")), Some(100));
        assert_eq!(limit(Score, "timeout=7", Some("3")), Some(3));
        assert_eq!(limit(Sample, "timeout=1e6", None), Some(600));
        assert_eq!(limit(Score, "", Some("soon")), None);
        assert_eq!(limit(Score, "", Some("-1")), None);
        assert_eq!(limit(Score, "timeout=0", None), None);
    }

    #[tokio::test]
    async fn work_of_every_size_gives_its_result() {
        assert_eq!(offload(0, || 7).await, 7);
        assert_eq!(offload(usize::MAX, || 7).await, 7);
    }
}
