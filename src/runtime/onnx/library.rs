//! The shared library of ONNX Runtime: loading it, with the pool that all graphs share, and telling which build it is.

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    time::UNIX_EPOCH,
};

use ort::{
    environment::{Environment, GlobalThreadPoolOptions},
    logging::LogLevel,
};

use super::{
    super::{Device, RuntimeError},
    failure, shared_threads,
};

/// ONNX Runtime allows one environment in a process; it is made once and kept until the process ends.
static ENVIRONMENT: OnceLock<Result<Environment, RuntimeError>> = OnceLock::new();

/// The level of the API that is used of the library, and what that says of its build; it must have been loaded.
pub fn build() -> String {
    format!("API level {}, {}", ort::MINOR_VERSION, ort::info())
}

/// The environment of the process, made of the library at the first call.
pub(super) fn environment(library: &Path) -> Result<Environment, RuntimeError> {
    ENVIRONMENT.get_or_init(|| initialize(library)).clone()
}

/// What tells a build of the library, with those beside it that devices need, from others.
pub(super) fn stamp(library: &Path) -> Option<String> {
    let mut stamps = vec![ort::info().to_owned()];
    let library = library.canonicalize().ok()?;
    for file in std::iter::once(library.clone()).chain(of_devices(&library)) {
        let metadata = file.metadata().ok()?;
        let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        stamps.push(format!("{} bytes of {}", metadata.len(), changed.as_nanos()));
    }
    Some(stamps.join(", "))
}

/// What devices need in the same folder, in order.
fn of_devices(library: &Path) -> Vec<PathBuf> {
    let entries = library.parent().and_then(|folder| folder.read_dir().ok());
    let paths = entries
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libonnxruntime_providers") || name.starts_with("libopenvino")
    };
    let mut all: Vec<PathBuf> = paths.filter(is_one).collect();
    all.sort();
    all
}

fn initialize(library: &Path) -> Result<Environment, RuntimeError> {
    let unusable = |cause: String| {
        RuntimeError::Library(format!(
            "ONNX Runtime could not be loaded from {}: {cause}. The server needs the shared library of version \
             {}: `make runtime` fetches it, or name one with --onnxruntime or ORT_DYLIB_PATH",
            library.display(),
            Device::Cpu.runtime_version()
        ))
    };
    // The loader of the system does not say what it could not open.
    if let Err(error) = std::fs::File::open(library) {
        return Err(unusable(error.to_string()));
    }
    // Loading the library comes before any other use of the API, which would look for a library of its own and panic.
    let environment = ort::init_from(library).map_err(|error| {
        unusable(format!(
            "{error}: it is damaged, made for another machine, or a library that it needs is missing (`ldd` tells)"
        ))
    })?;
    let pool = GlobalThreadPoolOptions::default()
        .with_intra_threads(shared_threads())
        .and_then(|options| options.with_inter_threads(1))
        .and_then(|options| options.with_spin_control(false))
        .map_err(|error| unusable(error.to_string()))?;
    let environment = environment
        .with_name("density-server")
        .with_telemetry(false)
        .with_global_thread_pool(pool)
        .build()
        .map_err(|error| {
            let said = error.to_string();
            let starts_nothing = |shortage| RuntimeError::Library(format!("ONNX Runtime does not start: {shortage}"));
            failure::shortage(&said).map_or_else(|| unusable(said), starts_nothing)
        })?;
    // The runtime formats every message before it asks whether anyone listens, several for each run: a tenth of a small
    // graph's time.
    environment.set_log_level(LogLevel::Warning);
    tracing::debug!(library = %library.display(), build = ort::info(), "ONNX Runtime loaded");
    Ok(environment)
}
