//! Drawing beside scoring and beside the naive loop: same model, same machine, same minute.
//!
//! `make bench` runs it. Everything goes through the service in process, with a worker for each core. The naive loop makes one full
//! pass for every pixel; at batch 1 it is run whole, at batch 64 some of its passes are run and multiplied, because the whole
//! would take minutes. The rounds alternate, so that a change of the machine's mood falls on all.
//!
//! Options after `--`: `--rounds N` (5), `--repository FOLDER`, `--draw-only N` to draw N images again and again and nothing else (for a
//! profile).

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use density_server::{
    domain::image::Image,
    media,
    metrics::Metrics,
    repository::{Network, Repository, gate},
    runtime::{Engine, Threads, onnx::OnnxEngine},
    scheduling::{Scheduler, SchedulerConfig},
    service::{
        Service, ServiceLimits,
        requests::{Observation, SampleOptions, ScoreOptions},
    },
    settings::Settings,
};

const MODEL: &str = "fashion-mnist-pixelcnn";

/// Passes of the naive loop that are run at batch 64.
const NAIVE_PASSES: u32 = 8;

fn main() {
    let (mut rounds, mut drawing) = (5, 0);
    let mut repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/repository");
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => rounds = arguments.next().unwrap().parse().unwrap(),
            "--repository" => repository = arguments.next().unwrap().into(),
            "--draw-only" => drawing = arguments.next().unwrap().parse().unwrap(),
            // Cargo passes it to every benchmark.
            "--bench" => {}
            other => panic!("unknown option {other}"),
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let library = std::env::var_os("ORT_DYLIB_PATH").map_or_else(
        || Settings::default().onnxruntime_library().unwrap(),
        PathBuf::from,
    );
    let engine: Arc<dyn Engine> = Arc::new(OnnxEngine::new(&library, cores).unwrap());
    let folder = repository.join(MODEL).join("1");
    let version = gate::load(&*engine, &folder, MODEL, 1).unwrap();
    let Network::Autoregressive(network) = &version.network else {
        panic!("{MODEL} is not autoregressive");
    };
    println!("{MODEL}, {cores} cores; drawn {}", network.compilation());
    let metrics = Arc::new(Metrics::new());
    let config = SchedulerConfig {
        workers: cores,
        ..SchedulerConfig::default()
    };
    let scheduler = Scheduler::start(config, &metrics).unwrap();
    let service = Service::new(
        Repository::new(&repository, Arc::clone(&engine)),
        scheduler,
        ServiceLimits::default(),
        metrics,
    );
    service.scan().unwrap();
    let model = service.model(MODEL, None).unwrap();
    let shape = model.shape();
    let bytes = std::fs::read(folder.join(&version.manifest.golden.images)).unwrap();
    let golden = media::read_images(&bytes, shape, 64).unwrap();
    let many: Vec<Image> = golden.iter().cycle().take(64).cloned().collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let far = || Instant::now() + Duration::from_secs(600);
    let score = |images: &[Image]| {
        let options = ScoreOptions::default();
        let start = Instant::now();
        let answer = runtime.block_on(service.score(&model, images.to_vec(), &options, far()));
        answer.unwrap();
        start.elapsed().as_secs_f64() / images.len() as f64
    };
    let draw = |n: u32, seed: u64| {
        let options = SampleOptions {
            n,
            seed,
            temperature: 1.0,
            observation: Observation::Sample,
            label: None,
        };
        let start = Instant::now();
        let answer = runtime.block_on(service.sample(&model, &options, None, far()));
        answer.unwrap();
        start.elapsed().as_secs_f64() / f64::from(n)
    };
    if drawing > 0 {
        for round in 0..rounds {
            println!("{:.3} ms an image", 1000.0 * draw(drawing, round));
        }
        return;
    }
    let naive = |images: &[Image], passes: u32| {
        let given: Vec<_> = images.iter().map(|image| image.levels().into()).collect();
        let start = Instant::now();
        for _ in 0..passes {
            network.logits(&given, Threads::All).unwrap();
        }
        let pass = start.elapsed().as_secs_f64() / f64::from(passes);
        pass * shape.dimensions() as f64 / images.len() as f64
    };
    let mut times: [Vec<f64>; 6] = Default::default();
    for round in 0..rounds {
        let measured = [
            median((0..32).map(|_| score(&many[..1]))),
            score(&many),
            median((0..8).map(|i| draw(1, 100 * round + i))),
            draw(64, round),
            naive(
                &many[..1],
                if round == 0 {
                    shape.dimensions() as u32
                } else {
                    100
                },
            ),
            naive(&many, NAIVE_PASSES),
        ];
        for (times, measured) in times.iter_mut().zip(measured) {
            times.push(measured);
        }
    }
    let [score_1, score_64, draw_1, draw_64, naive_1, naive_64] =
        times.map(|t| median(t.into_iter()));
    let ms = |seconds: f64| 1000.0 * seconds;
    println!(
        "an image scored: {:.2} ms alone, {:.2} ms among 64",
        ms(score_1),
        ms(score_64)
    );
    println!(
        "an image drawn:  {:.2} ms alone, {:.2} ms among 64",
        ms(draw_1),
        ms(draw_64)
    );
    println!(
        "naively:         {:.0} ms alone, {:.0} ms among 64",
        ms(naive_1),
        ms(naive_64)
    );
    println!(
        "drawn / scored:  {:.2} alone (aim: at most 4), {:.2} among 64 (aim: at most 1.2)",
        draw_1 / score_1,
        draw_64 / score_64
    );
    println!(
        "naive / drawn:   {:.0} alone (aim: at least 200), {:.0} among 64 (aim: at least 700)",
        naive_1 / draw_1,
        naive_64 / draw_64
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
