//! The limit: the same rewritten graph in the same runtime, run in a loop without a server around it.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use density_server::{
    domain::image::ImageShape,
    families::{GateSettings, Registry, Resources},
    graph,
    metrics::Metrics,
    repository,
    runtime::{Engine, Input, Program, RuntimeError, Threads, Values, onnx::OnnxEngine},
    scheduling::{Scheduler, SchedulerConfig},
    settings::Settings,
};
use serde_json::{Value, json};

/// Images in one run of the loops.
const BATCHES: [usize; 2] = [1, 32];

/// A way to run the graph in a loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    callers: usize,
    threads: Threads,
    batch: usize,
}

/// What a way achieved.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    way: Way,
    pub(crate) images_per_second: f64,
}

/// One graph, ready to be run in every way.
pub(crate) struct Limits {
    recording: Recording,
    shape: ImageShape,
    levels: Vec<u8>,
    cores: usize,
}

/// The runtime with the server's own settings.
pub(crate) fn engine(cores: usize) -> Arc<dyn Engine> {
    let library = Settings::default().onnxruntime_library().unwrap();
    Arc::new(OnnxEngine::new(&library, cores).unwrap())
}

/// The best way, or the best of those with one caller and one image.
pub(crate) fn best(rates: &[Rate], one_image: bool) -> Way {
    rates
        .iter()
        .filter(|rate| !one_image || (rate.way.callers == 1 && rate.way.batch == 1))
        .max_by(|a, b| a.images_per_second.total_cmp(&b.images_per_second))
        .unwrap()
        .way
}

/// A graph that the load gate made runnable, with the names of its input and outputs.
#[derive(Debug)]
struct Recording {
    name: String,
    program: Arc<dyn Program>,
    input: String,
    outputs: Vec<String>,
}

/// Keeps what the load gate makes runnable, so that the loop runs the very graph that the server runs.
#[derive(Debug)]
struct Recorder {
    engine: Arc<dyn Engine>,
    recordings: Mutex<Vec<Recording>>,
}

impl Engine for Recorder {
    fn load(&self, name: &str, graph: Vec<u8>) -> Result<Arc<dyn Program>, RuntimeError> {
        let bytes = graph.clone();
        let program = self.engine.load(name, graph)?;
        let graph = graph::parse(&bytes).unwrap().graph.unwrap();
        let names = |values: Vec<graph::protobuf::ValueInfo>| values.into_iter().filter_map(|value| value.name);
        self.recordings.lock().unwrap().push(Recording {
            name: name.to_owned(),
            program: Arc::clone(&program),
            input: names(graph.inputs).next().unwrap(),
            outputs: names(graph.outputs).collect(),
        });
        Ok(program)
    }

    fn load_later(&self, name: &str, graph: Vec<u8>) -> Arc<dyn Program> {
        self.engine.load_later(name, graph)
    }

    fn simplify(&self, name: &str, graph: &[u8]) -> Result<Vec<u8>, RuntimeError> {
        self.engine.simplify(name, graph)
    }
}

impl Limits {
    /// Loads the graph behind `operation` of the model in `folder`.
    pub(crate) fn load(engine: &Arc<dyn Engine>, folder: &Path, model: &str, operation: &str, cores: usize) -> Self {
        let recorder = Arc::new(Recorder {
            engine: Arc::clone(engine),
            recordings: Mutex::default(),
        });
        let metrics = Arc::new(Metrics::new());
        let scheduler = Scheduler::start(SchedulerConfig::default(), &metrics).unwrap();
        let recording = Arc::<Recorder>::clone(&recorder);
        let resources = Resources::new(recording, Arc::new(scheduler), metrics);
        let nobody = |_: &str, _| Err("there are no other models here".to_owned());
        let families = Registry::standard();
        let loaded = repository::load(
            folder,
            (model, 1),
            &families,
            &nobody,
            &resources,
            GateSettings::default(),
        )
        .unwrap();
        let ending = match operation {
            "score" => "(score)",
            "encode" => "(encoder)",
            other => panic!("there is no loop for {other}"),
        };
        let mut recordings = recorder.recordings.lock().unwrap();
        let found = recordings.iter().position(|recording| recording.name.ends_with(ending));
        let mut recording = recordings.swap_remove(found.expect("the gate loads the graph"));
        if operation == "score" {
            // As the server does: it leaves the logits.
            recording.outputs.retain(|name| name.starts_with("density_server/"));
        }
        let images = std::fs::read(folder.join("golden_images.npy")).unwrap();
        let images = npyz::NpyFile::new(&images[..]).unwrap();
        Self {
            recording,
            shape: loaded.shape,
            levels: images.into_vec().unwrap(),
            cores,
        }
    }

    /// Every way: one caller that uses all cores, and as many callers as cores with one thread each.
    pub(crate) fn survey(&self, duration: Duration) -> Vec<Rate> {
        let ways = [(1, Threads::All), (1, Threads::One), (self.cores, Threads::One)];
        ways.into_iter()
            .flat_map(|(callers, threads)| {
                BATCHES.map(|batch| Way {
                    callers,
                    threads,
                    batch,
                })
            })
            .map(|way| Rate {
                way,
                images_per_second: self.run(way, duration),
            })
            .collect()
    }

    /// Images a second of one way.
    pub(crate) fn run(&self, way: Way, duration: Duration) -> f64 {
        let images = AtomicU64::new(0);
        let stop = AtomicBool::new(false);
        let levels: Vec<u8> = self
            .levels
            .iter()
            .copied()
            .cycle()
            .take(way.batch * self.shape.dimensions())
            .collect();
        let start = Instant::now();
        thread::scope(|scope| {
            for _ in 0..way.callers {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        self.run_once(way, &levels);
                        images.fetch_add(way.batch as u64, Ordering::Relaxed);
                    }
                });
            }
            thread::sleep(duration);
            stop.store(true, Ordering::Relaxed);
        });
        images.into_inner() as f64 / start.elapsed().as_secs_f64()
    }

    fn run_once(&self, way: Way, levels: &[u8]) {
        let shape = self.shape;
        let Recording {
            program,
            input,
            outputs,
            ..
        } = &self.recording;
        let outputs: Vec<&str> = outputs.iter().map(String::as_str).collect();
        let input = Input {
            name: input,
            shape: &[way.batch, shape.channels(), shape.height(), shape.width()],
            values: Values::Bytes(levels),
        };
        let answer = program.run(&[input], &outputs, way.threads).unwrap();
        std::hint::black_box(answer);
    }
}

impl Rate {
    pub(crate) fn describe(&self) -> String {
        let Way {
            callers,
            threads,
            batch,
        } = self.way;
        let threads = match threads {
            Threads::One => "1 thread",
            Threads::All => "all threads",
        };
        format!("{callers} caller(s) × {threads}, batch {batch}")
    }

    pub(crate) fn to_json(self) -> Value {
        json!({
            "callers": self.way.callers,
            "all_threads": self.way.threads == Threads::All,
            "batch": self.way.batch,
            "images_per_second": self.images_per_second,
        })
    }
}
