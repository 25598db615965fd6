//! What tests of the command line share: running the real binary on the committed models.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod server;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// Tiny models with random weights.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/repository")
}

/// A model of the load gate's tests, which refuses it.
pub fn refused() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/refused")
}

/// The images on which a model's golden scores were computed.
pub fn golden_images(model: &str) -> PathBuf {
    fixtures().join(model).join("1/golden_images.npy")
}

/// The golden scores of a model in nats.
pub fn golden_scores(model: &str) -> Vec<f64> {
    let bytes = std::fs::read(fixtures().join(model).join("1/golden_scores.npy")).unwrap();
    npyz::NpyFile::new(&bytes[..]).unwrap().into_vec().unwrap()
}

/// The binary with no settings but the fixtures as its repository.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_density-server"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("DENSITY_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("DENSITY_REPOSITORY", fixtures())
        .stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub fn run<const N: usize>(arguments: [&str; N]) -> Output {
    binary().args(arguments).output().unwrap()
}

/// Standard output of a run that must have ended with `code`.
pub fn stdout(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command wrote, on both ways.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), stderr(output))
}

/// Standard error.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
