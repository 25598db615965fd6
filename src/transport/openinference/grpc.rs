//! The protocol over gRPC: the service `inference.GRPCInferenceService`.

mod messages;

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{Stream, stream};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use self::messages::{END, answer, flag, nothing_asked, parameter, statistics, tensors, wanted, wants_end};
use super::{OpenInference, documents, message, refused, request::Asked, target};
use crate::{
    access::Caller,
    model::{Kind, Refusal},
    trace,
    transport::access::{self, Standing},
    transport::rpc::{
        inference::{
            grpc_inference_service_server::GrpcInferenceService, model_metadata_response::TensorMetadata,
            repository_index_response::ModelIndex, *,
        },
        timeout,
    },
};

/// How often a stream that waits for its client looks whether it may go on waiting.
const LOOK: Duration = Duration::from_millis(250);

/// The service.
#[derive(Debug, Clone)]
pub(in crate::transport) struct Inference(Arc<OpenInference>);

impl OpenInference {
    /// The service of the protocol over gRPC.
    pub(in crate::transport) fn grpc(self: &Arc<Self>) -> Inference {
        Inference(Arc::clone(self))
    }
}

type Answer<T> = Result<Response<T>, Status>;
pub(super) type Parameters = HashMap<String, InferParameter>;

#[tonic::async_trait]
impl GrpcInferenceService for Inference {
    async fn server_live(&self, _: Request<ServerLiveRequest>) -> Answer<ServerLiveResponse> {
        Ok(Response::new(ServerLiveResponse { live: true }))
    }

    async fn server_ready(&self, _: Request<ServerReadyRequest>) -> Answer<ServerReadyResponse> {
        let ready = self.0.service.is_ready();
        Ok(Response::new(ServerReadyResponse { ready }))
    }

    async fn model_ready(&self, request: Request<ModelReadyRequest>) -> Answer<ModelReadyResponse> {
        let ModelReadyRequest { name, version } = request.into_inner();
        let target = target::version(&version).and_then(|version| self.0.target(&name, version, None));
        let ready = match target {
            Ok(_) => true,
            // Who waits for a model to come asks before it is there.
            Err(refusal) if matches!(refusal.kind(), Kind::NotReady | Kind::NotFound) => false,
            Err(refusal) => return Err(refused(refusal)),
        };
        Ok(Response::new(ModelReadyResponse { ready }))
    }

    async fn server_metadata(&self, _: Request<ServerMetadataRequest>) -> Answer<ServerMetadataResponse> {
        let own = OpenInference::server_metadata();
        Ok(Response::new(ServerMetadataResponse {
            name: own.name.to_owned(),
            version: own.version.to_owned(),
            extensions: own.extensions.iter().map(|&name| name.to_owned()).collect(),
        }))
    }

    async fn model_metadata(&self, request: Request<ModelMetadataRequest>) -> Answer<ModelMetadataResponse> {
        let ModelMetadataRequest { name, version } = request.into_inner();
        let own = target::version(&version).and_then(|version| self.0.model_metadata(&name, version));
        let own = own.map_err(refused)?;
        let tensor = |tensor: documents::TensorMetadata| TensorMetadata {
            name: tensor.name.to_owned(),
            datatype: tensor.datatype.to_owned(),
            shape: tensor.shape,
        };
        Ok(Response::new(ModelMetadataResponse {
            name: own.name,
            versions: own.versions,
            platform: own.platform.to_owned(),
            inputs: own.inputs.into_iter().map(tensor).collect(),
            outputs: own.outputs.into_iter().map(tensor).collect(),
        }))
    }

    async fn model_config(&self, request: Request<ModelConfigRequest>) -> Answer<ModelConfigResponse> {
        let ModelConfigRequest { name, version } = request.into_inner();
        let own = target::version(&version).and_then(|version| self.0.model_config(&name, version));
        let own = own.map_err(refused)?;
        let data_type = |name: &str| DataType::from_str_name(name).unwrap_or_default().into();
        let input = |input: documents::ConfigInput| ModelInput {
            name: input.name.to_owned(),
            data_type: data_type(input.data_type),
            dims: input.dims,
            optional: input.optional,
        };
        let output = |output: documents::ConfigOutput| ModelOutput {
            name: output.name.to_owned(),
            data_type: data_type(output.data_type),
            dims: output.dims,
        };
        let parameter = |(name, own): (&str, documents::ConfigParameter)| {
            let string_value = own.string_value.to_owned();
            (name.to_owned(), ModelParameter { string_value })
        };
        let config = ModelConfig {
            parameters: own.parameters.into_iter().map(parameter).collect(),
            name: own.name,
            platform: own.platform.to_owned(),
            max_batch_size: i32::try_from(own.max_batch_size).unwrap_or(i32::MAX),
            input: own.input.into_iter().map(input).collect(),
            output: own.output.into_iter().map(output).collect(),
            backend: own.backend.to_owned(),
        };
        let config = Some(config);
        Ok(Response::new(ModelConfigResponse { config }))
    }

    async fn model_statistics(&self, request: Request<ModelStatisticsRequest>) -> Answer<ModelStatisticsResponse> {
        let ModelStatisticsRequest { name, version } = request.into_inner();
        let named = target::version(&version).and_then(|version| {
            let named = (!name.is_empty()).then_some((name.as_str(), version));
            self.0.statistics(named)
        });
        let own = named.map_err(refused)?.into_iter();
        let model_stats = own.map(statistics).collect();
        Ok(Response::new(ModelStatisticsResponse { model_stats }))
    }

    async fn repository_index(&self, request: Request<RepositoryIndexRequest>) -> Answer<RepositoryIndexResponse> {
        let own = self.0.index(request.get_ref().ready).into_iter();
        let models = own.map(|own| ModelIndex {
            name: own.name,
            version: own.version,
            state: own.state.to_owned(),
            reason: own.reason,
        });
        let models = models.collect();
        Ok(Response::new(RepositoryIndexResponse { models }))
    }

    async fn repository_model_load(
        &self,
        request: Request<RepositoryModelLoadRequest>,
    ) -> Answer<RepositoryModelLoadResponse> {
        let RepositoryModelLoadRequest {
            model_name, parameters, ..
        } = request.into_inner();
        let done = self.0.load(&model_name, wanted(parameters)).await;
        done.map_err(refused)?;
        Ok(Response::new(RepositoryModelLoadResponse {}))
    }

    async fn repository_model_unload(
        &self,
        request: Request<RepositoryModelUnloadRequest>,
    ) -> Answer<RepositoryModelUnloadResponse> {
        let RepositoryModelUnloadRequest {
            model_name, parameters, ..
        } = request.into_inner();
        let done = self.0.unload(&model_name, wanted(parameters)).await;
        done.map_err(refused)?;
        Ok(Response::new(RepositoryModelUnloadResponse {}))
    }

    async fn model_infer(&self, request: Request<ModelInferRequest>) -> Answer<ModelInferResponse> {
        let started = Instant::now();
        let timeout = timeout(request.metadata(), &self.0.service);
        let caller = access::caller(request.extensions());
        let answer = self.infer(caller, request.into_inner(), timeout, started).await;
        answer.map(Response::new).map_err(refused)
    }

    type ModelStreamInferStream = Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Answer<Self::ModelStreamInferStream> {
        let standing = Standing::new(request.extensions());
        let requests = request.into_inner();
        // A stream is answered after its call: what it brings is a part of it all the same.
        let here = trace::current();
        let answers = stream::unfold(Some((self.clone(), standing, requests)), move |state| {
            here.clone().scope(async move {
                let (own, standing, mut requests) = state?;
                match own.next(&standing, &mut requests).await {
                    Ok(None) => None,
                    Ok(Some((caller, request))) => {
                        let answer = own.answer_in_stream(caller, request).await;
                        Some((Ok(answer), Some((own, standing, requests))))
                    }
                    Err(status) => Some((Err(status), None)),
                }
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

impl Inference {
    /// The next request of a stream and whose it is, unless the server would not let the client in any more.
    async fn next(
        &self,
        standing: &Standing,
        requests: &mut Streaming<ModelInferRequest>,
    ) -> Result<Option<(Caller, ModelInferRequest)>, Status> {
        let caller = || standing.caller(self.0.service.access()).map_err(refused);
        loop {
            tokio::select! {
                biased;
                request = requests.message() => {
                    let request = request?.map(|request| Ok((caller()?, request)));
                    return request.transpose();
                }
                () = tokio::time::sleep(LOOK) => {
                    caller()?;
                }
            }
        }
    }

    async fn answer_in_stream(&self, caller: Caller, request: ModelInferRequest) -> ModelStreamInferResponse {
        let nothing = ModelInferResponse {
            model_name: request.model_name.clone(),
            model_version: request.model_version.clone(),
            id: request.id.clone(),
            ..ModelInferResponse::default()
        };
        let is_end_wanted = wants_end(&request.parameters);
        let (error_message, mut answer) = match self.infer(caller, request, None, Instant::now()).await {
            Ok(answer) => (String::new(), answer),
            Err(refusal) => (message(&refusal), nothing),
        };
        if is_end_wanted {
            answer.parameters.insert(END.to_owned(), flag(true));
        }
        ModelStreamInferResponse {
            error_message,
            infer_response: Some(answer),
        }
    }

    async fn infer(
        &self,
        caller: Caller,
        request: ModelInferRequest,
        timeout: Option<Duration>,
        started: Instant,
    ) -> Result<ModelInferResponse, Refusal> {
        let protocol = &self.0;
        let mut held = protocol.service.memory_budget().open();
        held.grow(request.encoded_len())?;
        let ModelInferRequest {
            model_name,
            model_version,
            id,
            parameters,
            inputs,
            outputs,
            raw_input_contents,
        } = request;
        let asked = Asked {
            caller,
            model: model_name.clone(),
            version: target::version(&model_version)?,
            parameters: parameters.into_iter().map(parameter).collect::<Result<_, _>>()?,
            outputs: outputs
                .into_iter()
                .map(|output| {
                    nothing_asked(&output.parameters, &["binary_data"])?;
                    Ok(output.name)
                })
                .collect::<Result<_, Refusal>>()?,
        };
        let head = protocol.open(asked, timeout, started)?;
        let inputs = tensors(inputs, raw_input_contents)?;
        let inferred = head.infer(&inputs, None).await?;
        answer(model_name, id, inferred)
    }
}
