//! The composition root: settings become a runtime, a repository, workers, a service and a server.
//!
//! Architecture invariant: this is the only place that knows every layer; nothing below it does.

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::net::TcpListener;

use crate::{
    http::{self, HttpConfig, HttpState, ServerLimits},
    metrics::Metrics,
    repository::{MANIFEST, Repository},
    runtime::{Engine, RuntimeError, onnx::OnnxEngine},
    scheduling::{Scheduler, SchedulerConfig},
    service::{Service, ServiceLimits, info::ModelInfo},
    settings::{Settings, SettingsError},
};

/// A running service, with or without a server in front of it.
#[derive(Debug)]
pub struct App {
    /// The use cases.
    pub service: Arc<Service>,
    http: HttpConfig,
    limits: ServerLimits,
}

/// Why the server does not start or run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// A setting that cannot be.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// No runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The folder of models cannot be read.
    #[error("the model repository {path} cannot be read: {cause}")]
    Repository {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A folder that is neither `<name>` nor `<name>/<version>`.
    #[error(
        "{0} is not a model: a model is a folder <name>/<version> with a {MANIFEST}, where <version> is a number"
    )]
    NotAModel(PathBuf),
    /// The system refused threads or connections.
    #[error("{0}")]
    System(#[from] io::Error),
}

/// Looks for new and removed versions while the server runs.
#[derive(Debug, Clone)]
pub struct Reloader(Arc<Service>);

impl App {
    /// Loads the runtime and every model of the repository, and starts the workers. Takes as long as the load gates.
    pub fn start(settings: &Settings) -> Result<Self, AppError> {
        let engine = engine(settings)?;
        let root = &settings.models.repository;
        let app = Self::over(settings, Repository::new(root, engine))?;
        app.scan(root)?;
        Ok(app)
    }

    /// The same for a single model, in its folder `<name>` or that of one of its versions, `<name>/<version>`; answers its name.
    pub fn load_one(settings: &Settings, folder: &Path) -> Result<(Self, String), AppError> {
        let (repository, name) = Repository::of_model(folder, engine(settings)?)
            .ok_or_else(|| AppError::NotAModel(folder.to_owned()))?;
        let app = Self::over(settings, repository)?;
        app.scan(folder)?;
        Ok((app, name))
    }

    fn over(settings: &Settings, repository: Repository) -> Result<Self, AppError> {
        let metrics = Arc::new(Metrics::new());
        let work = &settings.work;
        let config = SchedulerConfig {
            workers: work.workers,
            interactive_capacity: work.interactive_queue,
            bulk_capacity: work.bulk_queue,
            interactive_rows: work.max_batch_rows,
            bulk_rows: work.max_step_rows,
            ..SchedulerConfig::default()
        };
        let scheduler = Scheduler::start(config, &metrics)?;
        let limits = ServiceLimits {
            max_samples: settings.http.max_samples,
            ..ServiceLimits::default()
        };
        Ok(Self {
            service: Arc::new(Service::new(repository, scheduler, limits, metrics)),
            http: HttpConfig {
                max_body_bytes: settings.http.max_body_bytes,
                max_images: settings.http.max_images,
                max_decoded_pixels: settings.http.max_decoded_pixels,
                body_timeout: settings.http.body_timeout,
                request_timeout: settings.http.request_timeout,
                max_request_timeout: settings.http.max_request_timeout,
            },
            limits: ServerLimits {
                header_timeout: settings.http.header_timeout,
                max_connections: settings.http.max_connections,
                drain_timeout: settings.http.drain_timeout,
            },
        })
    }

    fn scan(&self, path: &Path) -> Result<(), AppError> {
        self.service.scan().map_err(|cause| AppError::Repository {
            path: path.to_owned(),
            cause,
        })
    }

    /// Serves until `shutdown` comes; then readiness turns off and what was accepted is finished.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), AppError> {
        let service = Arc::clone(&self.service);
        let metrics = Arc::clone(self.service.metrics());
        let router = http::router(HttpState::new(Arc::clone(&self.service), self.http));
        let shutdown = async move {
            shutdown.await;
            service.drain();
        };
        http::server::serve(listener, router, metrics, self.limits, shutdown).await;
        Ok(())
    }

    /// Something that rescans the repository.
    pub fn reloader(&self) -> Reloader {
        Reloader(Arc::clone(&self.service))
    }
}

impl Reloader {
    /// Reads the repository again. Blocks for as long as new versions take to load.
    pub fn reload(&self) {
        if let Err(error) = self.0.scan() {
            tracing::error!(%error, "the model repository cannot be read; models stay as they are");
        }
    }
}

/// Runs the load gate on one model and says what became of its newest version.
pub fn check(settings: &Settings, folder: &Path) -> Result<ModelInfo, AppError> {
    let (app, name) = App::load_one(settings, folder)?;
    app.service
        .models()
        .into_iter()
        .rfind(|info| info.name == name)
        .ok_or_else(|| AppError::NotAModel(folder.to_owned()))
}

fn engine(settings: &Settings) -> Result<Arc<dyn Engine>, AppError> {
    let library = settings.onnxruntime_library()?;
    Ok(Arc::new(OnnxEngine::new(&library, settings.work.workers)?))
}
