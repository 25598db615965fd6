//! When each tensor is computed.
//!
//! Each tensor has a delay δ, and row i runs `lag` columns behind row i − 1: a tensor with delay δ is at column s − lag
//! · i − δ of row i in step s. A tensor that reads another at (dy, dx) can be in the same step only if it reads the
//! same row, and must come at least a step later otherwise: δ(reader) ≥ δ(source) + dx + lag · dy, plus 1 if dy ≠ 0.
//! The logits have delay 0, and a pixel can be read in the step after it is drawn. Apart from that feedback, and from
//! states that are made of those of places before, the network has no cycle, so delays follow from the logits
//! backwards, each as late as its readers allow, which keeps what must be remembered short. The smallest lag for which
//! the pixels are drawn before they are read is the one to take.

use std::{collections::HashSet, ops::Range};

use super::{
    Predictions, Unsupported,
    stencil::{Operand, Operator, Read, Stencil, StencilTensor, Window},
};

/// How often delays of states are found anew, at most.
const MOST_ROUNDS: usize = 16;

/// What becomes of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// The same at every pixel: computed in every step.
    Everywhere,
    /// A function of the levels of its own pixel: looked up. Each feature depends on the channel given here.
    Table(Vec<usize>),
    /// Computed in steps, with this delay.
    Step(i64),
}

/// Roles of all tensors.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) lag: i64,
    pub(super) roles: Vec<Role>,
}

impl Schedule {
    /// The delay of a tensor that is computed in steps.
    pub(super) fn delay(&self, tensor: usize) -> i64 {
        match self.roles[tensor] {
            Role::Step(delay) => delay,
            Role::Everywhere | Role::Table(_) => 0,
        }
    }

    /// Steps between the computation of what is read at (dy, dx) and that of its reader.
    pub(super) fn age(&self, reader: usize, source: usize, dy: i64, dx: i64) -> i64 {
        self.delay(reader) - self.delay(source) - dx - self.lag * dy
    }
}

/// Finds the smallest lag.
pub(super) fn schedule(stencil: &Stencil) -> Result<Schedule, Unsupported> {
    let tables = tables(stencil);
    let limit = 4 * stencil.shape.width() as i64 + 64;
    for lag in 1..=limit {
        if let Some(delays) = delays(stencil, &tables, lag) {
            let roles = stencil
                .tensors
                .iter()
                .zip(tables)
                .zip(delays)
                .map(|((tensor, table), delay)| match table {
                    _ if tensor.extent.is_none() => Role::Everywhere,
                    Some(channels) => Role::Table(channels),
                    None => Role::Step(delay),
                })
                .collect();
            return Ok(Schedule { lag, roles });
        }
    }
    Err(Unsupported::new(
        "no order of steps computes every value before it is read",
    ))
}

/// For each tensor whose features depend on one channel of their own pixel each, and on nothing else, those channels.
fn tables(stencil: &Stencil) -> Vec<Option<Vec<usize>>> {
    let whole = stencil.window();
    // What attention reads is remembered, so it is computed in steps.
    let attended: HashSet<usize> = stencil.tensors.iter().flat_map(StencilTensor::attended).collect();
    let mut tables: Vec<Option<Vec<usize>>> = Vec::new();
    for (at, tensor) in stencil.tensors.iter().enumerate() {
        tables.push(if let Operator::Image = tensor.operator {
            Some((0..tensor.width()).collect())
        } else {
            channels_of(tensor, &tables, whole).filter(|_| at != stencil.logits && !attended.contains(&at))
        });
    }
    tables
}

fn channels_of(tensor: &StencilTensor, tables: &[Option<Vec<usize>>], whole: Window) -> Option<Vec<usize>> {
    tensor.extent?;
    let has_table = tensor
        .operands
        .iter()
        .any(|operand| matches!(operand, Operand::Table(_)));
    let own_pixel =
        |(read, dy, dx): (&Read, i64, i64)| (dy, dx) == (0, 0) && read.window == whole && tables[read.tensor].is_some();
    if has_table || tensor.reads().count() == 0 || !tensor.reads().all(own_pixel) {
        return None;
    }
    let mut channels: Vec<Option<usize>> = vec![None; tensor.width()];
    let mut single = true;
    tensor.dependencies(|found| {
        let Some(source) = &tables[found.tensor] else {
            return;
        };
        let channel = source[found.source];
        single &= channels[found.feature].is_none_or(|known| known == channel);
        channels[found.feature] = Some(channel);
    });
    // A feature without any source is constant: any channel tells it.
    single.then(|| channels.into_iter().map(|c| c.unwrap_or(0)).collect())
}

/// The latest delays for this lag, or `None` if a pixel would be read before it is drawn.
fn delays(stencil: &Stencil, tables: &[Option<Vec<usize>>], lag: i64) -> Option<Vec<i64>> {
    // Channels that are not drawn yet when a step is last run.
    let late: Range<usize> = match stencil.predictions {
        Predictions::OfChannels(_) => stencil.shape.channels() - 1..stencil.shape.channels(),
        Predictions::OfPixels(_) => 0..stencil.shape.channels(),
    };
    let mut delays = vec![i64::MAX; stencil.tensors.len()];
    delays[stencil.logits] = 0;
    // States have readers among what they are made of.
    for _ in 0..=MOST_ROUNDS {
        let before = delays.clone();
        hasten(stencil, (tables, &late), lag, &mut delays)?;
        if delays == before || stencil.states().is_empty() {
            return Some(delays);
        }
    }
    None
}

/// Has every tensor computed as early as its readers need it.
fn hasten(
    stencil: &Stencil,
    (tables, late): (&[Option<Vec<usize>>], &Range<usize>),
    lag: i64,
    delays: &mut [i64],
) -> Option<()> {
    for at in (0..stencil.tensors.len()).rev() {
        let tensor = &stencil.tensors[at];
        let own = delays[at];
        // What nobody is known to read yet is made for states of later places.
        if tables[at].is_some() || tensor.extent.is_none() || own == i64::MAX {
            continue;
        }
        for (read, dy, dx) in tensor.reads() {
            if stencil.tensors[read.tensor].extent.is_none() {
                continue;
            }
            if let Some(channels) = &tables[read.tensor] {
                let earliest = if (dy, dx) != (0, 0) {
                    1 + dx + lag * dy
                } else {
                    i64::from(reads_channel(tensor, read.tensor, channels, late))
                };
                if own < earliest {
                    return None;
                }
                continue;
            }
            // A state of a place before was computed in an earlier step.
            let latest = own - dx - lag * dy - i64::from(dy != 0 || read.tensor > at);
            delays[read.tensor] = delays[read.tensor].min(latest);
        }
    }
    Some(())
}

/// Whether the tensor reads a feature of one of the given channels at its own pixel.
fn reads_channel(tensor: &StencilTensor, source: usize, channels: &[usize], given: &Range<usize>) -> bool {
    let mut reads = false;
    tensor.dependencies(|found| {
        reads |= found.tensor == source && (found.dy, found.dx) == (0, 0) && given.contains(&channels[found.source]);
    });
    reads
}
