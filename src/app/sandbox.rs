//! What this process may still do once it has started: read its models and libraries, write where it keeps things, and
//! call nobody but the collector of traces. The system holds it to that, also where a hostile model has taken over.

use std::path::{Path, PathBuf};

use crate::settings::Settings;

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
#[error("--sandbox is not possible: {0}")]
pub struct SandboxError(String);

/// Where the libraries lie that ONNX Runtime's own needs, and what it and the metrics read of the machine.
#[cfg(target_os = "linux")]
const MACHINE: [&str; 13] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/proc",
    "/sys/bus",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
];

/// What turns the name of a collector into an address.
#[cfg(target_os = "linux")]
const NAMES: [&str; 4] = ["/etc/hosts", "/etc/host.conf", "/etc/nsswitch.conf", "/etc/resolv.conf"];

/// Enters it, with all threads that are started from here on.
#[cfg(target_os = "linux")]
pub fn enter(settings: &Settings) -> Result<(), SandboxError> {
    use landlock::{
        ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, Ruleset, RulesetAttr, RulesetCreatedAttr,
        RulesetStatus, path_beneath_rules,
    };

    let library = settings.onnxruntime_library();
    let library = library.map_err(|error| SandboxError(error.to_string()))?;
    // Nothing is ever executed.
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let readable = readable(settings, &library);
    let writable = writable(settings);
    let collector = collector(settings).map(|port| NetPort::new(port, AccessNet::ConnectTcp));
    let restrict = || {
        Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_all(ABI::V1))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(ABI::V5))?
            .handle_access(AccessNet::from_all(ABI::V5))?
            .create()?
            .add_rules(path_beneath_rules(&readable, read))?
            .add_rules(path_beneath_rules(
                &writable,
                AccessFs::from_all(ABI::V5) & !AccessFs::Execute,
            ))?
            .add_rules(collector.into_iter().map(Ok::<_, landlock::RulesetError>))?
            .restrict_self()
    };
    let status = restrict().map_err(|error: landlock::RulesetError| {
        SandboxError(format!(
            "the kernel does not do it, or not any more for this process: {error}"
        ))
    })?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => tracing::info!("in a sandbox: files and connections"),
        _ => tracing::warn!("in a sandbox, but this kernel does not know all of its rules; 6.10 and later ones do"),
    }
    Ok(())
}

/// Only Linux has what it takes.
#[cfg(not(target_os = "linux"))]
pub fn enter(_: &Settings) -> Result<(), SandboxError> {
    Err(SandboxError("it needs Linux".to_owned()))
}

/// The library, its own libraries, the machine, and folders of keys and certificates: these change by being replaced.
#[cfg(target_os = "linux")]
fn readable(settings: &Settings, library: &Path) -> Vec<PathBuf> {
    let security = &settings.security;
    let files = [
        security.keys.as_deref(),
        security.tls_certificate.as_deref(),
        security.tls_key.as_deref(),
        security.tls_client_ca.as_deref(),
        security.tls_client_crl.as_deref(),
        Some(library),
        // What a link of that name leads to.
        library.canonicalize().ok().as_deref(),
    ]
    .map(|file| file.map(folder_of));
    let names = collector(settings).map_or(&[][..], |_| &NAMES);
    let machine = MACHINE.iter().chain(names).map(PathBuf::from);
    files.into_iter().flatten().chain(machine).collect()
}

/// The port at which traces are collected, the only one that may be called.
#[cfg(target_os = "linux")]
fn collector(settings: &Settings) -> Option<u16> {
    let endpoint = settings.traces.otlp_endpoint.as_deref()?;
    endpoint.rsplit_once(':')?.1.parse().ok()
}

/// The repository, which also holds drift; the records of proofs; temporary files.
#[cfg(target_os = "linux")]
fn writable(settings: &Settings) -> Vec<PathBuf> {
    let mut folders = vec![settings.models.repository.clone(), std::env::temp_dir()];
    if let Some(records) = settings.models.records() {
        // One that is not there cannot be let in. If it cannot be made, there is nothing to write to.
        let _ = std::fs::create_dir_all(&records);
        folders.push(records);
    }
    folders
}

#[cfg(target_os = "linux")]
fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if folder != Path::new("") => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
