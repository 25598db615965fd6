//! Values that work here and now: for each path of the document a model that is loaded and can do it, and a body that
//! this model takes. The page at `/docs` fills its forms with them.
//!
//! The document says what may come, and never changes; which models are loaded does. So whoever asks for the document
//! gets it with examples of the moment.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;

use crate::{
    access::Caller,
    intake::{self, BodyType, Takes},
    model::{
        Refusal,
        info::{Details, ModelInfo, Size},
    },
    operations::{Format, Service},
};

/// How long a stream that serves as an example may take to make. Who asks for the document waits for it, once.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the document shows while no model is loaded: images of 28×28 pixels in grey.
pub(super) const USUAL: Size = Size {
    channels: 1,
    height: 28,
    width: 28,
    levels: 256,
};

/// Numbers in a code, likewise.
pub(super) const USUAL_CODE: usize = 16;

/// Begins like a stream, and is none.
pub(super) const NO_STREAM: &str = "RFNJMQ==";

/// The document with examples of the moment.
#[derive(Debug)]
pub(super) struct Examples {
    service: Arc<Service>,
    document: Value,
    /// Name and version of a model, and a stream that it made.
    stream: Mutex<Option<(String, u32, String)>>,
    /// The document as it was written last, and the versions that served then. It is large: whoever asks for it shares
    /// the same bytes, and only one at a time writes it.
    written: Mutex<Option<(Versions, Bytes)>>,
}

/// Names and versions of models.
type Versions = Vec<(String, u32)>;

/// A model that serves.
type Serving<'a> = (&'a ModelInfo, &'a Details);

impl Examples {
    pub(super) fn new(service: Arc<Service>, document: Value) -> Self {
        let stream = Mutex::new(None);
        Self {
            service,
            document,
            stream,
            written: Mutex::new(None),
        }
    }

    /// The document now, as JSON.
    pub(super) async fn written(&self) -> Bytes {
        let mut written = self.written.lock().await;
        let listings = self.service.catalogue().listings().into_iter();
        let serving: Versions = listings
            .filter(|listing| listing.model.is_some())
            .map(|listing| (listing.name, listing.version))
            .collect();
        if let Some((before, bytes)) = &*written
            && *before == serving
        {
            return bytes.clone();
        }
        let bytes = Bytes::from(self.now().await.to_string());
        *written = Some((serving, bytes.clone()));
        bytes
    }

    /// The document now.
    async fn now(&self) -> Value {
        let mut document = self.document.clone();
        // The document is open to everybody. Where keys are asked for, it tells nothing of models, and nothing is
        // worked out for it.
        if self.service.access().has_keys() {
            return document;
        }
        let models = self.service.models();
        let mut serving: Vec<Serving<'_>> = models
            .iter()
            .filter_map(|model| Some((model, model.details.as_ref()?)))
            .collect();
        // One that is asked about labels wants to be told one for some of what it can do.
        serving.sort_by_key(|(_, details)| details.card.conditional);
        let paths = document["paths"].as_object_mut().into_iter().flatten();
        for (path, methods) in paths {
            let Some((_, rest)) = path.split_once("/models/{model}") else {
                continue;
            };
            let asked = rest.trim_start_matches("/versions/{version}").trim_start_matches('/');
            let Some(&(model, details)) = serving.iter().find(|(_, details)| suits(asked, details)) else {
                continue;
            };
            let body = self.body(asked, (model, details)).await;
            for described in methods.as_object_mut().into_iter().flat_map(Map::values_mut) {
                fill(described, (model, details), body.as_ref());
            }
        }
        document
    }

    /// A body that the operation takes, if it takes one.
    async fn body(&self, operation: &str, (model, details): Serving<'_>) -> Option<Value> {
        let operation = self.service.operations().find(|own| own.about().name == operation)?;
        let takes = operation.about().takes;
        let stream = if takes == Takes::Streams {
            self.stream((model, details)).await?
        } else {
            NO_STREAM.to_owned()
        };
        body(
            takes,
            details.image,
            details.card.latent_size.unwrap_or(USUAL_CODE),
            &stream,
        )
    }

    /// A stream that the model reads, which only the model itself can make.
    async fn stream(&self, (model, details): Serving<'_>) -> Option<String> {
        let mut kept = self.stream.lock().await;
        if let Some((name, version, stream)) = &*kept
            && (name, version) == (&model.name, &model.version)
        {
            return Some(stream.clone());
        }
        let made = tokio::time::timeout(PATIENCE, self.make_stream((model, details))).await;
        let bytes = made
            .ok()?
            .inspect_err(|error| tracing::debug!(%error, "no stream to show"))
            .ok()?;
        let stream = BASE64_STANDARD.encode(bytes);
        *kept = Some((model.name.clone(), model.version, stream.clone()));
        Some(stream)
    }

    async fn make_stream(&self, (model, details): Serving<'_>) -> Result<Vec<u8>, Refusal> {
        let started = Instant::now();
        let makes = self
            .service
            .operations()
            .find(|own| own.about().formats.contains(&Format::Stream));
        let makes = makes.ok_or_else(|| Refusal::internal("nothing makes streams"))?;
        let asked = (model.name.as_str(), Some(model.version));
        let mut pending = self
            .service
            .open(&Caller::trusted(), makes.about().name, asked, Some(PATIENCE), started)?;
        pending.set_format(Format::Stream)?;
        let mut options = pending.options();
        let images = body(Takes::Images, details.image, 0, NO_STREAM).unwrap_or_default();
        let body_type = BodyType::of(Some("application/json"), Takes::Images)?;
        let bytes = Bytes::from(images.to_string());
        let content = intake::take_apart(bytes, &body_type, Takes::Images, &mut options, pending.budget())?;
        pending.answer(content, options, started).await?.file(Format::Stream)
    }
}

/// Whether a model can answer at a path that ends so.
fn suits(asked: &str, details: &Details) -> bool {
    // What is no operation, such as loading, can be asked of every model.
    let can = |name: &str| {
        details
            .capabilities
            .iter()
            .find(|own| own.name == name)
            .is_none_or(|own| own.available)
    };
    match asked {
        "drift" => details.watches_drift,
        "calibration" => can("detect"),
        asked => can(asked),
    }
}

/// Puts examples into the description of one method of a path.
fn fill(described: &mut Value, (model, details): Serving<'_>, body: Option<&Value>) {
    for parameter in described["parameters"].as_array_mut().into_iter().flatten() {
        let example = match (parameter["in"].as_str(), parameter["name"].as_str()) {
            (Some("path"), Some("model")) => json!(model.name),
            (Some("path"), Some("version")) => json!(model.version),
            (_, Some("label")) if details.card.conditional => json!(details.labels.first()),
            _ => continue,
        };
        parameter["example"] = example;
    }
    if let Some(body) = body {
        described["requestBody"]["content"]["application/json"]["example"] = body.clone();
    }
}

/// A JSON body for images of a size, codes of so many numbers, or a stream.
pub(super) fn body(takes: Takes, size: Size, code: usize, stream: &str) -> Option<Value> {
    let rows = |of: &dyn Fn(usize, usize) -> Value| -> Vec<Vec<Value>> {
        let row = |y| (0..size.width).map(|x| of(x, y)).collect();
        (0..size.height).map(row).collect()
    };
    let slope = |x: usize, _: usize| {
        let level = x * size.levels / size.width;
        match size.channels {
            1 => json!(level),
            channels => json!(vec![level; channels]),
        }
    };
    let image = json!({"pixels": rows(&slope)});
    match takes {
        Takes::Nothing => None,
        Takes::Images => Some(json!({"images": [image]})),
        Takes::TwoImages => Some(json!({"images": [image, image]})),
        Takes::MaskedImages => {
            let mask = rows(&|_, y| json!(u8::from(y < size.height / 2)));
            Some(json!({"images": [image], "mask": mask}))
        }
        Takes::Codes => Some(json!({"latents": [vec![0.1; code]]})),
        Takes::Streams => Some(json!({"streams": [stream]})),
    }
}
