//! The composition root: settings become a runtime, workers, a repository, a service and a server.
//!
//! Architecture invariant: this is the only place that knows every layer; nothing below it does.

mod changes;
pub mod control_groups;
pub mod descriptors;
mod error;
pub mod memory;
mod prompt;
mod sandbox;
mod secrets;
mod tools;

use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, sync::watch};

use self::tools::{gate, placement, resources};
pub use self::{
    changes::Changes,
    error::AppError,
    prompt::be_prompt,
    sandbox::{SandboxError, enter as enter_sandbox},
    secrets::Secrets,
};

use crate::{
    access::{Access, Identity, Network},
    families::{self, GateSettings},
    model::{control::Operator, info::ModelInfo, work::Resources},
    operations::{self, Limits, Service},
    repository::{Loading, Repository},
    runtime::onnx,
    scheduling::Quota,
    settings::{ClientsBy, ModelControl, ModelSettings, SecuritySettings, Settings, TraceSettings},
    trace::{self, Export},
    transport::{
        Door, grpc,
        http::{
            self, HttpConfig, HttpState, ServerLimits,
            server::{Isolated, Listening},
        },
        openinference::{self, OpenInference},
        tls::{Tls, TlsFiles},
    },
};

/// The version of ONNX Runtime that the server is tested with on the device of the settings.
pub fn runtime_version(settings: &Settings) -> &'static str {
    placement(&settings.models).device.runtime_version()
}

/// A running service, with or without a server in front of it.
#[derive(Debug)]
pub struct App {
    /// What can be asked.
    pub service: Arc<Service>,
    /// The models.
    pub repository: Arc<Repository>,
    path: PathBuf,
    http: HttpConfig,
    drain_delay: Duration,
    limits: ServerLimits,
    access: Arc<Access>,
    tls: Option<Arc<Tls>>,
}

/// Where clients come in.
#[derive(Debug)]
pub struct Listeners {
    /// HTTP.
    pub http: TcpListener,
    /// gRPC, if it is on.
    pub grpc: Option<TcpListener>,
    /// Probes and metrics, if they have a listener of their own.
    pub probes: Option<std::net::TcpListener>,
}

/// Loads models, also while the server runs.
#[derive(Debug, Clone)]
pub struct Loader {
    repository: Arc<Repository>,
    path: PathBuf,
}

/// What can be extended: the families that are loaded and the operations that are served.
#[derive(Debug, Clone)]
pub struct Registries {
    /// Families of models.
    pub families: families::Registry,
    /// Operations.
    pub operations: operations::Registry,
}

impl Default for Registries {
    /// All that density-server has.
    fn default() -> Self {
        Self {
            families: families::Registry::standard(),
            operations: operations::Registry::standard(),
        }
    }
}

impl App {
    /// Loads the runtime and starts the workers. There are no models until [`Loader::load`] has run.
    pub fn start(settings: &Settings, registries: &Registries) -> Result<Self, AppError> {
        // Hidden, so that it is not taken for a model.
        let drift = settings.models.repository.join(".drift");
        Self::with(resources(settings)?.watching_drift(drift), settings, registries)
    }

    /// The same for a command, which leaves the streams of drift to the server that may be running beside it.
    pub fn beside_a_server(settings: &Settings, registries: &Registries) -> Result<Self, AppError> {
        Self::with(resources(settings)?, settings, registries)
    }

    fn with(resources: Resources, settings: &Settings, registries: &Registries) -> Result<Self, AppError> {
        let path = &settings.models.repository;
        let mut repository = Repository::new(path, registries.families.clone(), resources).loading(Loading {
            records: settings.models.records(),
            gate: gate(settings),
            required: settings.models.required_models.clone(),
            free_memory: memory::free,
            ..Loading::default()
        });
        if let (ModelControl::Kept, Some(folder)) = (settings.models.model_control, settings.models.records()) {
            repository = repository
                .keeping_overrides_in(&folder)
                .map_err(|cause| AppError::Overrides { folder, cause })?;
        }
        let mut app = Self::over(settings, registries, repository, path);
        app.secure(&settings.security)?;
        Ok(app)
    }

    /// Lets in only those whom the settings let in.
    fn secure(&mut self, settings: &SecuritySettings) -> Result<(), AppError> {
        let identity = match settings.clients_by {
            ClientsBy::None => Identity::None,
            ClientsBy::Address => Identity::Address,
        };
        let proxies = settings.trusted_proxies.iter();
        let proxies = proxies.map(|own| Network::new(own.address, own.bits)).collect();
        self.access = Arc::new(Access::new(settings.keys.clone(), identity)?.behind(proxies));
        let (rate, burst) = (settings.client_rate.as_secs_f64(), settings.client_burst);
        let quota = (rate > 0.0).then(|| Arc::new(Quota::new(rate, burst)));
        let service =
            Arc::get_mut(&mut self.service).ok_or_else(|| io::Error::other("the service is in use already"))?;
        service.guard(Arc::clone(&self.access), quota);
        if let (Some(certificate), Some(key)) = (&settings.tls_certificate, &settings.tls_key) {
            self.tls = Some(Arc::new(Tls::new(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                client_ca: settings.tls_client_ca.clone(),
                client_crl: settings.tls_client_crl.clone(),
            })?));
        }
        Ok(())
    }

    /// The same for a single model, in its folder `<name>` or that of one of its versions, `<name>/<version>`; answers
    /// its name.
    pub fn load_one(settings: &Settings, registries: &Registries, folder: &Path) -> Result<(Self, String), AppError> {
        Self::load_one_with(gate(settings), settings, registries, folder)
    }

    fn load_one_with(
        gate: GateSettings,
        settings: &Settings,
        registries: &Registries,
        folder: &Path,
    ) -> Result<(Self, String), AppError> {
        let families = registries.families.clone();
        let (repository, name) = Repository::of_model(folder, families, resources(settings)?)
            .ok_or_else(|| AppError::NotAModel(folder.to_owned()))?;
        let repository = repository.loading(Loading {
            gate,
            free_memory: memory::free,
            ..Loading::default()
        });
        let app = Self::over(settings, registries, repository, folder);
        app.loader().load()?;
        Ok((app, name))
    }

    fn over(settings: &Settings, registries: &Registries, repository: Repository, path: &Path) -> Self {
        let repository = Arc::new(repository);
        let http = &settings.http;
        let most = Limits::default().max_held_bytes;
        // What requests hold is beside models and what runs of graphs take.
        let share = control_groups::memory().map(|bytes| usize::try_from(bytes / 4).unwrap_or(usize::MAX));
        let limits = Limits {
            max_held_bytes: share.map_or(most, |share| most.min(share)),
            max_images: http.max_images,
            max_samples: http.max_samples,
            max_decoded_pixels: http.max_decoded_pixels,
            request_timeout: http.request_timeout,
            max_request_timeout: http.max_request_timeout,
            decoding: settings.work.workers,
        };
        let resources = repository.resources();
        let service = Service::new(
            Arc::<Repository>::clone(&repository),
            &registries.operations,
            Arc::clone(&resources.scheduler),
            limits,
            Arc::clone(&resources.metrics),
        )
        .operated(match settings.models.model_control {
            ModelControl::Off => Operator::nobody(),
            ModelControl::On | ModelControl::Kept => Operator::of(Arc::<Repository>::clone(&repository)),
        });
        Self {
            service: Arc::new(service),
            repository,
            path: path.to_owned(),
            http: HttpConfig {
                max_body_bytes: http.max_body_bytes,
                body_timeout: http.body_timeout,
                cors_origins: http.cors_origins.clone(),
            },
            drain_delay: http.drain_delay,
            limits: ServerLimits {
                header_timeout: http.header_timeout,
                keep_alive_timeout: http.keep_alive_timeout,
                unread_timeout: http.unread_timeout,
                max_connections: http.max_connections,
                max_connections_per_address: http.max_connections_per_address,
                drain_timeout: http.drain_timeout,
                ..ServerLimits::default()
            },
            access: Arc::new(Access::open()),
            tls: None,
        }
    }

    /// Serves until `shutdown` comes; then readiness turns off, and after the drain delay what was accepted is
    /// finished. Where there is a listener for `probes`, it answers until the end.
    pub async fn serve(
        self,
        listeners: Listeners,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), AppError> {
        let service = Arc::clone(&self.service);
        let protocol = Arc::new(OpenInference::new(Arc::clone(&service)));
        let door = if listeners.probes.is_some() {
            Door::Clients
        } else {
            Door::Only
        };
        let calls = grpc::router(&service, &protocol, &self.http, door)?;
        let state = HttpState::new(Arc::clone(&service), self.http.clone());
        let router = |door| {
            let others = openinference::rest::router(&protocol, self.http.clone(), door);
            http::shared(state.clone(), others, door)
        };
        let metrics = Arc::clone(service.metrics());
        let apart = listeners
            .probes
            .map(|listener| Isolated::start(listener, router(Door::Operators), &metrics))
            .transpose()?;
        let router = router(door);
        let delay = self.drain_delay;
        let (stop, stopped) = watch::channel(false);
        let shutdown = async move {
            shutdown.await;
            service.drain();
            tokio::time::sleep(delay).await;
            // Without a listener nobody waits for it.
            let _ = stop.send(true);
        };
        let serve = |tcp, router| {
            let listener = Listening {
                tcp,
                tls: self.tls.clone(),
            };
            let metrics = Arc::clone(self.service.metrics());
            let mut stopped = stopped.clone();
            let shutdown = async move { drop(stopped.wait_for(|&stopped| stopped).await) };
            http::server::serve(listener, router, metrics, self.limits.clone(), shutdown)
        };
        let grpc = async {
            if let Some(listener) = listeners.grpc {
                serve(listener, calls).await;
            }
        };
        tokio::join!(serve(listeners.http, router), grpc, shutdown);
        drop(apart);
        Ok(())
    }

    /// Something that loads the models, now and later.
    pub fn loader(&self) -> Loader {
        Loader {
            repository: Arc::clone(&self.repository),
            path: self.path.clone(),
        }
    }

    /// Something that reads keys and certificates again.
    pub fn secrets(&self) -> Secrets {
        Secrets::new(&self.access, self.tls.as_ref(), self.service.metrics())
    }
}

impl Loader {
    /// When to look for new and removed versions, from now on. Blocks for as long as it takes to walk through the
    /// repository.
    pub fn changes(&self, settings: &ModelSettings) -> Changes {
        Changes::of(&self.path, settings.watch, settings.poll_interval)
    }

    /// Loads what is new in the repository and drops what is gone. Blocks for as long as load gates take.
    pub fn load(&self) -> Result<(), AppError> {
        self.repository.scan().map_err(|cause| AppError::Repository {
            path: self.path.clone(),
            cause,
        })
    }
}

/// Traces requests from now on, if the settings name somebody who collects that. Must be called within the asynchronous
/// runtime.
pub fn start_traces(settings: &TraceSettings) -> Result<Option<Export>, AppError> {
    let Some(endpoint) = &settings.otlp_endpoint else {
        return Ok(None);
    };
    let export = trace::start(endpoint)?;
    tracing::info!(endpoint, "requests are traced");
    Ok(Some(export))
}

/// The version of this server, and what it was built for.
pub fn version() -> String {
    format!(
        "{} for {}-{}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        std::env::consts::OS
    )
}

/// What ONNX Runtime says of its build. It must have been loaded.
pub fn runtime_build() -> String {
    onnx::build()
}

/// Runs the load gate on one model and says what became of its newest version. `thorough` tries everything that can be
/// tried.
pub fn check(
    settings: &Settings,
    registries: &Registries,
    folder: &Path,
    thorough: bool,
) -> Result<ModelInfo, AppError> {
    let gate = GateSettings {
        thorough,
        ..gate(settings)
    };
    let (app, name) = App::load_one_with(gate, settings, registries, folder)?;
    app.service
        .models()
        .into_iter()
        .rfind(|info| info.name == name)
        .ok_or_else(|| AppError::NotAModel(folder.to_owned()))
}

/// Makes a version of graphs that people bring.
pub fn import(
    settings: &Settings,
    registries: &Registries,
    request: &families::import::Request,
    interview: families::import::Interview,
    host: &mut dyn families::import::Host,
) -> Result<Result<families::import::Imported, families::import::ImportError>, AppError> {
    // Golden numbers are those of the reference.
    let resources = resources(settings)?.at_reference();
    let tools = families::import::Tools {
        registry: &registries.families,
        resources: &resources,
        gate: gate(settings),
    };
    Ok(families::import::import(&tools, request, interview, host))
}
