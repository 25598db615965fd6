//! The server over HTTP beside ONNX Runtime in process: same graph, same machine, same minute.
//!
//! `make bench` runs it. The real binary serves the committed models on a free port with its default settings; a light
//! client keeps 1, 16 and 64 requests of one PNG image in flight. Between these runs the best loop without a server
//! runs the same rewritten graph, so that a change of the machine's mood falls on both. At concurrency 1 no server can
//! have more than one image in hand, so there the limit is the best loop of one caller with one image; else it is the
//! best of all loops. A server that does nothing takes the same load between them: what is left of the limit beside it
//! is the ceiling of the ratio.
//!
//! Options after `--`: `--seconds N` for one measurement (8), `--repository FOLDER`.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod client;
mod limit;
mod nothing;
mod server;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use density_server::{
    domain::image::{Image, ImageShape},
    media,
    runtime::Device,
};
use serde_json::{Value, json};

use self::{
    client::{Load, Target},
    limit::{Limits, Rate},
    nothing::Nothing,
    server::Server,
};

/// Requests in flight.
const CONCURRENCIES: [usize; 3] = [1, 16, 64];

/// What is measured: a model, the operation asked of it, and the name of the same operation in the server's metrics.
const CASES: [(&str, &str); 2] = [("fashion-mnist-pixelcnn", "score"), ("fashion-mnist-vae", "encode")];

struct Options {
    point: Duration,
    repository: PathBuf,
}

/// One line of the table.
struct Point {
    model: &'static str,
    operation: &'static str,
    concurrency: usize,
    load: Load,
    limit: f64,
    /// Requests a second of the server that does nothing.
    nothing: f64,
    usage: server::Usage,
}

fn main() {
    let options = options();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let server = Server::start(&options.repository);
    let engine = limit::engine(cores);
    let version = Device::Cpu.runtime_version();
    println!("server at {}, {cores} cores, ONNX Runtime {version}", server.address);
    warn_of_company(cores);
    let mut points = Vec::new();
    let mut loops = Vec::new();
    for (model, operation) in CASES {
        let folder = options.repository.join(model).join("1");
        let limits = Limits::load(&engine, &folder, model, operation, cores);
        let rates = limits.survey(options.point / 4);
        println!("\n{model} {operation}: loops in process");
        for rate in &rates {
            println!("  {:<40} {:>9.1} images/s", rate.describe(), rate.images_per_second);
        }
        points.extend(measure(&server, &limits, &rates, (model, operation), &folder, &options));
        let rates = rates.iter().copied().map(Rate::to_json).collect::<Vec<_>>();
        loops.push(json!({"model": model, "operation": operation, "loops": rates}));
    }
    print_table(&points);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-http.json");
    let points: Vec<Value> = points.iter().map(Point::to_json).collect();
    let report = json!({
        "cores": cores,
        "onnxruntime": Device::Cpu.runtime_version(),
        "seconds_per_point": options.point.as_secs_f64(),
        "in_process": loops,
        "points": points,
    });
    fs::write(&path, format!("{report:#}\n")).unwrap();
    println!("\nwritten to {}", path.display());
}

/// Says so where the system's load tells that other programs share the cores: ratios then compare luck.
fn warn_of_company(cores: usize) {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let last_minute: Option<f64> = load.split(' ').next().and_then(|load| load.parse().ok());
    if let Some(load) = last_minute
        && load > cores as f64
    {
        println!("other programs are busy on this machine (load {load}): do not trust the ratios below");
    }
}

/// HTTP and in-process runs in turn: each concurrency stands between two runs of its limit.
fn measure(
    server: &Server,
    limits: &Limits,
    rates: &[Rate],
    (model, operation): (&'static str, &'static str),
    folder: &Path,
    options: &Options,
) -> Vec<Point> {
    let bodies = bodies(folder);
    let path = format!("/v1/models/{model}/{operation}");
    let target = Target {
        address: &server.address,
        path: &path,
        content_type: "image/png",
        headers: "",
    };
    client::run(&target, &bodies, 16, options.point / 4);
    let nothing = Nothing::start(&path, client::post(&target, &bodies[0]));
    let same = Target {
        address: &nothing.address,
        ..target
    };
    CONCURRENCIES
        .into_iter()
        .map(|concurrency| {
            let best = limit::best(rates, concurrency == 1);
            let before = limits.run(best, options.point / 2);
            let usage = server.usage(model, operation);
            let load = client::run(&target, &bodies, concurrency, options.point);
            let usage = server.usage(model, operation).since(&usage, load.seconds);
            let nothing = client::run(&same, &bodies, concurrency, options.point / 2);
            let after = limits.run(best, options.point / 2);
            Point {
                model,
                operation,
                concurrency,
                load,
                limit: (before + after) / 2.0,
                nothing: nothing.per_second(),
                usage,
            }
        })
        .collect()
}

/// The model's golden images as PNG files.
fn bodies(folder: &Path) -> Vec<Vec<u8>> {
    let array = fs::read(folder.join("golden_images.npy")).unwrap();
    let array = npyz::NpyFile::new(&array[..]).unwrap();
    let sides: Vec<usize> = array.shape().iter().map(|&side| side as usize).collect();
    assert_eq!(sides.len(), 3, "the models measured are grey");
    let shape = ImageShape::new(1, sides[1], sides[2], 256).unwrap();
    let levels = array.into_vec::<u8>().unwrap();
    levels
        .chunks(shape.dimensions())
        .map(|levels| media::png(&Image::new(shape, levels).unwrap()).unwrap())
        .collect()
}

fn options() -> Options {
    let mut options = Options {
        point: Duration::from_secs(8),
        repository: Path::new(env!("CARGO_MANIFEST_DIR")).join("models/repository"),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let value = arguments.next();
            value.unwrap_or_else(|| panic!("{argument} needs a value"))
        };
        match argument.as_str() {
            // Cargo says this to every benchmark.
            "--bench" => {}
            "--seconds" => options.point = Duration::from_secs_f64(value().parse().unwrap()),
            "--repository" => options.repository = PathBuf::from(value()),
            other => panic!("unknown argument {other}: --seconds N or --repository FOLDER"),
        }
    }
    options
}

fn print_table(points: &[Point]) {
    println!(
        "\n{:<31} {:>8} {:>11} {:>9} {:>9} {:>10} {:>6} {:>8} {:>8}   {:>7} {:>7} {:>9} {:>6}",
        "over HTTP",
        "requests",
        "requests",
        "p50",
        "p99",
        "in process",
        "ratio",
        "nothing",
        "ceiling",
        "server",
        "client",
        "inference",
        "rows"
    );
    println!(
        "{:<31} {:>8} {:>11} {:>9} {:>9} {:>10} {:>6} {:>8} {:>8}   {:>7} {:>7} {:>9} {:>6}",
        "", "at once", "a second", "ms", "ms", "images/s", "", "a second", "", "cores", "cores", "cores", "a run"
    );
    for point in points {
        println!(
            "{:<31} {:>8} {:>11.1} {:>9.2} {:>9.2} {:>10.1} {:>6.2} {:>8.0} {:>8.2}   {:>7.2} {:>7.2} {:>9.2} {:>6.1}",
            format!("{} {}", point.model, point.operation),
            point.concurrency,
            point.load.per_second(),
            point.load.quantile_ms(0.5),
            point.load.quantile_ms(0.99),
            point.limit,
            point.ratio(),
            point.nothing,
            point.ceiling(),
            point.usage.server_cores,
            point.usage.client_cores,
            point.usage.inference_cores,
            point.usage.rows_per_run,
        );
    }
    println!(
        "\nnothing: a server that does nothing. ceiling: the ratio of one that does no more and runs the graph as fast \
         as the\nloop. server, client: processor time used a second. inference: threads inside ONNX Runtime on \
         average; a thread that\nwaits for a core there counts too. What server spends beyond inference is HTTP, PNG, \
         JSON."
    );
}

impl Point {
    fn ratio(&self) -> f64 {
        self.load.per_second() / self.limit
    }

    /// The ratio that would be left if nothing but HTTP and the load itself took of the machine.
    fn ceiling(&self) -> f64 {
        self.nothing / (self.nothing + self.limit)
    }

    fn to_json(&self) -> Value {
        json!({
            "model": self.model,
            "operation": self.operation,
            "concurrency": self.concurrency,
            "requests_per_second": self.load.per_second(),
            "p50_ms": self.load.quantile_ms(0.5),
            "p99_ms": self.load.quantile_ms(0.99),
            "in_process_images_per_second": self.limit,
            "ratio": self.ratio(),
            "nothing_per_second": self.nothing,
            "ceiling": self.ceiling(),
            "server_cores": self.usage.server_cores,
            "client_cores": self.usage.client_cores,
            "inference_cores": self.usage.inference_cores,
            "rows_per_run": self.usage.rows_per_run,
        })
    }
}
