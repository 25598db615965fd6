//! The real binary with its default settings on a free port, and what it and this process use of the machine.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::client;

/// How long loading the models may take.
const START: Duration = Duration::from_secs(120);

/// A server that ends with this value.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: String,
}

/// Counters at one moment.
pub(crate) struct Counters {
    server_seconds: f64,
    client_seconds: f64,
    inference_seconds: f64,
    runs: f64,
    rows: f64,
}

/// What was used over a while.
pub(crate) struct Usage {
    pub(crate) server_cores: f64,
    pub(crate) client_cores: f64,
    pub(crate) inference_cores: f64,
    pub(crate) rows_per_run: f64,
}

impl Server {
    /// Starts the binary and waits until it listens.
    pub(crate) fn start(repository: &Path) -> Self {
        let log = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench-http.log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_density-server"));
        command
            .args([
                "serve",
                "--http",
                "127.0.0.1:0",
                "--grpc",
                "off",
                "--log-format",
                "json",
            ])
            .arg("--repository")
            .arg(repository)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap());
        let mut process = command.spawn().unwrap();
        let start = Instant::now();
        loop {
            let text = fs::read_to_string(&log).unwrap();
            if let Some(address) = text.lines().find_map(address_in) {
                return Self { process, address };
            }
            let ended = process.try_wait().unwrap();
            assert!(
                ended.is_none() && start.elapsed() < START,
                "the server does not listen:\n{text}"
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The counters of this process, of the server's, and of one operation in the server's metrics.
    pub(crate) fn usage(&self, model: &str, operation: &str) -> Counters {
        let metrics = client::get(&self.address, "/metrics");
        let labels = format!("{{model=\"{model}\",operation=\"{operation}\"}} ");
        let value = |name: &str| -> f64 {
            let start = format!("{name}{labels}");
            let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
            line.map_or(0.0, |value| value.parse().unwrap())
        };
        Counters {
            server_seconds: processor_seconds(&self.process.id().to_string()),
            client_seconds: processor_seconds("self"),
            inference_seconds: value("density_inference_duration_seconds_sum"),
            runs: value("density_batch_size_rows_count"),
            rows: value("density_batch_size_rows_sum"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nothing to end then.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Counters {
    /// What was used since `before`.
    pub(crate) fn since(&self, before: &Self, seconds: f64) -> Usage {
        Usage {
            server_cores: (self.server_seconds - before.server_seconds) / seconds,
            client_cores: (self.client_seconds - before.client_seconds) / seconds,
            inference_cores: (self.inference_seconds - before.inference_seconds) / seconds,
            rows_per_run: (self.rows - before.rows) / (self.runs - before.runs),
        }
    }
}

/// The address in a JSON log line that has one.
fn address_in(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(line.get("address")?.as_str()?.to_owned())
}

/// User and system time of a process, where the system tells it in /proc; elsewhere NaN.
fn processor_seconds(process: &str) -> f64 {
    /// Linux counts these in hundredths of a second on every architecture that ONNX Runtime is built for.
    const TICKS_PER_SECOND: f64 = 100.0;
    let Ok(text) = fs::read_to_string(format!("/proc/{process}/stat")) else {
        return f64::NAN;
    };
    // The second field is the command in parentheses, which may hold spaces; user and system time are fields 14 and 15.
    let after_command = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields: Vec<f64> = after_command
        .split(' ')
        .map(|field| field.trim().parse().unwrap_or(0.0))
        .collect();
    (fields[11] + fields[12]) / TICKS_PER_SECOND
}
