//! Settings: plain structs with their defaults, and how they are made of flags, environment and file.
//!
//! A flag beats an environment variable, which beats the file, which beats the default. A value that cannot be is
//! refused by the name of its key and of its source. Only the command line and the composition root read settings: the
//! layers below take what they need as arguments.

mod error;
mod lay;
mod library;
mod merge;
pub mod options;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    thread,
    time::Duration,
};

pub use self::{
    error::SettingsError,
    merge::{Source, Written},
    options::{Listen, LogFormat},
};

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// What is loaded.
    pub models: ModelSettings,
    /// Threads, batches and queues.
    pub work: WorkSettings,
    /// The HTTP address and its limits.
    pub http: HttpSettings,
    /// The gRPC address.
    pub grpc: GrpcSettings,
    /// The log.
    pub log: LogSettings,
}

/// What is loaded, and with which library.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSettings {
    /// Folder of models.
    pub repository: PathBuf,
    /// Time between looks for new and removed versions; `None` never looks unasked.
    pub poll_interval: Option<Duration>,
    /// Time that loading and proving one version may take.
    pub load_timeout: Duration,
    /// Folder where it is kept what load gates found; `None` proves everything at every start.
    pub proof_records: Option<PathBuf>,
    /// Models that must serve before the server is ready; none if any will do.
    pub required_models: Vec<String>,
    /// ONNX Runtime's library, or its folder, if one was named.
    pub onnxruntime: Option<PathBuf>,
}

/// Threads, batches and queues.
#[derive(Debug, Clone, PartialEq)]
pub struct WorkSettings {
    /// Threads that run models.
    pub workers: usize,
    /// Most images in one run of a graph.
    pub max_batch_rows: usize,
    /// Most images in one step of sampling.
    pub max_step_rows: usize,
    /// Short work that may be admitted at once, in estimated time of one worker.
    pub interactive_queue: Duration,
    /// The same for sampling and completion.
    pub bulk_queue: Duration,
}

/// The HTTP address and what one client may ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpSettings {
    /// Address and port.
    pub address: SocketAddr,
    /// Address and port of probes and metrics, if they have one of their own.
    pub probes: Option<SocketAddr>,
    /// Origins whose pages may read answers, `*` for all.
    pub cors_origins: Vec<String>,
    /// Most connections open at once.
    pub max_connections: usize,
    /// Most connections open at once from one address; 0 for no limit.
    pub max_connections_per_address: usize,
    /// Largest body in bytes.
    pub max_body_bytes: usize,
    /// Most images in one request.
    pub max_images: usize,
    /// Most images drawn by one request.
    pub max_samples: u32,
    /// Most pixels that the image files of one request may unpack to.
    pub max_decoded_pixels: u64,
    /// Time that an idle connection is kept.
    pub keep_alive_timeout: Duration,
    /// Time for the head of a request.
    pub header_timeout: Duration,
    /// Time for its body.
    pub body_timeout: Duration,
    /// Deadline of a request that names none.
    pub request_timeout: Duration,
    /// The longest deadline, and that of sampling and completion.
    pub max_request_timeout: Duration,
    /// Time between the end of readiness and the end of new connections at shutdown.
    pub drain_delay: Duration,
    /// Time for accepted work to finish at shutdown.
    pub drain_timeout: Duration,
}

/// The gRPC address.
#[derive(Debug, Clone, PartialEq)]
pub struct GrpcSettings {
    /// Address and port, if there is to be one.
    pub address: Listen,
}

/// The log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSettings {
    /// How a line looks.
    pub format: LogFormat,
    /// What is logged, in the syntax of `tracing`'s environment filter.
    pub filter: String,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            repository: PathBuf::from("models/repository"),
            poll_interval: None,
            load_timeout: Duration::from_secs(120),
            proof_records: Some(PathBuf::from("models/repository/.proofs")),
            required_models: Vec::new(),
            onnxruntime: None,
        }
    }
}

impl Default for WorkSettings {
    fn default() -> Self {
        Self {
            workers: thread::available_parallelism().map_or(1, usize::from),
            max_batch_rows: 32,
            max_step_rows: 16,
            interactive_queue: Duration::from_secs(10),
            bulk_queue: Duration::from_secs(600),
        }
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 8000)),
            probes: None,
            cors_origins: Vec::new(),
            max_connections: 1024,
            max_connections_per_address: 0,
            max_body_bytes: 32 << 20,
            max_images: 256,
            max_samples: 64,
            max_decoded_pixels: 16 << 20,
            keep_alive_timeout: Duration::from_secs(75),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            max_request_timeout: Duration::from_secs(600),
            drain_delay: Duration::ZERO,
            drain_timeout: Duration::from_secs(60),
        }
    }
}

impl Default for GrpcSettings {
    fn default() -> Self {
        Self {
            address: Listen::At(SocketAddr::from((Ipv4Addr::LOCALHOST, 8001))),
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            filter: "info,ort=warn".to_owned(),
        }
    }
}

impl Settings {
    /// Lays what was written over `self`, the defaults, and refuses what cannot be.
    pub fn with(mut self, written: &Written) -> Result<Self, SettingsError> {
        self.models.lay(written)?;
        self.work.lay(written)?;
        self.http.lay(written)?;
        self.grpc.lay(written);
        self.log.lay(written)?;
        Ok(self)
    }

    /// The file of ONNX Runtime's library: the one named, or else the one that `make runtime` fetched.
    pub fn onnxruntime_library(&self) -> Result<PathBuf, SettingsError> {
        library::find(self.models.onnxruntime.as_deref())
    }
}

#[cfg(test)]
mod tests;
