//! `density.v1`: the operations with typed messages. The one transport that names operations, because its contract
//! does.
//!
//! A message is tensors and parameters by other names: both go the way of the Open Inference Protocol. Fields of
//! options are the options' own names, so that what a field is called is all that is said of it here.

mod fields;

use std::{
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, Stream, stream};
use serde::Serialize;
use serde_json::Value;
use tonic::{Extensions, Request, Response, Status, metadata::MetadataMap};

use self::fields::{Given, images, input, size, strings};
use super::{
    OpenInference,
    data::{Data, InputTensor},
    refused,
    request::{Asked, Head as Pending},
    signature::{LATENT, MASK, STREAM},
};
use crate::{
    access::Caller,
    model::{
        Refusal,
        progress::{Board, Update},
    },
    operations::tensor::Datatype,
    transport::access,
    transport::rpc::{
        density::{density_server::Density, sample_response::Event, *},
        timeout,
    },
};

/// The shortest time between two tellings of progress.
const INTERVAL: Duration = Duration::from_millis(50);

/// The service.
#[derive(Debug, Clone)]
pub(in crate::transport) struct Typed(Arc<OpenInference>);

impl OpenInference {
    /// The typed service.
    pub(in crate::transport) fn typed(self: &Arc<Self>) -> Typed {
        Typed(Arc::clone(self))
    }
}

type Reply<T> = Result<Response<T>, Status>;

/// A call on its way: who asks for what, and until when.
struct Ask<'a> {
    operation: &'static str,
    model: Option<Model>,
    metadata: &'a MetadataMap,
    caller: Caller,
    started: Instant,
}

impl<'a> Ask<'a> {
    fn new(
        operation: &'static str,
        model: Option<Model>,
        (metadata, extensions): (&'a MetadataMap, &Extensions),
    ) -> Self {
        Self {
            operation,
            model,
            metadata,
            caller: access::caller(extensions),
            started: Instant::now(),
        }
    }
}

impl Typed {
    fn open(&self, ask: Ask<'_>, options: Option<impl Serialize>) -> Result<Pending, Refusal> {
        let Model { name, version } = ask.model.unwrap_or_default();
        let mut parameters = vec![("operation".to_owned(), Value::from(ask.operation))];
        if let Some(options) = options {
            let options = serde_json::to_value(options).map_err(Refusal::internal)?;
            if let Value::Object(options) = options {
                let given = options.into_iter().filter(|(_, value)| !value.is_null());
                parameters.extend(given);
            }
        }
        let asked = Asked {
            caller: ask.caller,
            model: name,
            version: (version > 0).then_some(version),
            parameters,
            outputs: Vec::new(),
        };
        let timeout = timeout(ask.metadata, &self.0.service);
        self.0.open(asked, timeout, ask.started)
    }

    async fn run(
        &self,
        ask: Ask<'_>,
        inputs: Vec<InputTensor>,
        options: Option<impl Serialize>,
    ) -> Result<Given, Status> {
        let pending = self.open(ask, options).map_err(refused)?;
        let mut held = self.0.service.memory_budget().open();
        let bytes = inputs.iter().map(size).sum();
        held.grow(bytes).map_err(refused)?;
        let inferred = pending.infer(&inputs, None).await.map_err(refused)?;
        Ok(Given::new(inferred))
    }
}

/// Does an operation on images: its request, its answer, its name, and how tensors become fields.
macro_rules! on_images {
    ($own:ident, $request:ident, $response:ident, $name:literal, { $($field:ident: $take:ident),* $(,)? }) => {{
        let (metadata, extensions, request) = $request.into_parts();
        let ask = Ask::new($name, request.model, (&metadata, &extensions));
        let mut given = $own.run(ask, images(request.images), request.options).await?;
        Ok(Response::new($response {
            head: given.head(),
            $($field: given.$take(stringify!($field)),)*
        }))
    }};
}

#[tonic::async_trait]
impl Density for Typed {
    async fn score(&self, request: Request<ScoreRequest>) -> Reply<ScoreResponse> {
        on_images!(self, request, ScoreResponse, "score", {
            log_likelihood: numbers,
            bits_per_dim: numbers,
            log_probability_map: floats,
        })
    }

    async fn detect(&self, request: Request<DetectRequest>) -> Reply<DetectResponse> {
        on_images!(self, request, DetectResponse, "detect", {
            reject: flags,
            p_value: numbers,
            strangeness: numbers,
            evidence_map: floats,
        })
    }

    async fn classify(&self, request: Request<ClassifyRequest>) -> Reply<ClassifyResponse> {
        on_images!(self, request, ClassifyResponse, "classify", {
            probabilities: doubles,
            pixel_evidence: floats,
            novel: flags,
            ambiguous: flags,
            novelty_p_value: numbers,
            ambiguity_p_value: numbers,
        })
    }

    async fn encode(&self, request: Request<EncodeRequest>) -> Reply<EncodeResponse> {
        on_images!(self, request, EncodeResponse, "encode", {
            code: floats,
            log_variance: floats,
        })
    }

    async fn reconstruct(&self, request: Request<ReconstructRequest>) -> Reply<ReconstructResponse> {
        on_images!(self, request, ReconstructResponse, "reconstruct", {
            image: levels,
            mean_squared_error: numbers,
            squared_error_map: floats,
        })
    }

    async fn interpolate(&self, request: Request<InterpolateRequest>) -> Reply<InterpolateResponse> {
        on_images!(self, request, InterpolateResponse, "interpolate", {
            image: levels,
        })
    }

    async fn compress(&self, request: Request<CompressRequest>) -> Reply<CompressResponse> {
        on_images!(self, request, CompressResponse, "compress", {
            stream: strings,
        })
    }

    async fn complete(&self, request: Request<CompleteRequest>) -> Reply<CompleteResponse> {
        let (metadata, extensions, request) = request.into_parts();
        let ask = Ask::new("complete", request.model, (&metadata, &extensions));
        let mut inputs = images(request.images);
        let pending = self.open(ask, request.options).map_err(refused)?;
        if !request.mask.is_empty() {
            let shape = pending.model().shape;
            let lengths = [shape.height(), shape.width()];
            let lengths = lengths.map(|length| i64::try_from(length).unwrap_or(i64::MAX));
            let flags = Data::Flags(request.mask);
            inputs.push(input(MASK, Datatype::Bool, lengths.to_vec(), flags));
        }
        let inferred = pending.infer(&inputs, None).await.map_err(refused)?;
        let mut given = Given::new(inferred);
        Ok(Response::new(CompleteResponse {
            head: given.head(),
            image: given.levels("image"),
        }))
    }

    async fn decode(&self, request: Request<DecodeRequest>) -> Reply<DecodeResponse> {
        let (metadata, extensions, request) = request.into_parts();
        let ask = Ask::new("decode", request.model, (&metadata, &extensions));
        let latent = request.latent.map(|Floats { shape, values }| {
            let values = values.into_iter().map(f64::from).collect();
            input(LATENT, Datatype::F32, shape, Data::Numbers(values))
        });
        let inputs = latent.into_iter().collect();
        let mut given = self.run(ask, inputs, request.options).await?;
        Ok(Response::new(DecodeResponse {
            head: given.head(),
            image: given.levels("image"),
        }))
    }

    async fn decompress(&self, request: Request<DecompressRequest>) -> Reply<DecompressResponse> {
        let (metadata, extensions, request) = request.into_parts();
        let ask = Ask::new("decompress", request.model, (&metadata, &extensions));
        let inputs = vec![strings(STREAM, request.stream)];
        let mut given = self.run(ask, inputs, None::<()>).await?;
        Ok(Response::new(DecompressResponse {
            head: given.head(),
            image: given.levels("image"),
        }))
    }

    type SampleStream = Pin<Box<dyn Stream<Item = Result<SampleResponse, Status>> + Send>>;

    /// What can be refused at once is the status of the call. The work is part of the stream, so a call that is
    /// cancelled drops both.
    async fn sample(&self, request: Request<SampleRequest>) -> Reply<Self::SampleStream> {
        let (metadata, extensions, request) = request.into_parts();
        let ask = Ask::new("sample", request.model, (&metadata, &extensions));
        let mut pending = self.open(ask, request.options).map_err(refused)?;
        let board = Board::new(pending.model().shape.dimensions());
        pending.watch(Arc::clone(&board));
        let mut work: Work = Box::pin(async move { pending.infer(&[], None).await.map(Given::new) });
        if let Some(outcome) = work.as_mut().now_or_never() {
            let event = Ok(done(outcome.map_err(refused)?));
            return Ok(Response::new(Box::pin(stream::iter([event]))));
        }
        let watch = Watch {
            board,
            work,
            due: tokio::time::Instant::now(),
            ready: Vec::new(),
        };
        let events = stream::unfold(Some(watch), |watch| async move { watch?.next().await });
        Ok(Response::new(Box::pin(events)))
    }
}

type Work = Pin<Box<dyn Future<Output = Result<Given, Refusal>> + Send>>;

/// Images while they are drawn.
struct Watch {
    board: Arc<Board>,
    work: Work,
    due: tokio::time::Instant,
    /// Progress that has not been sent yet.
    ready: Vec<Update>,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<SampleResponse, Status>, Option<Self>)> {
        if self.ready.is_empty() {
            let changes = async {
                tokio::time::sleep_until(self.due).await;
                self.board.changes().await
            };
            self.ready = tokio::select! {
                biased;
                outcome = self.work.as_mut() => {
                    return Some((outcome.map(done).map_err(refused), None));
                }
                updates = changes => updates,
            };
            self.due = tokio::time::Instant::now() + INTERVAL;
        }
        let event = progress(self.ready.pop()?);
        Some((Ok(event), Some(self)))
    }
}

fn progress(update: Update) -> SampleResponse {
    let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
    let event = Event::Progress(Progress {
        index: count(update.index),
        rows: count(update.rows),
        levels: update.levels.into(),
    });
    SampleResponse { event: Some(event) }
}

fn done(mut given: Given) -> SampleResponse {
    let event = Event::Samples(Samples {
        head: given.head(),
        image: given.levels("image"),
    });
    SampleResponse { event: Some(event) }
}
