//! What tests share: the runtime's library and services over the committed models.

#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod faults;
pub(crate) mod networks;
pub(crate) mod steps;
pub(crate) mod versions;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use density_server::{
    http::{
        self, HttpConfig, HttpState, ServerLimits,
        server::{Drained, serve},
    },
    metrics::Metrics,
    repository::Repository,
    runtime::{Engine, onnx::OnnxEngine},
    scheduling::{Scheduler, SchedulerConfig},
    service::{Service, ServiceLimits},
    settings::Settings,
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
    std::env::var_os("ORT_DYLIB_PATH").map_or_else(
        || Settings::default().onnxruntime_library().unwrap(),
        PathBuf::from,
    )
}

/// ONNX Runtime for two workers.
pub(crate) fn engine() -> Arc<dyn Engine> {
    Arc::new(OnnxEngine::new(&library(), 2).expect("the runtime loads"))
}

/// A service over a repository, its models loaded.
pub(crate) fn service_over(
    repository: &Path,
    engine: Arc<dyn Engine>,
    config: SchedulerConfig,
) -> Arc<Service> {
    let service = unloaded_service(repository, engine, config);
    service.scan().expect("the repository is read");
    service
}

/// The same before its models are loaded.
pub(crate) fn unloaded_service(
    repository: &Path,
    engine: Arc<dyn Engine>,
    config: SchedulerConfig,
) -> Arc<Service> {
    let metrics = Arc::new(Metrics::new());
    let scheduler = Scheduler::start(config, &metrics).expect("workers start");
    Arc::new(Service::new(
        Repository::new(repository, engine),
        scheduler,
        ServiceLimits::default(),
        metrics,
    ))
}

/// A service over the fixtures with two workers.
pub(crate) fn fixture_service() -> Arc<Service> {
    let config = SchedulerConfig {
        workers: 2,
        ..SchedulerConfig::default()
    };
    service_over(&fixtures(), engine(), config)
}

/// Long enough for a busy machine.
pub(crate) fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(120)
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
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let router = http::router(HttpState::new(Arc::clone(service), config));
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

/// Asks `condition` until it holds; a condition that never does fails the test.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let give_up = deadline();
    while !condition() {
        assert!(Instant::now() < give_up, "never came true: {what}");
        tokio::task::yield_now().await;
    }
}
