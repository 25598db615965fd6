//! Settings: each is declared once, here, with its type, default, bounds and documentation.
//!
//! A field is a flag, and clap makes its help. [`sources`] derives the rest from that: the environment variable, the
//! key in the configuration file, and who wins. Only the command line and the composition root read settings: the
//! layers below take what they need as arguments.

mod choices;
mod error;
mod library;
pub mod sources;
mod values;

use std::{net::SocketAddr, path::PathBuf, thread, time::Duration};

use clap::{ArgAction, Args, Command, FromArgMatches};

use self::values::{
    address, between, collector, listen, log_filter, network, origin, seconds, seconds_or_zero, trimmed,
};
pub use self::{
    choices::{ClientsBy, Device, LogFormat, ModelControl, Precision},
    error::SettingsError,
    values::{Listen, Network},
};

// A doc comment of a section would become the description of the command that it is flattened into.

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Args)]
pub struct Settings {
    /// What is loaded.
    #[command(flatten)]
    pub models: ModelSettings,
    /// Threads, batches and queues.
    #[command(flatten)]
    pub work: WorkSettings,
    /// The HTTP address and its limits.
    #[command(flatten)]
    pub http: HttpSettings,
    /// The gRPC address.
    #[command(flatten)]
    pub grpc: GrpcSettings,
    /// Who may come in.
    #[command(flatten)]
    pub security: SecuritySettings,
    /// The log.
    #[command(flatten)]
    pub log: LogSettings,
    /// Where traces go.
    #[command(flatten)]
    pub traces: TraceSettings,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Models")]
pub struct ModelSettings {
    /// Folder of models, each in `<name>/<version>/model.toml`
    #[arg(long, value_name = "FOLDER", default_value = "models/repository")]
    pub repository: PathBuf,

    /// Seconds between looks for new and removed versions; 0 looks on SIGHUP only
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds_or_zero)]
    pub poll_interval: Duration,

    /// Whether versions are looked for as soon as something in the repository changes; where the system cannot tell,
    /// they are looked for every 5 s. The flag alone is `true`
    #[arg(long, value_name = "BOOL", default_value = "false", num_args = 0..=1, default_missing_value = "true")]
    #[arg(action = ArgAction::Set, hide_possible_values = true)]
    pub watch: bool,

    /// Seconds that loading and proving one version may take; what takes longer is refused
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = seconds)]
    pub load_timeout: Duration,

    /// Folder where it is kept what load gates found, so that a later start need not prove the same again; `none`
    /// proves everything at every start [default: `.proofs` in the repository]
    #[arg(long, value_name = "FOLDER")]
    pub proof_records: Option<PathBuf>,

    /// Names of the models, with commas between, that must serve before /readyz says so [default: any model will do]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = trimmed)]
    pub required_models: Vec<String>,

    /// Whether clients may load, unload, pin and roll back versions: `off`; `on` until the server ends; `kept`, where
    /// what they came to holds over restarts, too, in `control.json` beside the proof records. The flag alone is `on`
    #[arg(long, value_name = "WORD", default_value = "off", num_args = 0..=1, default_missing_value = "on")]
    #[arg(hide_possible_values = true)]
    pub model_control: ModelControl,

    /// ONNX Runtime's shared library, or the folder that holds it [default: ORT_DYLIB_PATH, else .runtime/ here or
    /// above the executable]
    #[arg(long, value_name = "FILE", hide_default_value = true)]
    pub onnxruntime: Option<PathBuf>,

    /// What computes scores, codes, features, labels and decoded images. Autoregressive models draw, complete and
    /// compress on the processor in any case, so that seeds and streams stay what they are
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    pub device: Device,

    /// The numbers that it multiplies. What is not computed at f32 was measured beside f32 when it was loaded;
    /// detectors judge where they were calibrated only
    #[arg(long, value_name = "PRECISION", default_value = "f32")]
    pub precision: Precision,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Work")]
pub struct WorkSettings {
    /// Threads that run models [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = between::<usize>(1..=1024))]
    #[arg(default_value_t = cores(), hide_default_value = true)]
    pub workers: usize,

    /// Most images scored or encoded in one run of a graph
    #[arg(long, value_name = "ROWS", default_value = "32", value_parser = between::<usize>(1..=4096))]
    pub max_batch_rows: usize,

    /// Most images in one step of sampling; a step holds up its thread, so fewer let other work in sooner
    #[arg(long, value_name = "ROWS", default_value = "16", value_parser = between::<usize>(1..=4096))]
    pub max_step_rows: usize,

    /// Scoring, judging, encoding and decoding that may wait, in estimated seconds of one thread; while so much waits,
    /// requests are answered with 429
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub interactive_queue: Duration,

    /// Sampling and completion that may wait, in estimated seconds of one thread; while so much waits, requests are
    /// answered with 429
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub bulk_queue: Duration,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpSettings {
    /// Address and port, `NAME:PORT` or, for every address, `:PORT`; port 0 takes a free one, which the log names
    #[arg(long = "http", id = "http", value_name = "ADDRESS", default_value = "127.0.0.1:8000", value_parser = address)]
    pub address: SocketAddr,

    /// Address and port for operators, without TLS: /metrics and what needs the scope `admin` are answered there alone,
    /// and /livez and /readyz too, whatever clients do to the other one [default: none]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub probes: Option<SocketAddr>,

    /// Origins whose pages may read answers, with commas between or as several flags; `*` for all [default: none]
    #[arg(
        long = "cors-origin",
        id = "cors_origin",
        value_name = "ORIGIN",
        value_delimiter = ',',
        value_parser = origin
    )]
    pub cors_origins: Vec<String>,

    /// Most connections open at once; idle ones make room for more, which else wait in the system's backlog
    #[arg(long, value_name = "N", default_value = "4096", value_parser = between::<usize>(1..=1_000_000))]
    pub max_connections: usize,

    /// Most connections open at once from one address, further ones are closed; 0 for no limit, as behind a proxy
    #[arg(long, value_name = "N", default_value = "0", value_parser = between::<usize>(0..=1_000_000))]
    pub max_connections_per_address: usize,

    /// Largest body of a request in bytes, unpacked
    #[arg(long, value_name = "BYTES", default_value = "33554432", value_parser = between::<usize>(1..=1 << 30))]
    pub max_body_bytes: usize,

    /// Most images in one request
    #[arg(long, value_name = "N", default_value = "256", value_parser = between::<usize>(1..=1_000_000))]
    pub max_images: usize,

    /// Most images drawn by one request
    #[arg(long, value_name = "N", default_value = "64", value_parser = between::<u32>(1..=1_000_000))]
    pub max_samples: u32,

    /// Most pixels that the image files of one request may unpack to
    #[arg(long, value_name = "PIXELS", default_value = "26214400", value_parser = between::<u64>(1..=1 << 30))]
    pub max_decoded_pixels: u64,

    /// Seconds an idle connection is kept; more than those of the load balancer before the server
    #[arg(long, value_name = "SECONDS", default_value = "75", value_parser = seconds)]
    pub keep_alive_timeout: Duration,

    /// Seconds a client may take to send the head of a request, from its first byte
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub header_timeout: Duration,

    /// Seconds a client may take to send the body, or a message of gRPC
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub body_timeout: Duration,

    /// Seconds an answer may wait for its client to take more of it; who takes less than 16 kB a second uses them up
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub unread_timeout: Duration,

    /// Seconds until a request that names no deadline is answered with 504
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub request_timeout: Duration,

    /// Seconds that no deadline may exceed; also the deadline of sampling and completion
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub max_request_timeout: Duration,

    /// Seconds between /readyz saying no and the end of new connections after SIGTERM or SIGINT, for load balancers to
    /// notice
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds_or_zero)]
    pub drain_delay: Duration,

    /// Seconds that accepted work may take to finish after SIGTERM or SIGINT, or once its client's certificate is no
    /// longer good
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub drain_timeout: Duration,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "gRPC")]
pub struct GrpcSettings {
    /// Address and port as for HTTP, or `off`; limits are those of HTTP
    #[arg(long = "grpc", id = "grpc", value_name = "ADDRESS", default_value = "127.0.0.1:8001", value_parser = listen)]
    pub address: Listen,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Security")]
pub struct SecuritySettings {
    /// File of keys, as `density-server key` makes them; only who has one is answered [default: none: everybody is]
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,

    /// Certificate of the server and those between it and the root, in PEM: HTTP and gRPC speak TLS [default: none]
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,

    /// Its private key, in PEM [default: none]
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Roots of the certificates that clients must show, in PEM [default: none: they need not]
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,

    /// Lists of their certificates that were revoked, one for every issuer on the way to a root, in PEM [default: none]
    #[arg(long, value_name = "FILE")]
    pub tls_client_crl: Option<PathBuf>,

    /// What tells clients without keys apart, for fair shares and rates; behind a proxy that is not among the trusted
    /// ones all have its address
    #[arg(long, value_name = "WHAT", default_value = "none")]
    pub clients_by: ClientsBy,

    /// Addresses or networks, such as 10.0.0.0/8, with commas between: proxies whose X-Forwarded-For is believed
    /// [default: none]
    #[arg(long, value_name = "NETWORKS", value_delimiter = ',', value_parser = network)]
    pub trusted_proxies: Vec<Network>,

    /// Seconds of one thread that a client may use in a second, in the long run; 0 for no limit
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds_or_zero)]
    pub client_rate: Duration,

    /// Seconds of one thread that a client may use at once
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub client_burst: Duration,

    /// Whether the system is to hold the server to its repository, records and temporary files, without connections to
    /// others; Linux 5.13 and later
    #[arg(long, value_name = "WHETHER", default_value = "false")]
    #[arg(action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub sandbox: bool,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq, Args)]
#[command(next_help_heading = "Log")]
pub struct LogSettings {
    /// How a line looks
    #[arg(
        long = "log-format",
        id = "log_format",
        value_name = "FORMAT",
        default_value = "text"
    )]
    pub format: LogFormat,

    /// What is logged, for example `debug` or `info,density_server::repository=debug`
    #[arg(long = "log-filter", id = "log_filter", value_name = "FILTER", value_parser = log_filter)]
    #[arg(default_value = "info,ort=warn,notify=warn")]
    pub filter: String,
}

#[allow(missing_docs)]
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(next_help_heading = "Traces")]
pub struct TraceSettings {
    /// Collector of OpenTelemetry that requests are traced for, by OTLP over gRPC: `http://NAME:PORT`. The variables
    /// OTEL_… say how many and under which name [default: none]
    #[arg(long, value_name = "URL", value_parser = collector)]
    pub otlp_endpoint: Option<String>,
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl Default for Settings {
    fn default() -> Self {
        let nothing = Settings::augment_args(Command::new("")).get_matches_from([""]);
        #[allow(clippy::expect_used)] // Every setting has a default or is optional; a test makes this call.
        Settings::from_arg_matches(&nothing).expect("defaults are possible values")
    }
}

impl Settings {
    /// Holds settings that concern one another to each other.
    pub fn agreed(mut self) -> Result<Self, SettingsError> {
        // A variable that is set to nothing names nothing.
        self.models.required_models.retain(|name| !name.is_empty());
        let http = &mut self.http;
        let ceiling = http.max_request_timeout;
        // A ceiling below the default deadline lowers it; a deadline that is written above the ceiling is a mistake.
        if http.request_timeout > ceiling {
            if http.request_timeout != Self::default().http.request_timeout {
                return Err(SettingsError::Deadline {
                    deadline: http.request_timeout,
                    ceiling,
                });
            }
            http.request_timeout = ceiling;
        }
        if self.models.model_control == ModelControl::Kept && self.models.records().is_none() {
            return Err(SettingsError::NothingToKeepIn);
        }
        let security = &self.security;
        let has_clients = security.keys.is_some() || security.clients_by != ClientsBy::None;
        if !security.client_rate.is_zero() && !has_clients {
            return Err(SettingsError::NoClients);
        }
        // Half of it would leave the server without TLS, and nobody would notice.
        let tls = [&security.tls_certificate, &security.tls_key].map(Option::is_some);
        if tls[0] != tls[1] || security.tls_client_ca.is_some() && !tls[0] {
            return Err(SettingsError::HalfOfTls);
        }
        if security.tls_client_crl.is_some() && security.tls_client_ca.is_none() {
            return Err(SettingsError::NobodyToRevoke);
        }
        Ok(self)
    }

    /// The file of ONNX Runtime's library: the one named, or else the one that `make runtime` fetched.
    pub fn onnxruntime_library(&self) -> Result<PathBuf, SettingsError> {
        library::find(self.models.onnxruntime.as_deref(), self.models.device)
    }
}

impl ModelSettings {
    /// Where it is kept what load gates found, if anywhere.
    pub fn records(&self) -> Option<PathBuf> {
        match &self.proof_records {
            // Hidden, so that it is not taken for a model.
            None => Some(self.repository.join(".proofs")),
            Some(word) if word.as_os_str() == "none" => None,
            Some(path) => Some(path.clone()),
        }
    }
}

#[cfg(test)]
mod tests;
