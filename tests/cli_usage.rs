//! What the command line says before any model is loaded: help, bad arguments, bad settings.

#![allow(clippy::unwrap_used)]

mod command;

use std::fs;

use command::{binary, run, stderr, stdout, text};
use density_server::operations::Registry;

/// Commands that load models without a server: the operations, and what is done with models beside them.
fn offline() -> Vec<&'static str> {
    let operations = Registry::standard();
    let operations = operations.iter().map(|operation| operation.about().name);
    operations
        .chain(["check", "calibrate", "new-calibration", "evaluate"])
        .collect()
}

#[test]
fn help_explains_commands_settings_signals_and_exit_codes() {
    let help = stdout(&run(["--help"]), 0);
    for word in offline().into_iter().chain(["serve", "doctor", "key", "Exit codes:"]) {
        assert!(help.contains(word), "{word} in {help}");
    }
    let help = stdout(&run(["serve", "--help"]), 0);
    for word in [
        "--http <ADDRESS>",
        "[default: 127.0.0.1:8000]",
        "--grpc <ADDRESS>",
        "DENSITY_MAX_BODY_BYTES",
        "ORT_DYLIB_PATH",
        "SIGTERM",
        "SIGHUP",
        "[models]",
    ] {
        assert!(help.contains(word), "{word} in {help}");
    }
}

#[test]
fn offline_commands_hide_what_only_a_server_needs() {
    for command in offline() {
        let help = stdout(&run([command, "--help"]), 0);
        assert!(
            !help.contains("settings that matter"),
            "{command} says what it does: {help}"
        );
        assert!(help.contains("--repository"), "{help}");
        assert!(!help.contains("--bulk-queue"), "{help}");
        assert!(help.contains("Exit codes:"), "{help}");
    }
}

#[test]
fn a_bad_value_is_named_with_its_source() {
    let flag = run(["serve", "--workers", "0"]);
    assert_eq!(flag.status.code(), Some(2));
    assert!(
        stderr(&flag).contains("flag --workers: 0 is not possible"),
        "{}",
        stderr(&flag)
    );

    let variable = binary().arg("serve").env("DENSITY_WORKERS", "0").output();
    let message = stderr(&variable.unwrap());
    assert!(message.contains("environment variable DENSITY_WORKERS: 0"), "{message}");

    let variable = binary().arg("serve").env("DENSITY_WORKERS", "many").output();
    let message = stderr(&variable.unwrap());
    assert!(
        message.contains("environment variable DENSITY_WORKERS: many is not possible"),
        "{message}"
    );
}

#[test]
fn a_file_is_read_and_its_mistakes_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    let refuse = |content: &str, words: [&str; 2]| {
        fs::write(&file, content).unwrap();
        let output = run(["serve", "--config", text(&file)]);
        assert_eq!(output.status.code(), Some(2));
        for word in words {
            assert!(stderr(&output).contains(word), "{}", stderr(&output));
        }
    };
    refuse("[http]\nmax_imagse = 3", ["server.toml", "max_imagse"]);
    refuse("[http]\nmax_images = 0", ["key http.max_images", "between"]);
    refuse("[work]\nworkers = 'two'", ["server.toml", "workers"]);

    let absent = run(["serve", "--config", "/nowhere/server.toml"]);
    assert!(
        stderr(&absent).contains("/nowhere/server.toml cannot be read"),
        "{}",
        stderr(&absent)
    );
}

#[test]
fn a_missing_library_says_what_to_do() {
    let output = run(["score", "tiny-pixelcnn", "Cargo.toml", "--onnxruntime", "/nowhere/x.so"]);
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(
        message.contains("/nowhere/x.so") && message.contains("make runtime"),
        "{message}"
    );
}

#[test]
fn a_library_that_is_none_is_told_from_one_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libonnxruntime.so");
    std::fs::write(&library, "no library").unwrap();
    let library = library.to_str().unwrap();
    let output = run(["score", "tiny-pixelcnn", "Cargo.toml", "--onnxruntime", library]);
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(
        message.contains("it is damaged") && message.contains("make runtime"),
        "{message}"
    );
}

#[test]
fn a_port_in_use_is_said_at_once() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(["serve", "--http", &address]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains(&format!(
            "cannot listen on {address}, which is --http: Address already in use"
        )),
        "{}",
        stderr(&output)
    );
}

#[test]
fn an_unknown_model_is_answered_with_those_there_are() {
    let output = run(["score", "tiny-pixelcmm", "Cargo.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("tiny-pixelcnn"), "{}", stderr(&output));
}

#[test]
fn the_doctor_says_what_is_wrong_and_what_to_do() {
    let output = run([
        "doctor",
        "--json",
        "--http",
        "127.0.0.1:0",
        "--grpc",
        "off",
        "--proof-records",
        "none",
    ]);
    let report: serde_json::Value = serde_json::from_str(&stdout(&output, 0)).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let states = |name: &str| {
        let own = checks.iter().filter(|check| check["check"] == name);
        own.map(|check| check["state"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(report["healthy"], true);
    assert_eq!(
        (states("server"), states("library"), states("http")),
        (vec!["ok"], vec!["ok"], vec!["ok"])
    );
    assert!(states("model").len() >= 10, "{report:#}");
    if cfg!(target_os = "linux") {
        let memory = checks.iter().find(|check| check["check"] == "memory").unwrap();
        let found = memory["found"].as_str().unwrap();
        assert!(
            found.contains(" MiB free") && found.contains("models may take "),
            "{found}"
        );
    }

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run([
        "doctor",
        "--http",
        &address,
        "--grpc",
        "off",
        "--onnxruntime",
        "/nowhere/x.so",
    ]);
    let report = stdout(&output, 1);
    for line in [
        "fail  library ",
        "/nowhere/x.so",
        "make runtime",
        "warn  http ",
        "--http",
    ] {
        assert!(report.contains(line), "{line} in {report}");
    }
}

#[test]
fn what_a_package_installs_comes_from_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&run(["completions", shell]), 0);
        assert!(
            script.contains("max-images") && script.contains("reconstruct"),
            "{script}"
        );
    }
    let whole = stdout(&run(["man"]), 0);
    assert!(
        whole.contains(".TH density") && whole.contains("reconstruct"),
        "{whole}"
    );
    let one = stdout(&run(["man", "serve"]), 0);
    assert!(
        one.contains("density\\-server\\-serve") && one.contains("max\\-images"),
        "{one}"
    );
    assert_eq!(run(["man", "brew"]).status.code(), Some(2));
}
