//! Why settings are refused: each message names the value, where it came from and what would be right.

use std::{path::PathBuf, time::Duration};

/// Why settings are refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SettingsError {
    /// The configuration file is not there or not text.
    #[error("the configuration file {} cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The configuration file is not TOML, or has keys that there are not.
    #[error("the configuration file {} is not valid: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A value that cannot be.
    #[error("{origin}: {value} is not possible: {reason}")]
    Value {
        /// Where it came from.
        origin: String,
        /// As written.
        value: String,
        /// What would be right.
        reason: String,
    },
    /// A default deadline beyond the longest one.
    #[error(
        "--request-timeout: {} is not possible: it must be at most --max-request-timeout, which is {}",
        deadline.as_secs_f64(),
        ceiling.as_secs_f64()
    )]
    Deadline {
        /// The default deadline.
        deadline: Duration,
        /// The longest one.
        ceiling: Duration,
    },
    /// Nowhere to keep what calls change.
    #[error(
        "--model-control: kept is not possible: it is kept in the folder of proof records, and --proof-records is none"
    )]
    NothingToKeepIn,
    /// A rate for clients that cannot be told apart.
    #[error("--client-rate tells how much a client may use: add --keys or --clients-by address, which tell them apart")]
    NoClients,
    /// A certificate without its key, or the reverse.
    #[error("TLS takes --tls-certificate and --tls-key together, and --tls-client-ca only with them")]
    HalfOfTls,
    /// Revoked certificates where none is asked for.
    #[error(
        "--tls-client-crl says which certificates of clients were revoked: it takes --tls-client-ca, their issuers"
    )]
    NobodyToRevoke,
    /// The library that was named is not there.
    #[error(
        "there is no ONNX Runtime library at {}: name a file such as libonnxruntime.so, or run `make runtime`",
        _0.display()
    )]
    NoLibraryAt(PathBuf),
    /// The folder that was named holds no library.
    #[error(
        "the folder {} holds no ONNX Runtime library (libonnxruntime.so…): run `make runtime` to fill .runtime/",
        _0.display()
    )]
    NoLibraryIn(PathBuf),
    /// No library was named and none was found.
    #[error(
        "ONNX Runtime's shared library was not found in {}: run `{command}`, or name it with --onnxruntime or \
         ORT_DYLIB_PATH",
        list(folders)
    )]
    NoLibrary {
        /// Where it was looked for.
        folders: Vec<PathBuf>,
        /// What fetches it.
        command: &'static str,
    },
}

fn list(folders: &[PathBuf]) -> String {
    let names: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
    names.join(", ")
}
