//! ONNX Runtime, loaded from a shared library when the server starts.
//!
//! One thread policy holds for all sessions. A graph has sessions without threads of their own, one for each run of
//! those that go on at once, so that workers run side by side without sharing anything, and one that spreads a single
//! run over the pool that all graphs share. Each is made when a run first needs it. A graph of large weights has one
//! session, with threads of its own. No thread ever spins: idle spinning of several sessions on few cores costs more
//! than half of the throughput.

mod failure;
mod large;
mod library;
mod model_editor;
mod program;
mod provider;
mod scratch;

use std::{fmt, path::Path, sync::Arc};

use ort::{
    environment::Environment,
    session::{
        Session,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
};

pub use self::library::build;
use self::{failure::Failure, large::LargeProgram, program::OnnxProgram};
use super::{Device, Engine, Placement, Program, RuntimeError, processor, time_limit};
use crate::graph::{self, protobuf::Model};

/// ONNX Runtime with the server's thread policy.
#[derive(Clone)]
pub struct OnnxEngine {
    environment: Environment,
    workers: usize,
    placement: Placement,
    /// Which build of the runtime it is, if its file tells.
    build: Option<String>,
}

impl OnnxEngine {
    /// Loads the shared library. `workers` is the number of threads that will run graphs at once.
    ///
    /// The library and the size of the shared pool are settled by the first call in a process.
    pub fn new(library: &Path, workers: usize) -> Result<Self, RuntimeError> {
        let environment = library::environment(library)?;
        Ok(Self {
            environment,
            workers: workers.max(1),
            placement: Placement::REFERENCE,
            build: library::stamp(library),
        })
    }

    /// The same with graphs that run there, if they can.
    pub fn placed(self, placement: Placement) -> Result<Self, RuntimeError> {
        provider::usable(&self.environment, placement)?;
        Ok(Self { placement, ..self })
    }

    fn program(&self, name: &str, graph: Vec<u8>) -> OnnxProgram {
        OnnxProgram::new(name, graph, (&self.environment, self.placement), self.workers)
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
        let build = self.build.as_ref()?;
        Some(format!(
            "{build}, {} on {} threads of {processor}",
            self.placement,
            shared_threads()
        ))
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
        program.warm_up().map_err(|failure| failure.of_load(name))?;
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

/// Threads that a run on all of them is spread over. With more of them each has so little of an image of 32×32 that the
/// runtime sums up otherwise than in one run of several images, and hardly gets faster.
fn shared_threads() -> usize {
    cores().min(8)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
