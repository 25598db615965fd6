//! Why the server does not start or run.

use std::{io, path::PathBuf};

use super::SandboxError;
use crate::{
    access::KeysError,
    runtime::RuntimeError,
    settings::SettingsError,
    trace::ExportError,
    transport::{grpc, tls::TlsError},
};

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
    /// What operators asked for cannot be read.
    #[error(
        "what was asked of models by calls is kept in control.json of {folder}, which cannot be read: {cause}; mend \
         the file, or remove it to load everything and pin nothing"
    )]
    Overrides {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A folder that is neither `<name>` nor `<name>/<version>`.
    #[error("{0} is not a model: a model is a folder <name>/<version> with a model.toml, where <version> is a number")]
    NotAModel(PathBuf),
    /// No keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// No certificate.
    #[error("TLS is not possible: {0}")]
    Tls(#[from] TlsError),
    /// No traces.
    #[error(transparent)]
    Traces(#[from] ExportError),
    /// No sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The gRPC contracts are broken.
    #[error("the gRPC services cannot be served: {0}")]
    Grpc(#[from] grpc::Broken),
    /// The system refused threads or connections.
    #[error("{}", of_system(.0))]
    System(#[from] io::Error),
}

fn of_system(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => format!(
            "no thread can be started: {error}; a limit of processes (`ulimit -u`, pids of a container) or of memory \
             (`ulimit -v`) is reached, and fewer --workers take less of both"
        ),
        _ => error.to_string(),
    }
}
