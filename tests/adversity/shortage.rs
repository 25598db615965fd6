//! Machines that give too little, memory or threads, and operators who mean a setting and name none.

use std::{io::Read, process::Command};

use super::command::{self, binary, fixtures, server::Server};

/// With too little memory the server starts or says why not, and what loads or does not is said in words.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_memory_is_said_and_nothing_panics() {
    for megabytes in [700, 500, 400, 300, 200, 100, 50] {
        let script = format!("ulimit -v {}; exec \"$@\"", megabytes << 10);
        let mut limited = Command::new("sh");
        limited.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_density-server"), "serve"]);
        limited.args([
            "--http",
            "127.0.0.1:0",
            "--grpc",
            "off",
            "--workers",
            "1",
            "--proof-records",
            "none",
        ]);
        limited
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("DENSITY_REPOSITORY", fixtures());
        let mut process = limited.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let mut log = String::new();
        let mut stderr = process.stderr.take().unwrap();
        // Up to the line that says that it listens, or to its end.
        let mut byte = [0];
        while !log.contains("listening on") && stderr.read(&mut byte).unwrap() > 0 {
            log.push(char::from(byte[0]));
        }
        process.kill().unwrap();
        process.wait().unwrap();
        eprintln!("{megabytes} MB: {log}");
        assert!(!log.contains("panicked"), "{megabytes} MB: {log}");
        // Either it serves or it speaks of memory, of threads, or of the library that does not fit. In less it does not
        // even begin.
        let words = ["listening on", "memory", "no thread", "could not be loaded"];
        let is_said = words.iter().any(|word| log.contains(word));
        assert!(is_said || megabytes < 100, "{megabytes} MB: {log}");
    }
}

/// A variable that nobody reads looks like a setting that has no effect.
#[test]
fn a_variable_that_is_no_setting_is_told_and_changes_nothing() {
    let told = "DENSITY_HTTP_ADDRESS (meant is DENSITY_HTTP?)";
    let mut serving = binary();
    serving.env("DENSITY_HTTP_ADDRESS", "127.0.0.1:1");
    serving.args([
        "serve",
        "--http",
        "127.0.0.1:0",
        "--grpc",
        "off",
        "--log-format",
        "json",
    ]);
    let mut log = String::new();
    let mut server = Server::spawn_with(serving, &fixtures(), |line| log.push_str(line));
    assert!(server.get("/readyz").starts_with("HTTP/1.1 200"));
    assert!(log.contains(told), "{log}");
    server.process.kill().unwrap();
    let doctor = binary()
        .arg("doctor")
        .env("DENSITY_HTTP_ADDRESS", "127.0.0.1:1")
        .output()
        .unwrap();
    assert!(command::said(&doctor).contains(told), "{}", command::said(&doctor));
}
