//! What the networks of all families share.
//!
//! Architecture invariant: a network turns levels or codes into numbers and back, a batch at a time on the calling
//! thread. It knows nothing of requests, queues or files.

use std::sync::Arc;

use crate::{
    domain::image::ImageShape,
    graph::{
        GraphError,
        protobuf::Model,
        rewrite,
        weights::{self, Detached},
    },
    runtime::{Device, Engine, Input, Program, RuntimeError, Threads, Values, View},
};

/// Why a network cannot be built or run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NetworkError {
    /// The graph does not keep its contract.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A prediction that sees what it predicts.
    #[error("it is not causal, so the product of its predictions is not a probability: {0}")]
    Leak(#[from] crate::graph::wavefront::Leak),
    /// A step that does not keep its pixels apart.
    #[error(
        "its steps do not keep pixels apart: in the company of other images, logits of the first golden image differ \
         by {0:e}, so a prediction may see what it must not"
    )]
    Company(f32),
    /// The runtime refused or failed.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// An output of the wrong shape.
    #[error("output {name:?} came with shape {actual:?}; expected {expected:?}")]
    Shape {
        /// The output.
        name: String,
        /// What it must be.
        expected: Vec<usize>,
        /// What it was.
        actual: Vec<usize>,
    },
}

/// Makes a graph runnable. Large matrices are given with each run, out of one copy, instead of to every session; but
/// not to another device, which lays them out for itself and would do so at each run.
pub(super) fn load(engine: &dyn Engine, name: &str, model: Model) -> Result<Arc<dyn Program>, RuntimeError> {
    let detached = if engine.placement().device == Device::Cpu {
        weights::detach(&model)
    } else {
        None
    };
    let (rest, weights) = match detached {
        None => (model, Vec::new()),
        Some(parted) => {
            drop(model);
            parted
        }
    };
    let program = engine.load_model(name, rest)?;
    if weights.is_empty() {
        return Ok(program);
    }
    Ok(Arc::new(Fed { program, weights }))
}

/// A graph that is given its weights with each run.
#[derive(Debug)]
struct Fed {
    program: Arc<dyn Program>,
    weights: Vec<Detached>,
}

impl Program for Fed {
    fn run_with(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        threads: Threads,
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), RuntimeError> {
        let weights = self.weights.iter().map(|weight| Input {
            name: &weight.name,
            shape: &weight.dims,
            values: Values::Weights(&weight.values),
        });
        let all: Vec<Input<'_>> = inputs.iter().copied().chain(weights).collect();
        self.program.run_with(&all, outputs, threads, read)
    }
}

/// The shape of a batch of images.
pub(super) fn batch_shape(shape: ImageShape, rows: usize) -> [usize; 4] {
    [rows, shape.channels(), shape.height(), shape.width()]
}

/// Levels of images for a graph that takes them, see [`rewrite::take_levels`].
pub(super) fn levels_input<'a>(levels: &'a [u8], shape: &'a [usize; 4]) -> Input<'a> {
    Input {
        name: rewrite::LEVELS,
        shape,
        values: Values::Bytes(levels),
    }
}

/// Checks an output's shape: a graph may declare less than it does.
pub(super) fn expect_shape(
    name: &str,
    output: &crate::runtime::Output,
    expected: &[usize],
) -> Result<(), NetworkError> {
    if output.shape == expected {
        return Ok(());
    }
    Err(NetworkError::Shape {
        name: name.to_owned(),
        expected: expected.to_vec(),
        actual: output.shape.clone(),
    })
}
