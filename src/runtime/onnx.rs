//! ONNX Runtime, loaded from a shared library when the server starts.
//!
//! One thread policy holds for all sessions. A graph has sessions without threads of their own, at most one for each
//! worker, so that workers run side by side without sharing anything, and one that spreads a single run over the pool
//! that all graphs share. Each is made when a run first needs it. A graph of large weights has one session, with
//! threads of its own. No thread ever spins: idle spinning of several sessions on few cores costs more than half of the
//! throughput.

mod large;
mod model_editor;
mod provider;
mod scratch;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use ort::{
    environment::{Environment, GlobalThreadPoolOptions},
    logging::LogLevel,
    session::{
        OutputSelector, RunOptions, Session,
        builder::{GraphOptimizationLevel, PrepackedWeights, SessionBuilder},
    },
    value::TensorRef,
};

use self::large::LargeProgram;
use super::{Device, Engine, Input, Placement, Program, RuntimeError, Threads, Values, View, processor, time_limit};
use crate::graph::{self, protobuf::Model};

/// ONNX Runtime allows one environment in a process; it is made once and kept until the process ends.
static ENVIRONMENT: OnceLock<Result<Environment, RuntimeError>> = OnceLock::new();

/// ONNX Runtime with the server's thread policy.
#[derive(Clone)]
pub struct OnnxEngine {
    environment: Environment,
    workers: usize,
    placement: Placement,
    /// Which build of the runtime it is, if its file tells.
    build: Option<String>,
}

/// The level of the API that is used of the library, and what that says of its build; it must have been loaded.
pub fn build() -> String {
    format!("API level {}, {}", ort::MINOR_VERSION, ort::info())
}

impl OnnxEngine {
    /// Loads the shared library. `workers` is the number of threads that will run graphs at once.
    ///
    /// The library and the size of the shared pool are settled by the first call in a process.
    pub fn new(library: &Path, workers: usize) -> Result<Self, RuntimeError> {
        let environment = ENVIRONMENT.get_or_init(|| initialize(library)).clone()?;
        Ok(Self {
            environment,
            workers: workers.max(1),
            placement: Placement::REFERENCE,
            build: stamp(library),
        })
    }

    /// The same with graphs that run there, if they can.
    pub fn placed(self, placement: Placement) -> Result<Self, RuntimeError> {
        provider::usable(&self.environment, placement)?;
        Ok(Self { placement, ..self })
    }

    fn program(&self, name: &str, graph: Vec<u8>) -> OnnxProgram {
        OnnxProgram {
            name: name.to_owned(),
            environment: self.environment.clone(),
            placement: self.placement,
            graph,
            weights: PrepackedWeights::new(),
            narrow: Mutex::default(),
            most_narrow: self.workers,
            wide: Mutex::default(),
        }
    }
}

/// Why the runtime did not do what it was asked for.
enum Failure {
    /// For this reason.
    Cause(String),
    /// It was stopped after this time.
    Impatient(Duration),
}

impl<T> From<ort::Error<T>> for Failure {
    fn from(error: ort::Error<T>) -> Self {
        let said = error.to_string();
        // All that C++ says of memory that it does not get.
        if said.contains("std::bad_alloc") || said.contains("Failed to allocate memory") {
            return Self::Cause(format!(
                "there is not enough memory: raise the limit of the container or of `ulimit -v`, or have fewer workers \
                 or models ({said})"
            ));
        }
        Self::Cause(said)
    }
}

impl From<String> for Failure {
    fn from(cause: String) -> Self {
        Self::Cause(cause)
    }
}

impl Failure {
    /// The error of loading `name`.
    fn of_load(self, name: &str) -> RuntimeError {
        let name = name.to_owned();
        match self {
            Self::Cause(cause) => RuntimeError::Load { name, cause },
            Self::Impatient(limit) => RuntimeError::Impatient { name, limit },
        }
    }

    /// The error of running `name`.
    fn of_run(self, name: &str) -> RuntimeError {
        let name = name.to_owned();
        match self {
            Self::Cause(cause) => RuntimeError::Run { name, cause },
            Self::Impatient(limit) => RuntimeError::Impatient { name, limit },
        }
    }
}

/// Makes a session by `make`, which may be given up on the way.
fn stoppable(
    builder: &mut SessionBuilder,
    make: impl FnOnce(&mut SessionBuilder) -> Result<Session, Failure>,
) -> Result<Session, Failure> {
    let canceler = builder.canceler();
    let stop = move || {
        // What cannot be stopped goes on; there is nobody to tell.
        let _ = canceler.cancel();
    };
    time_limit::stoppable(stop, || make(builder)).map_err(Failure::Impatient)?
}

/// Makes a session of a file.
fn commit(builder: &mut SessionBuilder, graph: &[u8]) -> Result<Session, Failure> {
    stoppable(builder, |builder| Ok(builder.commit_from_memory(graph)?))
}

/// What all sessions that run graphs have in common.
fn settings(environment: &Environment) -> Result<SessionBuilder, Failure> {
    Ok(Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::Level3)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        // A plan of all memory of a run, kept for every size of batch, takes a block beside what the arena holds
        // already: a quarter more memory for no time.
        .with_memory_pattern(false)?)
}

impl fmt::Debug for OnnxEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnnxEngine({}, {} workers)", self.placement, self.workers)
    }
}

impl Engine for OnnxEngine {
    fn identity(&self) -> Option<String> {
        let processor = processor::identity()?;
        Some(format!("{}, {} on {processor}", self.build.as_ref()?, self.placement))
    }

    fn placement(&self) -> Placement {
        self.placement
    }

    fn reference(&self) -> Option<Arc<dyn Engine>> {
        let placement = Placement::REFERENCE;
        let reference = Self {
            placement,
            ..self.clone()
        };
        (self.placement != placement).then(|| Arc::new(reference) as _)
    }

    fn load(&self, name: &str, graph: Vec<u8>) -> Result<Arc<dyn Program>, RuntimeError> {
        let program = self.program(name, graph);
        let session = program.session(Threads::One).map_err(|failure| failure.of_load(name))?;
        program.narrow().put_new(session);
        Ok(Arc::new(program))
    }

    fn load_model(&self, name: &str, graph: Model) -> Result<Arc<dyn Program>, RuntimeError> {
        // Another device lays weights out for itself.
        let is_here = self.placement.device == Device::Cpu;
        if !(is_here && model_editor::is_large(&graph) && model_editor::supports(&graph)) {
            let bytes = graph::serialize(&graph);
            drop(graph);
            return self.load(name, bytes);
        }
        let session = || -> Result<Session, Failure> {
            // A session of the editor cannot use the pool that all graphs share.
            let mut builder = settings(&self.environment)?
                .with_independent_thread_pool()?
                .with_intra_threads(cores())?;
            stoppable(&mut builder, |builder| model_editor::session(builder, graph))
        };
        let session = session().map_err(|failure| failure.of_load(name))?;
        Ok(Arc::new(LargeProgram::new(name, session)))
    }

    fn load_later(&self, name: &str, graph: Vec<u8>) -> Arc<dyn Program> {
        Arc::new(self.program(name, graph))
    }

    fn simplify(&self, name: &str, graph: &[u8]) -> Result<Vec<u8>, RuntimeError> {
        let simplified = || -> Result<Vec<u8>, Failure> {
            let mut file = scratch::File::new()
                .map_err(|error| format!("no file in memory or on disk to simplify it in: {error}"))?;
            let mut builder = Session::builder(&self.environment)?
                .with_optimization_level(GraphOptimizationLevel::Level1)?
                .with_optimized_model_path(file.path())?;
            commit(&mut builder, graph)?;
            Ok(file.read().map_err(|error| error.to_string())?)
        };
        simplified().map_err(|failure| failure.of_load(name))
    }
}

/// A graph with the sessions that its runs needed so far: `ort` runs a session through `&mut`, because some of the
/// runtime's allocators are not safe to share. A session costs about two copies of the weights and its working memory,
/// so none is made before a run needs it.
struct OnnxProgram {
    name: String,
    environment: Environment,
    placement: Placement,
    /// The graph's file: what further sessions are made from.
    graph: Vec<u8>,
    /// Weights in the layout of the kernels, shared by all sessions.
    weights: PrepackedWeights,
    /// Sessions without threads of their own.
    narrow: Mutex<Narrow>,
    /// How many of those there may be.
    most_narrow: usize,
    /// The one that spreads a run over all cores.
    wide: Mutex<Option<Session>>,
}

/// Sessions without threads of their own.
#[derive(Default)]
struct Narrow {
    /// Those that no run uses now.
    idle: Vec<Session>,
    /// Idle or not, or being made.
    made: usize,
}

impl Narrow {
    fn put_new(&mut self, session: Session) {
        self.idle.push(session);
        self.made += 1;
    }
}

impl fmt::Debug for OnnxProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnnxProgram({})", self.name)
    }
}

impl Program for OnnxProgram {
    fn run_with(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        threads: Threads,
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), RuntimeError> {
        let result = match threads {
            Threads::One => self.run_narrow(inputs, outputs, read),
            Threads::All => self.run_wide(inputs, outputs, read),
        };
        result.map_err(|failure| failure.of_run(&self.name))
    }
}

impl OnnxProgram {
    fn run_narrow(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), Failure> {
        // More callers than workers: somebody from outside, such as the load gate. They share the wide session.
        let Some(mut session) = self.take_narrow()? else {
            return self.run_wide(inputs, outputs, read);
        };
        let result = run(&mut session, inputs, outputs, read);
        self.narrow().idle.push(session);
        result
    }

    fn run_wide(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), Failure> {
        let mut wide = self.wide.lock().unwrap_or_else(PoisonError::into_inner);
        let session = match &mut *wide {
            Some(session) => session,
            empty => empty.insert(self.session(Threads::All)?),
        };
        run(session, inputs, outputs, read)
    }

    /// An idle session or a new one; `None` if there are as many as there may be.
    fn take_narrow(&self) -> Result<Option<Session>, Failure> {
        let mut narrow = self.narrow();
        if let Some(session) = narrow.idle.pop() {
            return Ok(Some(session));
        }
        if narrow.made == self.most_narrow {
            return Ok(None);
        }
        // Counted first, so that nobody waits for the lock while the session is made.
        narrow.made += 1;
        drop(narrow);
        let session = self.session(Threads::One);
        if session.is_err() {
            self.narrow().made -= 1;
        }
        session.map(Some)
    }

    fn narrow(&self) -> MutexGuard<'_, Narrow> {
        self.narrow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self, threads: Threads) -> Result<Session, Failure> {
        let builder = settings(&self.environment)?.with_prepacked_weights(&self.weights)?;
        let builder = match threads {
            Threads::One => builder.with_independent_thread_pool()?.with_intra_threads(1)?,
            Threads::All => builder,
        };
        let threads = match threads {
            Threads::One => 1,
            Threads::All => cores(),
        };
        let mut builder = provider::register(builder, self.placement, threads)?;
        commit(&mut builder, &self.graph)
    }
}

fn run(
    session: &mut Session,
    inputs: &[Input<'_>],
    outputs: &[&str],
    read: &mut dyn FnMut(&[View<'_>]),
) -> Result<(), Failure> {
    let values = inputs
        .iter()
        .map(|input| {
            let value = match input.values {
                Values::Bytes(values) => TensorRef::from_array_view((input.shape, values))?.into_dyn(),
                Values::Floats(values) | Values::Weights(values) => {
                    TensorRef::from_array_view((input.shape, values))?.into_dyn()
                }
                Values::Ints(values) => TensorRef::from_array_view((input.shape, values))?.into_dyn(),
            };
            Ok((input.name, value))
        })
        .collect::<Result<Vec<_>, ort::Error>>()?;
    let (stoppable, selective);
    let answer = if time_limit::is_limited() {
        // Options that say which outputs are wanted cannot be shared with whoever looks at the clock.
        stoppable = Arc::new(RunOptions::new()?);
        let running = Arc::clone(&stoppable);
        let stop = move || {
            let _ = running.terminate();
        };
        time_limit::stoppable(stop, || session.run_with_options(values, &*stoppable)).map_err(Failure::Impatient)??
    } else if outputs.len() < session.outputs().len() {
        // Outputs that nobody asked for stay in the runtime's own buffers.
        let none = OutputSelector::no_default();
        let wanted = outputs.iter().fold(none, |all, &name| all.with(name));
        selective = RunOptions::new()?.with_outputs(wanted);
        session.run_with_options(values, &selective)?
    } else {
        session.run(values)?
    };
    let views = outputs
        .iter()
        .map(|&name| {
            let value = answer.get(name).ok_or_else(|| format!("no output {name:?}"))?;
            let (shape, values) = value.try_extract_tensor::<f32>().map_err(|error| error.to_string())?;
            Ok(View {
                shape: shape.iter().map(|&size| size.max(0) as usize).collect(),
                values,
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    read(&views);
    Ok(())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What tells a build of the library, with those beside it that devices need, from others.
fn stamp(library: &Path) -> Option<String> {
    let mut stamps = vec![ort::info().to_owned()];
    let library = library.canonicalize().ok()?;
    for file in std::iter::once(library.clone()).chain(of_devices(&library)) {
        let metadata = file.metadata().ok()?;
        let changed = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        stamps.push(format!("{} bytes of {}", metadata.len(), changed.as_nanos()));
    }
    Some(stamps.join(", "))
}

/// What devices need in the same folder, in order.
fn of_devices(library: &Path) -> Vec<PathBuf> {
    let entries = library.parent().and_then(|folder| folder.read_dir().ok());
    let paths = entries
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libonnxruntime_providers") || name.starts_with("libopenvino")
    };
    let mut all: Vec<PathBuf> = paths.filter(is_one).collect();
    all.sort();
    all
}

fn initialize(library: &Path) -> Result<Environment, RuntimeError> {
    let unusable = |cause: String| {
        RuntimeError::Library(format!(
            "ONNX Runtime could not be loaded from {}: {cause}. The server needs the shared library of version \
             {}: `make runtime` fetches it, or name one with --onnxruntime or ORT_DYLIB_PATH",
            library.display(),
            Device::Cpu.runtime_version()
        ))
    };
    // The loader of the system does not say what it could not open.
    if let Err(error) = std::fs::File::open(library) {
        return Err(unusable(error.to_string()));
    }
    // Loading the library comes before any other use of the API, which would look for a library of its own and panic.
    let environment = ort::init_from(library).map_err(|error| {
        unusable(format!(
            "{error}: it is damaged, made for another machine, or a library that it needs is missing (`ldd` tells)"
        ))
    })?;
    let pool = GlobalThreadPoolOptions::default()
        .with_intra_threads(cores())
        .and_then(|options| options.with_inter_threads(1))
        .and_then(|options| options.with_spin_control(false))
        .map_err(|error| unusable(error.to_string()))?;
    let environment = environment
        .with_name("density-server")
        .with_telemetry(false)
        .with_global_thread_pool(pool)
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    // The runtime formats every message before it asks whether anyone listens, several for each run: a tenth of a small
    // graph's time.
    environment.set_log_level(LogLevel::Warning);
    tracing::debug!(library = %library.display(), build = ort::info(), "ONNX Runtime loaded");
    Ok(environment)
}
