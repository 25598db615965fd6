//! Lays what was written over the defaults, key by key, and refuses what cannot be.

use std::{
    fmt::Display,
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    time::Duration,
};

use tracing_subscriber::EnvFilter;

use super::{
    GrpcSettings, HttpSettings, LogSettings, ModelSettings, SettingsError, WorkSettings,
    merge::{Key, Source, Written},
};

impl ModelSettings {
    pub(super) fn lay(&mut self, written: &Written) -> Result<(), SettingsError> {
        let key = Key::new("models.repository", "repository");
        if let Some((path, _)) = written.pick_path(key, |o| &o.models.repository) {
            self.repository = path;
        }
        let key = Key::new("models.poll_interval", "poll_interval");
        match written.pick(key, |o| &o.models.poll_interval) {
            Some((0.0, _)) => self.poll_interval = None,
            Some((value, source)) => self.poll_interval = Some(seconds(value, source)?),
            None => {}
        }
        let key = Key::new("models.load_timeout", "load_timeout");
        let given = written.pick(key, |o| &o.models.load_timeout);
        set_seconds(&mut self.load_timeout, given)?;
        let key = Key::new("models.proof_records", "proof_records");
        let named = written.pick(key, |o| &o.models.proof_records);
        self.proof_records = match named {
            // Hidden, so that it is not taken for a model.
            None => Some(self.repository.join(".proofs")),
            Some((word, _)) if word == Path::new("none") => None,
            Some(_) => written
                .pick_path(key, |o| &o.models.proof_records)
                .map(|(path, _)| path),
        };
        let key = Key::new("models.required_models", "required_models");
        if let Some((names, _)) = written.pick(key, |o| &o.models.required_models) {
            let names = names.split(',').map(str::trim);
            self.required_models = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
        }
        let key = Key::new("models.onnxruntime", "onnxruntime");
        let named = written.pick_path(key, |o| &o.models.onnxruntime);
        // ONNX Runtime's own variable is environment too: it beats the file, and our variable beats it.
        let theirs = written.ort_dylib_path.as_ref().map(PathBuf::from);
        self.onnxruntime = match (named, theirs) {
            (Some((_, Source::File { .. })) | None, Some(path)) => Some(path),
            (Some((path, _)), _) => Some(path),
            (None, None) => self.onnxruntime.take(),
        };
        Ok(())
    }
}

impl WorkSettings {
    pub(super) fn lay(&mut self, written: &Written) -> Result<(), SettingsError> {
        let key = Key::new("work.workers", "workers");
        set(&mut self.workers, written.pick(key, |o| &o.work.workers), 1..=1024)?;
        let key = Key::new("work.max_batch_rows", "max_batch_rows");
        set(
            &mut self.max_batch_rows,
            written.pick(key, |o| &o.work.max_batch_rows),
            1..=4096,
        )?;
        let key = Key::new("work.max_step_rows", "max_step_rows");
        let given = written.pick(key, |o| &o.work.max_step_rows);
        set(&mut self.max_step_rows, given, 1..=4096)?;
        let key = Key::new("work.interactive_queue", "interactive_queue");
        let given = written.pick(key, |o| &o.work.interactive_queue);
        set_seconds(&mut self.interactive_queue, given)?;
        let key = Key::new("work.bulk_queue", "bulk_queue");
        set_seconds(&mut self.bulk_queue, written.pick(key, |o| &o.work.bulk_queue))
    }
}

impl HttpSettings {
    pub(super) fn lay(&mut self, written: &Written) -> Result<(), SettingsError> {
        let key = Key::new("http.address", "http");
        if let Some((address, source)) = written.pick(key, |o| &o.http.http) {
            self.address = socket_address(&address, source)?;
        }
        let key = Key::new("http.probes", "probes");
        if let Some((address, source)) = written.pick(key, |o| &o.http.probes) {
            self.probes = Some(socket_address(&address, source)?);
        }
        let key = Key::new("http.cors_origins", "cors_origin");
        if let Some((origins, source)) = written.pick(key, |o| &o.http.cors_origin) {
            if let Some(wrong) = origins.iter().find(|origin| !is_origin(origin)) {
                let reason =
                    "an origin is a scheme, a host and perhaps a port, such as https://example.org, or it is *";
                return Err(refuse(source, wrong, reason));
            }
            self.cors_origins = origins;
        }
        let key = Key::new("http.max_connections_per_address", "max_connections_per_address");
        set(
            &mut self.max_connections_per_address,
            written.pick(key, |o| &o.http.max_connections_per_address),
            0..=1_000_000,
        )?;
        let key = Key::new("http.max_connections", "max_connections");
        set(
            &mut self.max_connections,
            written.pick(key, |o| &o.http.max_connections),
            1..=1_000_000,
        )?;
        let key = Key::new("http.max_body_bytes", "max_body_bytes");
        set(
            &mut self.max_body_bytes,
            written.pick(key, |o| &o.http.max_body_bytes),
            1..=1 << 30,
        )?;
        let key = Key::new("http.max_images", "max_images");
        set(
            &mut self.max_images,
            written.pick(key, |o| &o.http.max_images),
            1..=1_000_000,
        )?;
        let key = Key::new("http.max_samples", "max_samples");
        set(
            &mut self.max_samples,
            written.pick(key, |o| &o.http.max_samples),
            1..=1_000_000,
        )?;
        let key = Key::new("http.max_decoded_pixels", "max_decoded_pixels");
        set(
            &mut self.max_decoded_pixels,
            written.pick(key, |o| &o.http.max_decoded_pixels),
            1..=1 << 30,
        )?;
        self.lay_timeouts(written)
    }

    fn lay_timeouts(&mut self, written: &Written) -> Result<(), SettingsError> {
        let key = Key::new("http.header_timeout", "header_timeout");
        set_seconds(&mut self.header_timeout, written.pick(key, |o| &o.http.header_timeout))?;
        let key = Key::new("http.keep_alive_timeout", "keep_alive_timeout");
        set_seconds(
            &mut self.keep_alive_timeout,
            written.pick(key, |o| &o.http.keep_alive_timeout),
        )?;
        let key = Key::new("http.drain_delay", "drain_delay");
        self.drain_delay = match written.pick(key, |o| &o.http.drain_delay) {
            Some((0.0, _)) => Duration::ZERO,
            Some((value, source)) => seconds(value, source)?,
            None => self.drain_delay,
        };
        let key = Key::new("http.body_timeout", "body_timeout");
        set_seconds(&mut self.body_timeout, written.pick(key, |o| &o.http.body_timeout))?;
        let key = Key::new("http.max_request_timeout", "max_request_timeout");
        set_seconds(
            &mut self.max_request_timeout,
            written.pick(key, |o| &o.http.max_request_timeout),
        )?;
        let key = Key::new("http.drain_timeout", "drain_timeout");
        set_seconds(&mut self.drain_timeout, written.pick(key, |o| &o.http.drain_timeout))?;

        let key = Key::new("http.request_timeout", "request_timeout");
        let given = written.pick(key, |o| &o.http.request_timeout);
        // A ceiling below the default deadline lowers it; a deadline that is written above the ceiling is a mistake.
        self.request_timeout = self.request_timeout.min(self.max_request_timeout);
        set_seconds(&mut self.request_timeout, given.clone())?;
        match given {
            Some((value, source)) if self.request_timeout > self.max_request_timeout => {
                let ceiling = self.max_request_timeout.as_secs_f64();
                let reason = format!("it must be at most max_request_timeout, which is {ceiling}");
                Err(refuse(source, value, reason))
            }
            _ => Ok(()),
        }
    }
}

impl GrpcSettings {
    pub(super) fn lay(&mut self, written: &Written) {
        let key = Key::new("grpc.address", "grpc");
        if let Some((address, _)) = written.pick(key, |o| &o.grpc.grpc) {
            self.address = address;
        }
    }
}

impl LogSettings {
    pub(super) fn lay(&mut self, written: &Written) -> Result<(), SettingsError> {
        let key = Key::new("log.format", "log_format");
        if let Some((format, _)) = written.pick(key, |o| &o.log.format) {
            self.format = format;
        }
        let key = Key::new("log.filter", "log_filter");
        if let Some((filter, source)) = written.pick(key, |o| &o.log.filter) {
            if let Err(error) = EnvFilter::builder().parse(&filter) {
                return Err(refuse(source, filter, error));
            }
            self.filter = filter;
        }
        Ok(())
    }
}

fn set<T: Copy + PartialOrd + Display>(
    slot: &mut T,
    given: Option<(T, Source)>,
    range: RangeInclusive<T>,
) -> Result<(), SettingsError> {
    let Some((value, source)) = given else {
        return Ok(());
    };
    if !range.contains(&value) {
        let reason = format!("it must be between {} and {}", range.start(), range.end());
        return Err(refuse(source, value, reason));
    }
    *slot = value;
    Ok(())
}

fn set_seconds(slot: &mut Duration, given: Option<(f64, Source)>) -> Result<(), SettingsError> {
    if let Some((value, source)) = given {
        *slot = seconds(value, source)?;
    }
    Ok(())
}

/// A time between a millisecond and a day.
fn seconds(value: f64, source: Source) -> Result<Duration, SettingsError> {
    if (0.001..=86_400.0).contains(&value) {
        Ok(Duration::from_secs_f64(value))
    } else {
        let reason = "it must be between 0.001 and 86400 seconds";
        Err(refuse(source, value, reason))
    }
}

/// An address to listen on: `ADDRESS:PORT`, `NAME:PORT`, or `:PORT` for every address of the machine.
fn socket_address(text: &str, source: Source) -> Result<SocketAddr, SettingsError> {
    let whole = if text.starts_with(':') {
        format!("{}{text}", Ipv4Addr::UNSPECIFIED)
    } else {
        text.to_owned()
    };
    let found = whole.to_socket_addrs().ok().and_then(|mut all| all.next());
    found.ok_or_else(|| {
        let reason = "it must be an address or the name of this machine and a port, such as 127.0.0.1:8000, localhost:8000 or :8000";
        refuse(source, text, reason)
    })
}

/// Whether this is an origin as browsers send it: `scheme://host` or `scheme://host:port`; a page in a file has the
/// origin `null`.
fn is_origin(text: &str) -> bool {
    let is_known = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    text == "*"
        || text == "null"
        || text
            .split_once("://")
            .is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty() && host.chars().all(is_known))
}

fn refuse(origin: Source, value: impl Display, reason: impl Display) -> SettingsError {
    SettingsError::Value {
        origin,
        value: value.to_string(),
        reason: reason.to_string(),
    }
}
