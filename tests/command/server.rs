//! A running server for tests of its life: the real binary on free ports, and its log.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::binary;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A running server; killed when a test fails before it has ended.
pub struct Server {
    pub process: Child,
    pub log: BufReader<ChildStderr>,
    pub address: String,
    pub grpc: String,
    /// Where probes have a listener of their own.
    pub probes: String,
}

impl Server {
    /// Starts the binary on a free port and waits for the log line that names it.
    pub fn start(repository: &Path, arguments: &[&str]) -> Self {
        Self::start_as(binary(), repository, arguments)
    }

    /// The same with a binary whose environment is prepared.
    pub fn start_as(binary: Command, repository: &Path, arguments: &[&str]) -> Self {
        Self::start_with(binary, repository, arguments, |_| ())
    }

    /// The same, and hands over every line of the log up to then.
    pub fn start_with(mut binary: Command, repository: &Path, arguments: &[&str], heard: impl FnMut(&str)) -> Self {
        binary
            .args([
                "serve",
                "--http",
                "127.0.0.1:0",
                "--grpc",
                "127.0.0.1:0",
                "--log-format",
                "json",
            ])
            .args(arguments);
        Self::spawn_with(binary, repository, heard)
    }

    /// Spawns a command that serves, with a log in JSON, and waits for the line that names its addresses.
    pub fn spawn(command: Command, repository: &Path) -> Self {
        Self::spawn_with(command, repository, |_| ())
    }

    /// The same, and hands over every line of the log up to then.
    pub fn spawn_with(mut command: Command, repository: &Path, mut heard: impl FnMut(&str)) -> Self {
        let spawned = command
            .env("DENSITY_REPOSITORY", repository)
            .stderr(Stdio::piped())
            .spawn();
        let mut process = spawned.unwrap();
        let log = BufReader::new(process.stderr.take().unwrap());
        let mut server = Self {
            process,
            log,
            address: String::new(),
            grpc: String::new(),
            probes: String::new(),
        };
        let mut seen = String::new();
        while server.address.is_empty() {
            let start = seen.len();
            let length = server.log.read_line(&mut seen).unwrap();
            assert!(length > 0, "it ended:\n{seen}");
            heard(&seen[start..]);
            let line: Value = serde_json::from_str(&seen[start..]).unwrap();
            if let Some(address) = line["address"].as_str() {
                server.address = address.to_owned();
                server.grpc = line["grpc"].as_str().unwrap().to_owned();
            }
            if let Some(address) = line["probes"].as_str() {
                server.probes = address.to_owned();
            }
        }
        server
    }

    pub fn signal(&self, name: &str) {
        let process = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &process]).status();
        assert!(sent.unwrap().success());
    }

    /// The exit status and what was logged since the start.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let mut log = String::new();
        self.log.read_to_string(&mut log).unwrap();
        (self.process.wait().unwrap(), log)
    }

    /// Sends a request and reads the whole answer.
    pub fn ask(&self, method: &str, path: &str, content_type: &str, body: &[u8]) -> String {
        self.ask_with(method, path, &[("content-type", content_type)], body)
    }

    /// The same with headers.
    pub fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub fn get(&self, path: &str) -> String {
        self.ask("GET", path, "text/plain", b"")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that waited for the end has nothing left to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Asks again until the answer is as wanted.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come about");
        thread::sleep(Duration::from_millis(20));
    }
}
