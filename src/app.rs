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
    repository::{MANIFEST, Repository, gate::GateSettings},
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
    path: PathBuf,
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

/// Loads models, also while the server runs.
#[derive(Debug, Clone)]
pub struct Loader {
    service: Arc<Service>,
    path: PathBuf,
}

impl App {
    /// Loads the runtime and starts the workers. There are no models until [`Loader::load`] has run.
    pub fn start(settings: &Settings) -> Result<Self, AppError> {
        let repository = Repository::new(&settings.models.repository, engine(settings)?)
            .with_gate(gate(settings));
        Self::over(settings, repository, &settings.models.repository)
    }

    /// The same for a single model, in its folder `<name>` or that of one of its versions, `<name>/<version>`; answers its name.
    pub fn load_one(settings: &Settings, folder: &Path) -> Result<(Self, String), AppError> {
        Self::load_one_with(gate(settings), settings, folder)
    }

    fn load_one_with(
        gate: GateSettings,
        settings: &Settings,
        folder: &Path,
    ) -> Result<(Self, String), AppError> {
        let (repository, name) = Repository::of_model(folder, engine(settings)?)
            .ok_or_else(|| AppError::NotAModel(folder.to_owned()))?;
        let app = Self::over(settings, repository.with_gate(gate), folder)?;
        app.loader().load()?;
        Ok((app, name))
    }

    fn over(settings: &Settings, repository: Repository, path: &Path) -> Result<Self, AppError> {
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
            path: path.to_owned(),
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

    /// Serves until `shutdown` comes; then readiness turns off and what was accepted is finished.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), AppError> {
        let service = Arc::clone(&self.service);
        // Hidden, so that it is not taken for a model.
        service.watch_drift(self.path.join(".drift"));
        let metrics = Arc::clone(self.service.metrics());
        let router = http::router(HttpState::new(Arc::clone(&self.service), self.http));
        let shutdown = async move {
            shutdown.await;
            service.drain();
        };
        http::server::serve(listener, router, metrics, self.limits, shutdown).await;
        Ok(())
    }

    /// Something that loads the models, now and later.
    pub fn loader(&self) -> Loader {
        Loader {
            service: Arc::clone(&self.service),
            path: self.path.clone(),
        }
    }
}

impl Loader {
    /// Loads what is new in the repository and drops what is gone. Blocks for as long as load gates take.
    pub fn load(&self) -> Result<(), AppError> {
        self.service.scan().map_err(|cause| AppError::Repository {
            path: self.path.clone(),
            cause,
        })
    }
}

/// Runs the load gate on one model and says what became of its newest version. `thorough` tries everything that can be tried.
pub fn check(settings: &Settings, folder: &Path, thorough: bool) -> Result<ModelInfo, AppError> {
    let gate = GateSettings {
        thorough,
        ..gate(settings)
    };
    let (app, name) = App::load_one_with(gate, settings, folder)?;
    app.service
        .models()
        .into_iter()
        .rfind(|info| info.name == name)
        .ok_or_else(|| AppError::NotAModel(folder.to_owned()))
}

fn gate(settings: &Settings) -> GateSettings {
    GateSettings {
        time_limit: settings.models.load_timeout,
        ..GateSettings::default()
    }
}

fn engine(settings: &Settings) -> Result<Arc<dyn Engine>, AppError> {
    let library = settings.onnxruntime_library()?;
    Ok(Arc::new(OnnxEngine::new(&library, settings.work.workers)?))
}
