//! Compiling a recurrent network: a step graph, which computes one pixel, and the places that it reads.
//!
//! The state of a pixel is computed from the states of some neighbours and the levels of some pixels around it, the
//! window. Where all of these come before the pixel in raster order, so does whatever they have seen, and so on: a
//! prediction sees only pixels before its own. That is the whole proof of causality, and it is made from [`Recurrence`]
//! alone, as long as a step keeps its rows apart.
//!
//! The program is of the same kind as that of a [stencil](super::wavefront): row i runs `lag` columns behind row i − 1.

mod adapter;

use self::adapter::{POSITION, STATES, adapt};
use super::{
    GraphError,
    protobuf::Model,
    signature::{self, Expected},
    wavefront::{Cache, Compiled, Gather, Kept, Part, Position, Predictions, Run, Source},
};
use crate::domain::image::ImageShape;

/// Numbers in a state at most.
const MAX_STATE_SIZE: usize = 65_536;

/// A place relative to a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// Rows down.
    pub dy: i64,
    /// Columns to the right.
    pub dx: i64,
}

/// What a step reads around its pixel: valid if it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recurrence {
    state_size: usize,
    neighbours: Vec<Offset>,
    window: Vec<Offset>,
}

/// What is wrong with a recurrence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecurrenceError {
    /// Images in colour.
    #[error("images of {0} channels: a step gives the logits of one level, so images must have 1 channel")]
    Channels(usize),
    /// States of no numbers, or of too many.
    #[error("state_size: {0} is outside 1 to {MAX_STATE_SIZE}")]
    StateSize(usize),
    /// Nothing is read.
    #[error("{list}: at least one [dy, dx] is needed")]
    Empty {
        /// Neighbours or window.
        list: &'static str,
    },
    /// A place that does not come before the pixel.
    #[error(
        "{list}: [{dy}, {dx}] leaks: it is {place}, so the product of the predictions would not be a probability; [dy, \
         dx] are rows down and columns to the right, and a place before the pixel has dy < 0, or dy = 0 and dx < 0"
    )]
    Leak {
        /// Neighbours or window.
        list: &'static str,
        /// Rows down.
        dy: i64,
        /// Columns to the right.
        dx: i64,
        /// What is there.
        place: &'static str,
    },
    /// A place that is outside the image for every pixel.
    #[error(
        "{list}: [{dy}, {dx}] is outside an image of {height}×{width} pixels (height × width) wherever it is read from"
    )]
    Outside {
        /// Neighbours or window.
        list: &'static str,
        /// Rows down.
        dy: i64,
        /// Columns to the right.
        dx: i64,
        /// Rows of the image.
        height: usize,
        /// Columns of the image.
        width: usize,
    },
    /// The same place twice.
    #[error("{list}: [{dy}, {dx}] is there twice")]
    Twice {
        /// Neighbours or window.
        list: &'static str,
        /// Rows down.
        dy: i64,
        /// Columns to the right.
        dx: i64,
    },
}

impl Recurrence {
    /// Checks what a step reads: of `state_size` numbers each, the states of `neighbours`, and the levels of `window`.
    pub fn new(
        shape: ImageShape,
        state_size: usize,
        neighbours: Vec<Offset>,
        window: Vec<Offset>,
    ) -> Result<Self, RecurrenceError> {
        if shape.channels() != 1 {
            return Err(RecurrenceError::Channels(shape.channels()));
        }
        if !(1..=MAX_STATE_SIZE).contains(&state_size) {
            return Err(RecurrenceError::StateSize(state_size));
        }
        check("neighbours", &neighbours, shape)?;
        check("window", &window, shape)?;
        Ok(Self {
            state_size,
            neighbours,
            window,
        })
    }

    /// Numbers in a state.
    pub fn state_size(&self) -> usize {
        self.state_size
    }

    /// Where the states are read.
    pub fn neighbours(&self) -> &[Offset] {
        &self.neighbours
    }

    /// Where the levels are read.
    pub fn window(&self) -> &[Offset] {
        &self.window
    }

    /// The smallest number of columns by which a row can run behind the row above: everything that is read must be at
    /// least a step old, so dx + lag · dy ≤ −1.
    fn lag(&self) -> i64 {
        let above = self.neighbours.iter().chain(&self.window);
        above
            .filter(|offset| offset.dy < 0)
            .map(|offset| (offset.dx - offset.dy).div_euclid(-offset.dy))
            .max()
            .map_or(1, |lag| lag.max(1))
    }
}

fn check(list: &'static str, offsets: &[Offset], shape: ImageShape) -> Result<(), RecurrenceError> {
    let (height, width) = (shape.height(), shape.width());
    if offsets.is_empty() {
        return Err(RecurrenceError::Empty { list });
    }
    for (at, &Offset { dy, dx }) in offsets.iter().enumerate() {
        let place = match (dy, dx) {
            (0, 0) => Some("the pixel itself"),
            (0, 1..) => Some("a later pixel of the same row"),
            (1.., _) => Some("in a row below"),
            _ => None,
        };
        if let Some(place) = place {
            return Err(RecurrenceError::Leak { list, dy, dx, place });
        }
        if dy.unsigned_abs() >= height as u64 || dx.unsigned_abs() >= width as u64 {
            return Err(RecurrenceError::Outside {
                list,
                dy,
                dx,
                height,
                width,
            });
        }
        if offsets[..at].contains(&Offset { dy, dx }) {
            return Err(RecurrenceError::Twice { list, dy, dx });
        }
    }
    Ok(())
}

/// Names in a step graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Input, float [pixels, neighbours, state size]: their states, zero outside the image.
    pub states: String,
    /// Input, float [pixels, window]: their levels in graph values, zero outside the image.
    pub levels: String,
    /// Input, float [pixels, window]: 1 inside the image, 0 outside.
    pub inside: String,
    /// Input, int64 `[pixels]`.
    pub row: String,
    /// Input, int64 `[pixels]`.
    pub column: String,
    /// Output, float [pixels, state size].
    pub state: String,
    /// Output, float [pixels, what it gives at a pixel].
    pub logits: String,
}

/// Checks a step graph against its contract and makes a program of it.
pub fn compile(
    model: &Model,
    names: &Names,
    recurrence: &Recurrence,
    shape: ImageShape,
    predictions: Predictions,
) -> Result<Compiled, GraphError> {
    let outcomes = predictions.width(shape.channels());
    check_graph(model, names, recurrence, outcomes)?;
    let adapted = adapt(model, names, recurrence, shape, outcomes)?;
    let (lag, size) = (recurrence.lag(), recurrence.state_size);
    let gather = |input: &str, source, width, offsets: &[Offset]| Gather {
        input: input.to_owned(),
        source,
        width,
        delay: 0,
        runs: Run::side_by_side(offsets.iter().map(|offset| (offset.dy, offset.dx))),
        rows: (0, shape.height() as i64),
        columns: (0, shape.width() as i64),
    };
    let age = |offset: &Offset| -offset.dx - lag * offset.dy;
    Ok(Compiled {
        step: Part {
            graph: adapted.step,
            gathers: vec![
                gather(STATES, Source::Cache(0), size, &recurrence.neighbours),
                gather(&names.levels, Source::Table(0), 1, &recurrence.window),
                gather(&names.inside, Source::Table(1), 1, &recurrence.window),
            ],
            positions: vec![Position {
                input: POSITION.to_owned(),
                delay: 0,
            }],
            caches: vec![0],
            ..Part::default()
        },
        row: None,
        tables: adapted.tables,
        caches: vec![Cache {
            output: names.state.clone(),
            width: size,
            delay: 0,
            kept: Kept::of_steps(recurrence.neighbours.iter().map(age).max().unwrap_or(1), lag, shape),
        }],
        assumptions: Vec::new(),
        predictions,
        lag,
        first_delay: 0,
        last_delay: 0,
        multiply_adds: adapted.multiply_adds.saturating_mul(shape.pixels() as u64),
        row_multiply_adds: 0,
        pass_multiply_adds: None,
    })
}

fn check_graph(model: &Model, names: &Names, recurrence: &Recurrence, outcomes: usize) -> Result<(), GraphError> {
    let (neighbours, window) = (recurrence.neighbours.len(), recurrence.window.len());
    let inputs = [
        Expected::float(&names.states, &[neighbours, recurrence.state_size]),
        Expected::float(&names.levels, &[window]),
        Expected::float(&names.inside, &[window]),
        Expected::integer(&names.row),
        Expected::integer(&names.column),
    ];
    for (at, input) in inputs.iter().enumerate() {
        if inputs[..at].iter().any(|other| other.name == input.name) {
            return Err(GraphError::Signature(format!(
                "{:?} is named as two inputs of the step",
                input.name
            )));
        }
    }
    let outputs = [
        Expected::float(&names.state, &[recurrence.state_size]),
        Expected::float(&names.logits, &[outcomes]),
    ];
    signature::check(model, &inputs, &outputs).map(drop)
}
