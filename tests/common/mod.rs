//! What tests share: the runtime's library and services over the committed models.

#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod faults;
pub(crate) mod graphs;
pub(crate) mod networks;
pub(crate) mod steps;
pub(crate) mod versions;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use density_server::{
    families::{GateError, GateSettings, Registry, Resources},
    metrics::Metrics,
    model::{Call, Model, catalogue::Catalogue},
    operations::{self, Limits, Service},
    repository::{self, Repository},
    runtime::{Engine, onnx::OnnxEngine},
    scheduling::{Scheduler, SchedulerConfig},
    settings::Settings,
    transport::{
        Door,
        http::{
            self, HttpConfig, HttpState, ServerLimits,
            server::{Drained, serve},
        },
        openinference::{OpenInference, rest},
    },
};

/// The project's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Tiny models with random weights.
pub(crate) fn fixtures() -> PathBuf {
    root().join("tests/fixtures/repository")
}

/// The trained models.
pub(crate) fn trained() -> PathBuf {
    root().join("models/repository")
}

/// The library that `make runtime` fetches, or the one that `ORT_DYLIB_PATH` names.
pub(crate) fn library() -> PathBuf {
    std::env::var_os("ORT_DYLIB_PATH").map_or_else(|| Settings::default().onnxruntime_library().unwrap(), PathBuf::from)
}

/// ONNX Runtime for two workers.
pub(crate) fn engine() -> Arc<dyn Engine> {
    Arc::new(OnnxEngine::new(&library(), 2).expect("the runtime loads"))
}

/// What models are made with, over two workers.
pub(crate) fn resources() -> Resources {
    let config = SchedulerConfig {
        workers: 2,
        ..SchedulerConfig::default()
    };
    resources_of(engine(), config)
}

/// The same with other circumstances.
pub(crate) fn resources_of(engine: Arc<dyn Engine>, config: SchedulerConfig) -> Resources {
    let metrics = Arc::new(Metrics::new());
    let scheduler = Scheduler::start(config, &metrics).expect("workers start");
    Resources::new(engine, Arc::new(scheduler), metrics)
}

/// A repository of models.
pub(crate) fn repository_of(folder: &Path, resources: Resources) -> Repository {
    Repository::new(folder, Registry::standard(), resources)
}

/// A repository with its models loaded.
pub(crate) fn models_of(folder: &Path) -> Repository {
    let repository = repository_of(folder, resources());
    repository.scan().expect("the repository is read");
    repository
}

/// The fixtures, loaded.
pub(crate) fn fixture_models() -> Repository {
    models_of(&fixtures())
}

/// A model that serves.
pub(crate) fn model(repository: &Repository, name: &str) -> Arc<Model> {
    repository.model(name, None).unwrap_or_else(|error| {
        panic!("{error}; {:#?}", repository.listings());
    })
}

/// A capability that the model has.
pub(crate) fn can<C: ?Sized + Send + Sync + 'static>(model: &Model) -> Arc<C> {
    model.can::<C>().unwrap_or_else(|reason| panic!("{model:?}: {reason}"))
}

/// A request with time enough.
pub(crate) fn call(repository: &Repository) -> Call {
    repository.resources().call(deadline())
}

/// Loads one version that is made of no others.
pub(crate) fn load(folder: &Path, name: &str) -> Result<Model, GateError> {
    load_with(folder, name, &resources())
}

/// The same with other circumstances.
pub(crate) fn load_with(folder: &Path, name: &str, resources: &Resources) -> Result<Model, GateError> {
    load_gated(folder, name, resources, GateSettings::default())
}

/// The same, tried in this way.
pub(crate) fn load_gated(
    folder: &Path,
    name: &str,
    resources: &Resources,
    gate: GateSettings,
) -> Result<Model, GateError> {
    let nobody = |_: &str, _| Err("there are no other models here".to_owned());
    repository::load(folder, (name, 1), &Registry::standard(), &nobody, resources, gate)
}

/// A service over a repository.
pub(crate) fn service_of(repository: Arc<Repository>, limits: Limits) -> Arc<Service> {
    let resources = repository.resources().clone();
    Arc::new(Service::new(
        repository,
        &operations::Registry::standard(),
        resources.scheduler,
        limits,
        resources.metrics,
    ))
}

/// A service over the models of a folder.
pub(crate) fn service_over(folder: &Path, engine: Arc<dyn Engine>, config: SchedulerConfig) -> Arc<Service> {
    let repository = Arc::new(repository_of(folder, resources_of(engine, config)));
    repository.scan().expect("the repository is read");
    service_of(repository, Limits::default())
}

/// A service over the fixtures with two workers.
pub(crate) fn fixture_service() -> Arc<Service> {
    service_of(Arc::new(fixture_models()), Limits::default())
}

/// A server in this process, on a free port.
pub(crate) struct Server {
    /// `http://…`
    pub(crate) url: String,
    stop: tokio::sync::oneshot::Sender<()>,
    served: tokio::task::JoinHandle<Drained>,
}

impl Server {
    /// Serves `service` within `config`.
    pub(crate) async fn start(service: &Arc<Service>, config: HttpConfig) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let protocol = Arc::new(OpenInference::new(Arc::clone(service)));
        let others = rest::router(&protocol, config.clone(), Door::Only);
        let router = http::shared(HttpState::new(Arc::clone(service), config), others, Door::Only);
        let metrics = Arc::clone(service.metrics());
        let service = Arc::clone(service);
        let shutdown = async move {
            let _ = stopped.await;
            service.drain();
        };
        let limits = ServerLimits::default();
        let served = tokio::spawn(serve(listener, router, metrics, limits, shutdown));
        Self {
            url: format!("http://{address}"),
            stop,
            served,
        }
    }

    /// What SIGTERM does; the answer comes when everything accepted is finished.
    pub(crate) fn shut_down(self) -> tokio::task::JoinHandle<Drained> {
        let _ = self.stop.send(());
        self.served
    }
}

/// Long enough for a busy machine.
pub(crate) fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(120)
}

/// Asks `condition` until it holds; a condition that never does fails the test.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = deadline();
    while !condition() {
        assert!(Instant::now() < give_up, "never came true: {what}");
        tokio::task::yield_now().await;
    }
}
