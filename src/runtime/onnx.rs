//! ONNX Runtime, loaded from a shared library when the server starts.
//!
//! One thread policy holds for all sessions. Every graph has one session without threads of its own for each worker, so that
//! workers run side by side without sharing anything, and one that spreads a single run over the pool that all graphs share.
//! No thread ever spins: idle spinning of several sessions on few cores costs more than half of the throughput.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use ort::{
    environment::{Environment, GlobalThreadPoolOptions},
    logging::LogLevel,
    session::{
        RunOptions, Session,
        builder::{GraphOptimizationLevel, PrepackedWeights, SessionBuilder},
    },
    value::TensorRef,
};

use super::{Engine, Input, Program, RuntimeError, Threads, Values, View, patience};

/// The version of ONNX Runtime that the server is built and tested with.
pub const VERSION: &str = "1.31.1";

/// ONNX Runtime allows one environment in a process; it is made once and kept until the process ends.
static ENVIRONMENT: OnceLock<Result<Environment, RuntimeError>> = OnceLock::new();

/// ONNX Runtime with the server's thread policy.
pub struct OnnxEngine {
    environment: Environment,
    workers: usize,
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
        })
    }

    fn builder(&self) -> Result<SessionBuilder, ort::Error> {
        Ok(Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::Level3)?
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?)
    }

    fn session(
        &self,
        graph: &[u8],
        weights: &PrepackedWeights,
        threads: Threads,
    ) -> Result<Session, Failure> {
        let builder = self.builder()?.with_prepacked_weights(weights)?;
        let mut builder = match threads {
            Threads::One => builder
                .with_independent_thread_pool()?
                .with_intra_threads(1)?,
            Threads::All => builder,
        };
        commit(&mut builder, graph)
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
        Self::Cause(error.to_string())
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

/// Makes a session, which may be given up on the way.
fn commit(builder: &mut SessionBuilder, graph: &[u8]) -> Result<Session, Failure> {
    let canceler = builder.canceler();
    let stop = move || {
        // What cannot be stopped goes on; there is nobody to tell.
        let _ = canceler.cancel();
    };
    let session = patience::stoppable(stop, || builder.commit_from_memory(graph));
    Ok(session.map_err(Failure::Impatient)??)
}

impl fmt::Debug for OnnxEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OnnxEngine({} workers)", self.workers)
    }
}

impl Engine for OnnxEngine {
    fn load(&self, name: &str, graph: &[u8]) -> Result<Arc<dyn Program>, RuntimeError> {
        let weights = PrepackedWeights::new();
        let session = |threads| {
            self.session(graph, &weights, threads)
                .map_err(|failure| failure.of_load(name))
        };
        let single = (0..self.workers)
            .map(|_| session(Threads::One))
            .collect::<Result<_, _>>()?;
        Ok(Arc::new(OnnxProgram {
            name: name.to_owned(),
            single: Mutex::new(single),
            wide: Mutex::new(session(Threads::All)?),
            _weights: weights,
        }))
    }

    fn simplify(&self, name: &str, graph: &[u8]) -> Result<Vec<u8>, RuntimeError> {
        // The runtime writes what it made of a graph into a file, and nowhere else.
        let simplified = || -> Result<Vec<u8>, Failure> {
            let file = tempfile::NamedTempFile::new()
                .map_err(|error| format!("no temporary file: {error}"))?;
            let mut builder = Session::builder(&self.environment)
                .and_then(|builder| {
                    Ok(builder.with_optimization_level(GraphOptimizationLevel::Level1)?)
                })
                .and_then(|builder| Ok(builder.with_optimized_model_path(file.path())?))?;
            commit(&mut builder, graph)?;
            Ok(std::fs::read(file.path()).map_err(|error| error.to_string())?)
        };
        simplified().map_err(|failure| failure.of_load(name))
    }
}

/// A graph in as many sessions as there are workers: `ort` runs a session through `&mut`, because some of the runtime's
/// allocators are not safe to share.
struct OnnxProgram {
    name: String,
    /// Sessions that no worker uses now. Never empty when a worker asks, as long as only workers ask; a caller from outside
    /// (the load gate) falls back to the wide session.
    single: Mutex<Vec<Session>>,
    wide: Mutex<Session>,
    /// Weights in the layout of the kernels, shared by all sessions.
    _weights: PrepackedWeights,
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
            Threads::One => self.run_single(inputs, outputs, read),
            Threads::All => self.run_wide(inputs, outputs, read),
        };
        result.map_err(|failure| failure.of_run(&self.name))
    }
}

impl OnnxProgram {
    fn run_single(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), Failure> {
        let sessions = || self.single.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut session) = sessions().pop() else {
            return self.run_wide(inputs, outputs, read);
        };
        let result = run(&mut session, inputs, outputs, read);
        sessions().push(session);
        result
    }

    fn run_wide(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), Failure> {
        let mut session = self.wide.lock().unwrap_or_else(PoisonError::into_inner);
        run(&mut session, inputs, outputs, read)
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
                Values::Bytes(values) => {
                    TensorRef::from_array_view((input.shape, values))?.into_dyn()
                }
                Values::Floats(values) => {
                    TensorRef::from_array_view((input.shape, values))?.into_dyn()
                }
                Values::Ints(values) => {
                    TensorRef::from_array_view((input.shape, values))?.into_dyn()
                }
            };
            Ok((input.name, value))
        })
        .collect::<Result<Vec<_>, ort::Error>>()?;
    let options = patience::is_limited().then(RunOptions::new).transpose()?;
    let options = options.map(Arc::new);
    let answer = match &options {
        None => session.run(values)?,
        Some(options) => {
            let running = Arc::clone(options);
            let stop = move || {
                let _ = running.terminate();
            };
            patience::stoppable(stop, || session.run_with_options(values, &**options))
                .map_err(Failure::Impatient)??
        }
    };
    let views = outputs
        .iter()
        .map(|&name| {
            let value = answer
                .get(name)
                .ok_or_else(|| format!("no output {name:?}"))?;
            let (shape, values) = value
                .try_extract_tensor::<f32>()
                .map_err(|error| error.to_string())?;
            Ok(View {
                shape: shape.iter().map(|&size| size.max(0) as usize).collect(),
                values,
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    read(&views);
    Ok(())
}

fn initialize(library: &Path) -> Result<Environment, RuntimeError> {
    let unusable = |cause: String| {
        RuntimeError::Library(format!(
            "ONNX Runtime could not be loaded from {}: {cause}. The server needs the shared library of version {VERSION}: \
             `make runtime` fetches it, or name one with --onnxruntime or ORT_DYLIB_PATH",
            library.display()
        ))
    };
    if !library.exists() {
        return Err(unusable("there is no such file".to_owned()));
    }
    // Loading the library comes before any other use of the API, which would look for a library of its own and panic.
    let environment = ort::init_from(library).map_err(|error| unusable(error.to_string()))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pool = GlobalThreadPoolOptions::default()
        .with_intra_threads(cores)
        .and_then(|options| options.with_inter_threads(1))
        .and_then(|options| options.with_spin_control(false))
        .map_err(|error| unusable(error.to_string()))?;
    let environment = environment
        .with_name("density-server")
        .with_telemetry(false)
        .with_global_thread_pool(pool)
        .build()
        .map_err(|error| unusable(error.to_string()))?;
    // The runtime formats every message before it asks whether anyone listens, several for each run: a tenth of a small graph's time.
    environment.set_log_level(LogLevel::Warning);
    tracing::debug!(library = %library.display(), build = ort::info(), "ONNX Runtime loaded");
    Ok(environment)
}
