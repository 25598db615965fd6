//! Asks any server: keeps so many requests in flight for so long, and prints as JSON what came of it.
//!
//! Options after `--`: `--address HOST:PORT`, `--path PATH`, `--content-type TYPE`, `--concurrency N`, `--seconds N`,
//! and files, each the body of a request.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod client;

use std::{fs, time::Duration};

use serde_json::json;

use self::client::Target;

fn main() {
    let mut options = [
        ("--address", String::new()),
        ("--path", "/".to_owned()),
        ("--content-type", "image/png".to_owned()),
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
    let [address, path, content_type, concurrency, seconds] = options.map(|(_, value)| value);
    let target = Target {
        address: &address,
        path: &path,
        content_type: &content_type,
    };
    let duration = Duration::from_secs_f64(seconds.parse().unwrap());
    let load = client::run(&target, &bodies, concurrency.parse().unwrap(), duration);
    println!(
        "{}",
        json!({
            "per_second": load.per_second(),
            "p50_ms": load.quantile_ms(0.5),
            "p99_ms": load.quantile_ms(0.99),
        })
    );
}
