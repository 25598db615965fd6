//! Asks any server: keeps so many requests in flight for so long, and prints as JSON what came of it.
//!
//! Options after `--`: `--address HOST:PORT`, `--path PATH`, `--content-type TYPE`, `--header "name: value"`,
//! `--concurrency N`, `--seconds N`, and files, each the body of a request. With the content type `application/grpc` it
//! is the message of a call.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod client;
mod grpc;

use std::{fs, time::Duration};

use serde_json::json;

use self::client::Target;

fn main() {
    let mut options = [
        ("--address", String::new()),
        ("--path", "/".to_owned()),
        ("--content-type", "image/png".to_owned()),
        ("--header", String::new()),
        ("--concurrency", "1".to_owned()),
        ("--seconds", "5".to_owned()),
    ];
    let mut bodies = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match options.iter_mut().find(|(name, _)| *name == argument) {
            Some((_, value)) => *value = arguments.next().unwrap_or_else(|| panic!("{argument} needs a value")),
            // Cargo says this to every benchmark.
            None if argument == "--bench" => {}
            None => bodies.push(fs::read(&argument).unwrap_or_else(|error| panic!("{argument}: {error}"))),
        }
    }
    let [address, path, content_type, header, concurrency, seconds] = options.map(|(_, value)| value);
    let headers = if header.is_empty() {
        header
    } else {
        format!("{header}\r\n")
    };
    let target = Target {
        address: &address,
        path: &path,
        content_type: &content_type,
        headers: &headers,
    };
    let (concurrency, duration) = (
        concurrency.parse().unwrap(),
        Duration::from_secs_f64(seconds.parse().unwrap()),
    );
    let load = if content_type == "application/grpc" {
        grpc::attempt(&target, &bodies, concurrency, duration)
    } else {
        client::attempt(&target, &bodies, concurrency, duration)
    };
    let quantile = |share| (!load.latencies.is_empty()).then(|| load.quantile_ms(share));
    println!(
        "{}",
        json!({
            "per_second": load.per_second(),
            "p50_ms": quantile(0.5),
            "p99_ms": quantile(0.99),
            "errors": load.errors.len(),
            "error": load.errors.first(),
        })
    );
}
