//! Drawing from a compiled network: all rows that can move do so at once, and nothing is computed twice.
//!
//! The step graph computes one column of some rows of some images; this module decides which, hands it what earlier
//! steps computed, and keeps what later ones will read. Rows of different images, at different steps, share a run, so
//! images can start and finish at any time. What rows above tell of a row is computed before its first column.

mod inputs;
mod memory;
mod stage;
mod tables;

use std::{
    ops::Range,
    sync::{Mutex, PoisonError},
};

use self::{
    inputs::Buffers,
    memory::{Layout, Recalled},
    stage::Stage,
};
use crate::{
    domain::image::ImageShape,
    families::network::NetworkError,
    graph::{
        protobuf::Model,
        rewrite::InputMap,
        wavefront::{Compiled, LOGITS, Predictions},
    },
    runtime::{Engine, View},
};

/// Values of finished images whose memory is kept for new ones, 32 MiB of them: with attention an image has megabytes.
const SPARE_VALUES: usize = 1 << 23;
/// Such memories, at most.
const SPARE_MEMORIES: usize = 64;

/// A compiled network with its runtime.
#[derive(Debug)]
pub struct Wavefront {
    step: Stage,
    row: Option<Stage>,
    /// Without its parts.
    compiled: Compiled,
    shape: ImageShape,
    /// For each table: level by level, its features.
    tables: Vec<Vec<f32>>,
    layout: Layout,
    spare: Mutex<Spare>,
}

/// Buffers to be used again.
#[derive(Debug, Default)]
struct Spare {
    memories: Vec<Vec<f32>>,
    buffers: Vec<Scratch>,
}

/// Buffers of the runs of an image.
#[derive(Debug, Default)]
struct Scratch {
    step: Buffers,
    row: Buffers,
    /// Logits of one channel.
    logits: Vec<f32>,
}

/// An image that is being drawn, or followed.
#[derive(Debug)]
pub struct Walk {
    levels: Vec<u8>,
    label: i64,
    step: i64,
    memory: Vec<f32>,
}

impl Walk {
    /// Levels in channel, row, column order; those that have not been settled yet are arbitrary.
    pub fn levels(&self) -> &[u8] {
        &self.levels
    }
}

/// A row of an image that is somewhere on its way.
#[derive(Debug, Clone, Copy)]
struct Pair {
    walk: usize,
    row: i64,
    /// Column of a tensor with delay 0.
    column: i64,
}

/// A dimension whose distribution is known.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Number of the walk.
    pub walk: usize,
    /// Storage index.
    pub index: usize,
    /// The level that stands there.
    pub level: u8,
    /// What the network gives: its logits, or the parameters of its pixel.
    pub values: &'a [f32],
    /// Levels of the channels of its pixel before it.
    pub earlier: &'a [u8],
}

/// Decides on the level of a dimension.
pub type Settle<'a> = dyn FnMut(&Known<'_>) -> u8 + 'a;

/// What a program costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Columns by which a row runs behind the row above.
    pub lag: u64,
    /// Steps that an image takes.
    pub steps: u64,
    /// Multiplications of weights for an image.
    pub multiply_adds: u64,
    /// Those of them that are done for a whole row at once, before its first pixel.
    pub row_multiply_adds: u64,
    /// Bytes that are remembered for an image while it is drawn.
    pub bytes: u64,
}

/// What a step takes beside its multiplications, in multiplications: a run of the runtime, and what is read for it.
const STEP: u64 = 200_000;
/// Steps after which other work gets its turn, where a step reads few weights.
pub const STEPS_IN_A_TURN: u64 = 4;
/// Weights of a step above which they come from memory, time and again: 4 MB.
const MANY_WEIGHTS: u64 = 1 << 20;
/// Walks whose rows make full blocks for the kernels of rows.
const WALKS_AT_ONCE: usize = 4;
/// Dimensions for one pass of fixed-point iteration: of masked autoencoders it settles more, 21 to 28 (28×28, two
/// levels, trained).
const DIMENSIONS_OF_A_PASS: u64 = 16;

impl Wavefront {
    /// Makes a program runnable.
    pub fn load(
        engine: &dyn Engine,
        name: &str,
        mut compiled: Compiled,
        shape: ImageShape,
        map: InputMap,
    ) -> Result<Self, NetworkError> {
        let tables = tables::tables(engine, name, &compiled, shape, map)?;
        compiled.tables.graph = Model::default();
        let layout = Layout::of(&compiled, shape);
        let (step, row, caches) = (
            std::mem::take(&mut compiled.step),
            compiled.row.take(),
            &compiled.caches,
        );
        let step = Stage::load(engine, &format!("{name} (step)"), step, Some(LOGITS), caches)?;
        let row = row.map(|row| Stage::load(engine, &format!("{name} (rows)"), row, None, caches));
        Ok(Self {
            step,
            row: row.transpose()?,
            compiled,
            shape,
            tables,
            layout,
            spare: Mutex::default(),
        })
    }

    /// What an image costs.
    pub fn cost(&self) -> Cost {
        Cost {
            lag: self.compiled.lag.unsigned_abs(),
            steps: self.steps(),
            multiply_adds: self.compiled.multiply_adds,
            row_multiply_adds: self.compiled.row_multiply_adds,
            bytes: (self.layout.size * size_of::<f32>()) as u64,
        }
    }

    /// Whether full passes draw an image sooner. They do where a pass is a few products over all pixels, for which the
    /// program takes a step a pixel.
    pub fn is_slower_than_passes(&self) -> bool {
        let passes = (self.shape.dimensions() as u64).div_ceil(DIMENSIONS_OF_A_PASS);
        let own = self.compiled.multiply_adds.saturating_add(self.steps() * STEP);
        let pass = self.compiled.pass_multiply_adds;
        pass.is_some_and(|pass| own > pass.saturating_mul(passes))
    }

    /// What must hold of the graph's numbers for the proof of causality to be about it; tried, not proven.
    pub fn assumptions(&self) -> &[String] {
        &self.compiled.assumptions
    }

    /// Steps that an image takes.
    pub fn steps(&self) -> u64 {
        self.compiled.steps(self.shape)
    }

    /// Whether a step reads more weights than caches hold: then rows of many images take little longer than one.
    pub fn reads_many_weights(&self) -> bool {
        let of_steps = self
            .compiled
            .multiply_adds
            .saturating_sub(self.compiled.row_multiply_adds);
        of_steps / (self.shape.pixels() as u64) > MANY_WEIGHTS
    }

    /// Walks that share the steps of a turn: as many as caches hold the memory of, where more rows are not quicker.
    fn walks_at_once(&self) -> usize {
        if self.step.program.likes_few_rows() && !self.reads_many_weights() {
            WALKS_AT_ONCE
        } else {
            usize::MAX
        }
    }

    /// Steps after which other work gets its turn.
    pub fn steps_in_a_turn(&self) -> u64 {
        if self.reads_many_weights() { 1 } else { STEPS_IN_A_TURN }
    }

    /// Begins an image. Levels that are not known in advance may be anything. `label` is that of a conditional model,
    /// else 0.
    pub fn start(&self, levels: Vec<u8>, label: u32) -> Walk {
        let mut memory = self.spare().memories.pop().unwrap_or_default();
        if !self.layout.pasts.is_empty() {
            // What another image left must not be able to spoil this one, were it no number.
            memory.clear();
        }
        memory.resize(self.layout.size, 0.0);
        Walk {
            levels,
            label: i64::from(label),
            step: self.compiled.first_delay,
            memory,
        }
    }

    /// Whether every level is settled.
    pub fn is_finished(&self, walk: &Walk) -> bool {
        walk.step > self.last_step()
    }

    /// Gives the levels of a walk and keeps its memory for another.
    pub fn finish(&self, walk: Walk) -> Vec<u8> {
        let mut spare = self.spare();
        let most = (SPARE_VALUES / self.layout.size.max(1)).min(SPARE_MEMORIES);
        if spare.memories.len() < most {
            spare.memories.push(walk.memory);
        }
        walk.levels
    }

    /// Rows from the top whose levels are settled.
    pub fn settled_rows(&self, walk: &Walk) -> usize {
        let width = self.shape.width() as i64;
        let done = (walk.step - width) / self.compiled.lag + 1;
        if walk.step < width {
            return 0;
        }
        (done.max(0) as usize).min(self.shape.height())
    }

    /// Moves walks on by at most `steps` steps. Whenever the distribution of a dimension is known, `settle` is asked
    /// for its level. Within a walk the order of these calls is always the same: by step, then by channel and row, or
    /// where the network predicts pixels by row and channel.
    pub fn advance(&self, walks: &mut [&mut Walk], steps: u64, settle: &mut Settle<'_>) -> Result<(), NetworkError> {
        let mut scratch = self.spare().buffers.pop().unwrap_or_default();
        let together = self.walks_at_once().min(walks.len()).max(1);
        let result = walks.chunks_mut(together).enumerate().try_for_each(|(group, walks)| {
            scratch.step.pasts.iter_mut().for_each(Recalled::forget);
            let mut settle = |known: &Known<'_>| {
                let walk = group * together + known.walk;
                settle(&Known { walk, ..*known })
            };
            (0..steps).try_for_each(|_| self.step(walks, &mut scratch, &mut settle))
        });
        self.spare().buffers.push(scratch);
        result
    }

    fn step(
        &self,
        walks: &mut [&mut Walk],
        scratch: &mut Scratch,
        settle: &mut Settle<'_>,
    ) -> Result<(), NetworkError> {
        if let Some(stage) = &self.row {
            self.begin_rows(stage, walks, &mut scratch.row)?;
        }
        self.collect_pairs(walks, &mut scratch.step.pairs);
        if !scratch.step.pairs.is_empty() {
            let channels = self.shape.channels();
            let together = match self.compiled.predictions {
                Predictions::OfChannels(_) => 1,
                Predictions::OfPixels(_) => channels,
            };
            for first in (0..channels).step_by(together) {
                self.fill(&self.step.part, walks, &mut scratch.step, first == 0);
                self.run_step(walks, scratch, first..first + together, settle)?;
            }
        }
        for walk in walks {
            walk.step += 1;
        }
        Ok(())
    }

    /// Rows that compute anything in this step.
    fn collect_pairs(&self, walks: &[&mut Walk], pairs: &mut Vec<Pair>) {
        pairs.clear();
        let (height, width) = (self.shape.height() as i64, self.shape.width() as i64);
        let compiled = &self.compiled;
        let last = self.last_step();
        for (index, walk) in walks.iter().enumerate() {
            if walk.step > last {
                continue;
            }
            for row in 0..height {
                let column = walk.step - compiled.lag * row;
                if column < compiled.first_delay {
                    break;
                }
                if column < width + compiled.last_delay {
                    pairs.push(Pair {
                        walk: index,
                        row,
                        column,
                    });
                }
            }
        }
    }

    fn run_step(
        &self,
        walks: &mut [&mut Walk],
        scratch: &mut Scratch,
        drawn: Range<usize>,
        settle: &mut Settle<'_>,
    ) -> Result<(), NetworkError> {
        let is_last_run = drawn.end == self.shape.channels();
        let Scratch { step, logits: own, .. } = scratch;
        self.run(&self.step, step, &mut |outputs| {
            let Some((logits, kept)) = outputs.split_first() else {
                return;
            };
            if is_last_run {
                self.remember(&self.step.part, walks, step, kept);
            }
            self.settle(walks, &step.pairs, logits, drawn.clone(), own, settle);
        })
    }

    /// Has the channels `drawn` of every pair settled.
    fn settle(
        &self,
        walks: &mut [&mut Walk],
        pairs: &[Pair],
        logits: &View<'_>,
        drawn: Range<usize>,
        scratch: &mut Vec<f32>,
        settle: &mut Settle<'_>,
    ) {
        let (channels, width, pixels) = (self.shape.channels(), self.shape.width(), self.shape.pixels());
        let size = logits.values.len() / pairs.len();
        for (pair, values) in pairs.iter().zip(logits.values.chunks_exact(size)) {
            if !(0..width as i64).contains(&pair.column) {
                continue;
            }
            let pixel = pair.row as usize * width + pair.column as usize;
            let levels = &mut walks[pair.walk].levels;
            for channel in drawn.clone() {
                let own: &[f32] = match self.compiled.predictions {
                    Predictions::OfChannels(_) if channels > 1 => {
                        scratch.clear();
                        scratch.extend(values.iter().skip(channel).step_by(channels));
                        scratch
                    }
                    Predictions::OfChannels(_) | Predictions::OfPixels(_) => values,
                };
                // There are at most four channels.
                let mut earlier = [0u8; 4];
                for (before, level) in earlier[..channel].iter_mut().enumerate() {
                    *level = levels[before * pixels + pixel];
                }
                let index = channel * pixels + pixel;
                levels[index] = settle(&Known {
                    walk: pair.walk,
                    index,
                    level: levels[index],
                    values: own,
                    earlier: &earlier[..channel],
                });
            }
        }
    }

    fn last_step(&self) -> i64 {
        let (height, width) = (self.shape.height() as i64, self.shape.width() as i64);
        self.compiled.lag * (height - 1) + width - 1
    }

    fn spare(&self) -> std::sync::MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
