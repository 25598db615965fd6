//! Running graphs. The rest of the server sees two traits; [`onnx`] is the only place that knows ONNX Runtime, and
//! [`rows`] does without it for graphs of small operators on a few rows.
//!
//! Architecture invariant: nothing here knows what a graph means.

pub mod one_at_a_time;
pub mod one_thread;
pub mod onnx;
mod placement;
mod processor;
pub mod rows;
mod threads;
pub mod time_limit;

pub use placement::{Device, Placement, Precision};

use std::{fmt::Debug, sync::Arc, time::Duration};

use crate::graph::{self, protobuf::Model};

/// Something that can make graphs runnable.
pub trait Engine: Debug + Send + Sync {
    /// What decides, beside a graph and its inputs, on every bit of the outputs: the library, the processor, the device
    /// and the precision. `None` if that cannot be told.
    fn identity(&self) -> Option<String> {
        None
    }

    /// Where its graphs run, and how exactly.
    fn placement(&self) -> Placement {
        Placement::REFERENCE
    }

    /// An engine whose graphs run at [`Placement::REFERENCE`], where this one's run elsewhere: for what others are
    /// compared with, and for graphs that run often on little, which the way to another device would cost more than
    /// they do.
    fn reference(&self) -> Option<Arc<dyn Engine>> {
        None
    }

    /// Makes the ONNX file in `graph` runnable. `name` appears in messages.
    fn load(&self, name: &str, graph: Vec<u8>) -> Result<Arc<dyn Program>, RuntimeError>;

    /// The same for a graph that nobody needs afterwards. A large one is taken apart as it is handed over, so that its
    /// weights are not held twice, and has one session, which spreads every run over all cores.
    fn load_model(&self, name: &str, graph: Model) -> Result<Arc<dyn Program>, RuntimeError> {
        let bytes = graph::serialize(&graph);
        drop(graph);
        self.load(name, bytes)
    }

    /// The same for a graph that computes every row by itself and runs often on a few of them: by kernels of [`rows`]
    /// where they know all that is in it.
    fn load_rows(&self, name: &str, graph: Model) -> Result<Arc<dyn Program>, RuntimeError> {
        match rows::program(name, &graph) {
            Some(program) => Ok(program),
            None => self.load_model(name, graph),
        }
    }

    /// The same for a graph that may never run: nothing is made, and nothing checked, before its first run.
    fn load_later(&self, name: &str, graph: Vec<u8>) -> Arc<dyn Program>;

    /// Runs a graph once and answers the named outputs, in that order.
    fn evaluate(
        &self,
        name: &str,
        graph: Vec<u8>,
        inputs: &[Input<'_>],
        outputs: &[&str],
    ) -> Result<Vec<Output>, RuntimeError> {
        self.load(name, graph)?.run(inputs, outputs, Threads::One)
    }

    /// The same graph with constants folded and operators that do nothing removed; only standard operators, the same
    /// results.
    fn simplify(&self, name: &str, graph: &[u8]) -> Result<Vec<u8>, RuntimeError>;
}

/// A graph that runs. Any number of threads may run it at once.
pub trait Program: Debug + Send + Sync {
    /// Runs the graph and shows the named outputs, in that order, to `read`.
    fn run_with(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        threads: Threads,
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), RuntimeError>;

    /// Whether rows of a small batch take no longer than those of a large one.
    fn likes_few_rows(&self) -> bool {
        false
    }

    /// Runs the graph and answers the named outputs, in that order.
    fn run(&self, inputs: &[Input<'_>], outputs: &[&str], threads: Threads) -> Result<Vec<Output>, RuntimeError> {
        let mut copies = Vec::new();
        self.run_with(inputs, outputs, threads, &mut |views| {
            copies.extend(views.iter().map(View::to_output));
        })?;
        Ok(copies)
    }
}

/// How much of the machine one run may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threads {
    /// The calling thread only: best when other runs go on beside it.
    One,
    /// Several cores: best for latency when nothing else runs.
    All,
}

/// An input of a run.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// Its name in the graph.
    pub name: &'a str,
    /// Shape, batch first.
    pub shape: &'a [usize],
    /// Values, row-major.
    pub values: Values<'a>,
}

/// The values of an input.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// Bytes.
    Bytes(&'a [u8]),
    /// 32-bit reals.
    Floats(&'a [f32]),
    /// 64-bit integers.
    Ints(&'a [i64]),
    /// 32-bit reals that belong to the graph: the same for every row of a batch, and without a batch axis.
    Weights(&'a [f32]),
}

/// One output of a run while the runtime still holds it: 32-bit reals.
#[derive(Debug)]
pub struct View<'a> {
    /// Shape, batch first.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub values: &'a [f32],
}

impl View<'_> {
    /// A copy of it.
    pub fn to_output(&self) -> Output {
        Output {
            shape: self.shape.clone(),
            values: self.values.to_vec(),
        }
    }
}

/// One output of a run: 32-bit reals.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Shape, batch first.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub values: Vec<f32>,
}

impl Output {
    /// The values of row `index` of a batch of `rows`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, index: usize, rows: usize) -> &[f32] {
        let size = self.values.len() / rows;
        &self.values[index * size..(index + 1) * size]
    }
}

/// Why a graph cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The shared library is not there or not usable.
    #[error("{0}")]
    Library(String),
    /// Graphs cannot run where, or as exactly as, they are to.
    #[error("{0}")]
    Placement(String),
    /// The runtime refused the graph.
    #[error("the runtime refused {name}: {cause}")]
    Load {
        /// The graph.
        name: String,
        /// What the runtime said.
        cause: String,
    },
    /// A run failed.
    #[error("a run of {name} failed: {cause}")]
    Run {
        /// The graph.
        name: String,
        /// What the runtime said.
        cause: String,
    },
    /// Loading or running took too long; see [`time_limit`].
    #[error(
        "{name} was given up: a load may take {} s in all, and this was still at work or yet to be done; where \
         a network is large and not endless, --load-timeout grants more",
        limit.as_secs_f64()
    )]
    Impatient {
        /// The graph.
        name: String,
        /// What the whole load may take.
        limit: Duration,
    },
}
