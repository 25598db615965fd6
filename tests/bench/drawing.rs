//! Drawing beside scoring and beside the naive loop: same model, same machine, same minute.
//!
//! `make bench` runs it. Everything goes through the queues and workers in process, with a worker for each core. The
//! naive loop makes one full pass for every dimension, or every pixel of a head that links channels; at batch 1 it is
//! run whole, at batch 64 some of its passes are run and multiplied, because the whole would take minutes. The rounds
//! alternate, so that a change of the machine's mood falls on all.
//!
//! Then one client scores an image after the other, first alone and then while 64 images are drawn again and again; and
//! networks with random weights draw images of growing size, each size in a process of its own, so that its peak of
//! memory is its own.
//!
//! Options after `--`: `--rounds N` (5), `--repository FOLDER`, `--model MODEL` (fashion-mnist-pixelcnn), `--beside
//! MODEL` to score and draw with another model in the same rounds, `--draw-only N` to draw N images again and again and
//! nothing else (for a profile).

#![allow(clippy::print_stdout, clippy::unwrap_used)]

#[path = "../common/graphs.rs"]
mod graphs;
#[allow(dead_code)]
#[path = "../common/networks.rs"]
mod networks;

use std::{
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use density_server::{
    domain::{
        image::Image,
        random::{Random, Stream},
    },
    families::{
        Registry, Resources,
        autoregressive::network::{Compilation, Network, Scratch},
    },
    graph::wavefront::Predictions,
    media,
    metrics::Metrics,
    model::{
        Model,
        catalogue::Catalogue,
        draw::{DrawAsk, Draws, Observation},
        score::{ScoreAsk, Scores},
    },
    repository::Repository,
    runtime::{Engine, Threads, onnx::OnnxEngine},
    scheduling::{Scheduler, SchedulerConfig},
    settings::Settings,
};

use self::networks::{Activation, Block, Entry, Sketch};

const MODEL: &str = "fashion-mnist-pixelcnn";

/// Passes of the naive loop that are run at batch 64.
const NAIVE_PASSES: u32 = 8;

fn main() {
    let (mut rounds, mut drawing, mut beside) = (5, 0, None);
    let mut name = MODEL.to_owned();
    let mut repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("models/repository");
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rounds" => rounds = arguments.next().unwrap().parse().unwrap(),
            "--repository" => repository = arguments.next().unwrap().into(),
            "--model" => name = arguments.next().unwrap(),
            "--beside" => beside = Some(arguments.next().unwrap()),
            "--draw-only" => drawing = arguments.next().unwrap().parse().unwrap(),
            "--side" => return draw_size(arguments.next().unwrap().parse().unwrap()),
            // Cargo passes it to every benchmark.
            "--bench" => {}
            other => panic!("unknown option {other}"),
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let engine = engine(cores);
    let metrics = Arc::new(Metrics::new());
    let config = SchedulerConfig {
        workers: cores,
        ..SchedulerConfig::default()
    };
    let scheduler = Arc::new(Scheduler::start(config, &metrics).unwrap());
    let resources = Resources::new(engine, scheduler, metrics);
    let golden = repository.join(&name).join("1/golden_images.npy");
    let repository = Repository::new(repository, Registry::standard(), resources.clone());
    repository.scan().unwrap();
    let model = repository.model(&name, None).unwrap();
    let network = model.can::<Network>().unwrap();
    println!("{name}, {cores} cores; drawn {}", network.compilation());
    let shape = model.shape;
    let golden = media::read_images(&std::fs::read(golden).unwrap(), shape, 64).unwrap();
    let many: Vec<Image> = golden.iter().cycle().take(64).cloned().collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let score = |model: &Model, images: &[Image]| {
        let start = Instant::now();
        runtime.block_on(scored(&resources, model, images));
        start.elapsed().as_secs_f64() / images.len() as f64
    };
    let draw = |model: &Model, n: u32, seed: u64| {
        let start = Instant::now();
        runtime.block_on(drawn(&resources, model, n, seed));
        start.elapsed().as_secs_f64() / f64::from(n)
    };
    if drawing > 0 {
        for round in 0..rounds {
            println!("{:.3} ms an image", 1000.0 * draw(&model, drawing, round));
        }
        return;
    }
    let naive_passes = match network.predictions() {
        Predictions::OfChannels(_) => shape.dimensions(),
        Predictions::OfPixels(_) => shape.pixels(),
    };
    let naive = |images: &[Image], passes: u32| {
        let given: Vec<_> = images.iter().map(|image| image.levels().into()).collect();
        let start = Instant::now();
        for _ in 0..passes {
            network.logits(&given, Threads::All).unwrap();
        }
        let pass = start.elapsed().as_secs_f64() / f64::from(passes);
        pass * naive_passes as f64 / images.len() as f64
    };
    let measure = |model: &Model, round: u64| {
        [
            median((0..32).map(|_| score(model, &many[..1]))),
            score(model, &many),
            median((0..8).map(|i| draw(model, 1, 100 * round + i))),
            draw(model, 64, round),
        ]
    };
    let beside = beside.map(|name| repository.model(&name, None).unwrap());
    let mut times_beside: [Vec<f64>; 4] = Default::default();
    let mut times: [Vec<f64>; 6] = Default::default();
    for round in 0..rounds {
        if let Some(model) = &beside {
            for (times, measured) in times_beside.iter_mut().zip(measure(model, round)) {
                times.push(measured);
            }
        }
        let [score_1, score_64, draw_1, draw_64] = measure(&model, round);
        let measured = [
            score_1,
            score_64,
            draw_1,
            draw_64,
            naive(&many[..1], if round == 0 { naive_passes as u32 } else { 100 }),
            naive(&many, NAIVE_PASSES),
        ];
        for (times, measured) in times.iter_mut().zip(measured) {
            times.push(measured);
        }
    }
    let [score_1, score_64, draw_1, draw_64, naive_1, naive_64] = times.map(|t| median(t.into_iter()));
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
    if let Some(model) = &beside {
        let [one_scored, many_scored, one_drawn, many_drawn] = times_beside.map(|t| median(t.into_iter()));
        for (what, one, many, first_one, first_many) in [
            ("scored", one_scored, many_scored, score_1, score_64),
            ("drawn", one_drawn, many_drawn, draw_1, draw_64),
        ] {
            println!(
                "{}, an image {what}: {:.2} ms alone, {:.2} ms among 64; {:.2} and {:.2} of the above",
                model.name,
                ms(one),
                ms(many),
                one / first_one,
                many / first_many
            );
        }
    }

    let image = &many[0];
    let alone = runtime.block_on(score_durations(&resources, &model, image, |count| count == 500));
    let beside = runtime.block_on(async {
        let (drawer, drawn_model) = (resources.clone(), Arc::clone(&model));
        let drawing = tokio::spawn(async move {
            for seed in 0..3 {
                drawn(&drawer, &drawn_model, 64, seed).await;
            }
        });
        let durations = score_durations(&resources, &model, image, |_| drawing.is_finished()).await;
        drawing.await.unwrap();
        durations
    });
    for (what, durations) in [("alone", alone), ("while 64 images are drawn", beside)] {
        println!(
            "scores one by one, {what}: p50 {:.1} ms, p99 {:.1} ms ({} scores)",
            quantile(&durations, 0.5),
            quantile(&durations, 0.99),
            durations.len()
        );
    }
    println!("random weights, one image, one thread:");
    for side in [28, 64, 128] {
        let own = std::env::current_exe().unwrap();
        let status = Command::new(own).args(["--side", &side.to_string()]).status();
        assert!(status.unwrap().success());
    }
}

/// Time enough.
fn far() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

async fn scored(resources: &Resources, model: &Model, images: &[Image]) {
    let ask = ScoreAsk {
        bound: None,
        k: None,
        seed: 0,
        map: false,
        condition: model.condition(None).unwrap(),
    };
    let scores = model.can::<dyn Scores>().unwrap();
    let call = resources.call(far());
    let answer = scores.score(images.to_vec(), &ask, &call).await.unwrap();
    for item in answer.items {
        item.unwrap();
    }
}

async fn drawn(resources: &Resources, model: &Model, n: u32, seed: u64) {
    let ask = DrawAsk {
        n,
        seed,
        temperature: 1.0,
        observation: Observation::Sample,
        condition: model.condition(None).unwrap(),
    };
    let draws = model.can::<dyn Draws>().unwrap();
    draws.draw(&ask, &resources.call(far())).await.unwrap();
}

fn engine(workers: usize) -> Arc<dyn Engine> {
    let library = std::env::var_os("ORT_DYLIB_PATH")
        .map_or_else(|| Settings::default().onnxruntime_library().unwrap(), PathBuf::from);
    Arc::new(OnnxEngine::new(&library, workers).unwrap())
}

/// Milliseconds of single scores, one after the other, until `enough`.
async fn score_durations(
    resources: &Resources,
    model: &Model,
    image: &Image,
    enough: impl Fn(usize) -> bool,
) -> Vec<f64> {
    let mut durations = Vec::new();
    while !enough(durations.len()) {
        let start = Instant::now();
        scored(resources, model, std::slice::from_ref(image)).await;
        durations.push(1000.0 * start.elapsed().as_secs_f64());
    }
    durations.sort_by(f64::total_cmp);
    durations
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * share).round() as usize]
}

/// Draws one image of `side` × `side` pixels from random weights and tells its time and the process's peak of memory.
fn draw_size(side: usize) {
    let sketch = Sketch {
        seed: 1,
        channels: 1,
        height: side,
        width: side,
        levels: 256,
        hidden: 64,
        first: 7,
        blocks: [1, 2, 1, 4, 1, 2]
            .map(|dilation| Block {
                kernel: 3,
                dilation,
                activation: Activation::Gate,
                residual: true,
            })
            .to_vec(),
        classes: 0,
        places: false,
        entry: Entry::Plain,
        two_stacks: false,
        mixture: false,
        leak: None,
    };
    let model = sketch.model();
    let network = Network::load(&*engine(1), "random", model, sketch.contract()).unwrap();
    let Compilation::Wavefront(wavefront) = network.compilation() else {
        panic!("drawn {}", network.compilation());
    };
    let mut scratch = Scratch::default();
    let mut draw = |seed: u64| {
        let random = Random::new(seed, Stream::Level, 0);
        let start = Instant::now();
        let mut walk = wavefront.start(vec![0; side * side], 0);
        wavefront
            .advance(&mut [&mut walk], wavefront.steps(), &mut |known| {
                let uniform = random.uniform(known.index as u32);
                network.prediction(known).draw(1.0, uniform, &mut scratch)
            })
            .unwrap();
        wavefront.finish(walk);
        start.elapsed().as_secs_f64()
    };
    draw(0);
    let seconds = median((1..4).map(&mut draw));
    let cost = wavefront.cost();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap_or("unknown")
        .trim();
    println!(
        "{side:>4} × {side:<4} {:>8.1} ms {:>7.2} µs a pixel, lag {}, {} steps, {} kB remembered, peak of the process \
         {peak}",
        1000.0 * seconds,
        1e6 * seconds / (side * side) as f64,
        cost.lag,
        cost.steps,
        cost.bytes / 1000
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
