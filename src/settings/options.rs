//! Settings as they are written: every value optional, from flags and environment (clap) or from a file (serde).
//!
//! The doc comments here are the text of `--help`. Nothing here judges a value or knows a default as a number; that is
//! `settings`, and a test holds the defaults in the help to those.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use clap::{Args, ValueEnum};
use serde::Deserialize;

/// Everything that flags, environment or file may say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Section `[models]`.
    pub models: ModelOptions,
    /// Section `[work]`.
    pub work: WorkOptions,
    /// Section `[http]`.
    pub http: HttpOptions,
    /// Section `[grpc]`.
    pub grpc: GrpcOptions,
    /// Section `[log]`.
    pub log: LogOptions,
}

/// Section `[models]`: what is loaded, and with which library.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Models")]
pub struct ModelOptions {
    /// Folder of models, each in `<name>/<version>/model.toml` [default: models/repository]
    #[arg(long, value_name = "FOLDER", env = "DENSITY_REPOSITORY", hide_env_values = true)]
    pub repository: Option<PathBuf>,

    /// Seconds between looks for new and removed versions; 0 looks on SIGHUP only [default: 0]
    #[arg(long, value_name = "SECONDS", env = "DENSITY_POLL_INTERVAL", hide_env_values = true)]
    pub poll_interval: Option<f64>,

    /// Seconds that loading and proving one version may take; what takes longer is refused [default: 120]
    #[arg(long, value_name = "SECONDS", env = "DENSITY_LOAD_TIMEOUT", hide_env_values = true)]
    pub load_timeout: Option<f64>,

    /// Folder where it is kept what load gates found, so that a later start need not prove the same again; `none`
    /// proves everything at every start [default: `.proofs` in the repository]
    #[arg(long, value_name = "FOLDER", env = "DENSITY_PROOF_RECORDS", hide_env_values = true)]
    pub proof_records: Option<PathBuf>,

    /// Names of the models, with commas between, that must serve before /readyz says so [default: any model will do]
    #[arg(long, value_name = "NAMES", env = "DENSITY_REQUIRED_MODELS", hide_env_values = true)]
    pub required_models: Option<String>,

    /// ONNX Runtime's shared library, or the folder that holds it [default: ORT_DYLIB_PATH, else .runtime/ here or
    /// above the executable]
    #[arg(long, value_name = "FILE", env = "DENSITY_ONNXRUNTIME", hide_env_values = true)]
    pub onnxruntime: Option<PathBuf>,
}

/// Section `[work]`: threads, batches and queues.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Work")]
pub struct WorkOptions {
    /// Threads that run models [default: the number of cores]
    #[arg(long, value_name = "N", env = "DENSITY_WORKERS", hide_env_values = true)]
    pub workers: Option<usize>,

    /// Most images scored or encoded in one run of a graph [default: 32]
    #[arg(long, value_name = "ROWS", env = "DENSITY_MAX_BATCH_ROWS", hide_env_values = true)]
    pub max_batch_rows: Option<usize>,

    /// Most images in one step of sampling; a step holds up its thread, so fewer let other work in sooner [default: 16]
    #[arg(long, value_name = "ROWS", env = "DENSITY_MAX_STEP_ROWS", hide_env_values = true)]
    pub max_step_rows: Option<usize>,

    /// Scoring, judging, encoding and decoding that may wait, in estimated seconds of one thread; while so much waits,
    /// requests are answered with 429 [default: 10]
    #[arg(
        long,
        value_name = "SECONDS",
        env = "DENSITY_INTERACTIVE_QUEUE",
        hide_env_values = true
    )]
    pub interactive_queue: Option<f64>,

    /// Sampling and completion that may wait, in estimated seconds of one thread; while so much waits, requests are
    /// answered with 429 [default: 600]
    #[arg(long, value_name = "SECONDS", env = "DENSITY_BULK_QUEUE", hide_env_values = true)]
    pub bulk_queue: Option<f64>,
}

/// Section `[http]`: the address and what one client may ask for.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "HTTP")]
pub struct HttpOptions {
    /// Address and port, `NAME:PORT` or, for every address, `:PORT`; port 0 takes a free one, which the log names
    /// [default: 127.0.0.1:8000]
    #[arg(long, value_name = "ADDRESS", env = "DENSITY_HTTP", hide_env_values = true)]
    #[serde(rename = "address")]
    pub http: Option<String>,

    /// Address and port at which /livez, /readyz and /metrics are answered too, whatever clients do to the other one
    /// [default: none]
    #[arg(long, value_name = "ADDRESS", env = "DENSITY_PROBES", hide_env_values = true)]
    pub probes: Option<String>,

    /// Origins whose pages may read answers, with commas between or as several flags; `*` for all [default: none]
    #[arg(
        long = "cors-origin",
        id = "cors_origin",
        value_name = "ORIGIN",
        value_delimiter = ',',
        env = "DENSITY_CORS_ORIGIN",
        hide_env_values = true
    )]
    #[serde(rename = "cors_origins")]
    pub cors_origin: Option<Vec<String>>,

    /// Most connections open at once; more wait in the system's backlog [default: 1024]
    #[arg(long, value_name = "N", env = "DENSITY_MAX_CONNECTIONS", hide_env_values = true)]
    pub max_connections: Option<usize>,

    /// Most connections open at once from one address, further ones are closed; 0 for no limit, as behind a proxy
    /// [default: 0]
    #[arg(
        long,
        value_name = "N",
        env = "DENSITY_MAX_CONNECTIONS_PER_ADDRESS",
        hide_env_values = true
    )]
    pub max_connections_per_address: Option<usize>,

    /// Largest body of a request in bytes, unpacked [default: 33554432]
    #[arg(long, value_name = "BYTES", env = "DENSITY_MAX_BODY_BYTES", hide_env_values = true)]
    pub max_body_bytes: Option<usize>,

    /// Most images in one request [default: 256]
    #[arg(long, value_name = "N", env = "DENSITY_MAX_IMAGES", hide_env_values = true)]
    pub max_images: Option<usize>,

    /// Most images drawn by one request [default: 64]
    #[arg(long, value_name = "N", env = "DENSITY_MAX_SAMPLES", hide_env_values = true)]
    pub max_samples: Option<u32>,

    /// Most pixels that the image files of one request may unpack to [default: 16777216]
    #[arg(
        long,
        value_name = "PIXELS",
        env = "DENSITY_MAX_DECODED_PIXELS",
        hide_env_values = true
    )]
    pub max_decoded_pixels: Option<u64>,

    /// Seconds an idle connection is kept; more than those of the load balancer before the server [default: 75]
    #[arg(
        long,
        value_name = "SECONDS",
        env = "DENSITY_KEEP_ALIVE_TIMEOUT",
        hide_env_values = true
    )]
    pub keep_alive_timeout: Option<f64>,

    /// Seconds a client may take to send the head of a request, from its first byte [default: 10]
    #[arg(long, value_name = "SECONDS", env = "DENSITY_HEADER_TIMEOUT", hide_env_values = true)]
    pub header_timeout: Option<f64>,

    /// Seconds a client may take to send the body [default: 30]
    #[arg(long, value_name = "SECONDS", env = "DENSITY_BODY_TIMEOUT", hide_env_values = true)]
    pub body_timeout: Option<f64>,

    /// Seconds until a request that names no deadline is answered with 504 [default: 60]
    #[arg(
        long,
        value_name = "SECONDS",
        env = "DENSITY_REQUEST_TIMEOUT",
        hide_env_values = true
    )]
    pub request_timeout: Option<f64>,

    /// Seconds that no deadline may exceed; also the deadline of sampling and completion [default: 600]
    #[arg(
        long,
        value_name = "SECONDS",
        env = "DENSITY_MAX_REQUEST_TIMEOUT",
        hide_env_values = true
    )]
    pub max_request_timeout: Option<f64>,

    /// Seconds between /readyz saying no and the end of new connections after SIGTERM or SIGINT, for load balancers to
    /// notice [default: 0]
    #[arg(long, value_name = "SECONDS", env = "DENSITY_DRAIN_DELAY", hide_env_values = true)]
    pub drain_delay: Option<f64>,

    /// Seconds that accepted work may take to finish after SIGTERM or SIGINT [default: 60]
    #[arg(long, value_name = "SECONDS", env = "DENSITY_DRAIN_TIMEOUT", hide_env_values = true)]
    pub drain_timeout: Option<f64>,
}

/// Section `[grpc]`: the address; limits are those of HTTP.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "gRPC")]
pub struct GrpcOptions {
    /// Address and port, or `off`; port 0 takes a free one, which the log names [default: 127.0.0.1:8001]
    #[arg(long, value_name = "ADDRESS", env = "DENSITY_GRPC", hide_env_values = true)]
    #[serde(rename = "address")]
    pub grpc: Option<Listen>,
}

/// Where to listen, if at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = text.parse().map(Self::At);
        address.map_err(|_| "neither `off` nor an address with a port, as in 127.0.0.1:8001".to_owned())
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// Section `[log]`: what is told on standard error.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[command(next_help_heading = "Log")]
pub struct LogOptions {
    /// How a line looks [default: text]
    #[arg(
        long = "log-format",
        id = "log_format",
        value_name = "FORMAT",
        env = "DENSITY_LOG_FORMAT",
        hide_env_values = true
    )]
    pub format: Option<LogFormat>,

    /// What is logged, for example `debug` or `info,density_server::repository=debug` [default: info,ort=warn for
    /// serve, else warn]
    #[arg(
        long = "log-filter",
        id = "log_filter",
        value_name = "FILTER",
        env = "DENSITY_LOG_FILTER",
        hide_env_values = true
    )]
    pub filter: Option<String>,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}
