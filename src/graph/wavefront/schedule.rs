//! When each tensor is computed.
//!
//! Each tensor has a delay δ, and row i runs `lag` columns behind row i − 1: a tensor with delay δ is at column s − lag
//! · i − δ of row i in step s. A tensor that reads another at (dy, dx) can be in the same step only if it reads the
//! same row, and must come at least a step later otherwise: δ(reader) ≥ δ(source) + dx + lag · dy, plus 1 if dy ≠ 0.
//! The logits have delay 0, and a pixel can be read in the step after it is drawn. Apart from that feedback, and from
//! states that are made of those of places before, the network has no cycle, so delays follow from the logits
//! backwards, each as late as its readers allow, which keeps what must be remembered short. The smallest lag for which
//! the pixels are drawn before they are read is the one to take.
//!
//! With a lag of at least the width, rows follow one after the other. Then what depends on the rows above only, as
//! [`rows`] finds it, need not be computed place by place: it is computed for the whole row at once, before its first
//! place, and the lag is no larger than the row is wide, and as many columns more as its other tensors lie apart.

mod rows;

use std::ops::Range;

use super::{
    Predictions, Unsupported,
    stencil::{Operand, Operator, Read, Stencil, StencilTensor, Window},
    trim,
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
    /// A function of the rows above: computed of the whole row at once, before the steps of the row.
    Row,
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
            Role::Everywhere | Role::Table(_) | Role::Row => 0,
        }
    }

    /// Steps between the computation of what is read at (dy, dx) and that of its reader.
    pub(super) fn age(&self, reader: usize, source: usize, dy: i64, dx: i64) -> i64 {
        self.delay(reader) - self.delay(source) - dx - self.lag * dy
    }
}

/// Finds the smallest lag. Tensors that are computed of whole rows are moved down, to the row before which they are.
pub(super) fn schedule(stencil: &mut Stencil) -> Result<Schedule, Unsupported> {
    let width = stencil.shape.width() as i64;
    let mut known = Known {
        tables: tables(stencil),
        rows: vec![None; stencil.tensors.len()],
    };
    let found = (1..=4 * width + 64).find_map(|lag| Some((lag, delays(stencil, &known, lag)?)));
    if !matches!(found, Some((lag, _)) if lag < width) {
        known.rows = rows::rows(stencil, &known.tables);
        if let Some((lag, delays)) = row_by_row(stencil, &known) {
            let origins: Vec<(i64, i64)> = known.rows.iter().map(|row| (-row.unwrap_or(0), 0)).collect();
            trim::shift(stencil, &origins);
            return Ok(known.schedule(stencil, lag, delays));
        }
        known.rows.fill(None);
    }
    let (lag, delays) =
        found.ok_or_else(|| Unsupported::new("no order of steps computes every value before it is read"))?;
    Ok(known.schedule(stencil, lag, delays))
}

/// What is computed before any step that reads it.
struct Known {
    /// Of the tensors that are looked up, what each feature depends on.
    tables: Vec<Option<Vec<usize>>>,
    /// Of those that are computed of whole rows, before which row below.
    rows: Vec<Option<i64>>,
}

impl Known {
    fn schedule(self, stencil: &Stencil, lag: i64, delays: Vec<i64>) -> Schedule {
        let all = stencil.tensors.iter().zip(self.tables).zip(self.rows).zip(delays);
        let roles = all.map(|(((tensor, table), row), delay)| match table {
            _ if tensor.extent.is_none() => Role::Everywhere,
            Some(channels) => Role::Table(channels),
            None if row.is_some() => Role::Row,
            None => Role::Step(delay),
        });
        Schedule {
            lag,
            roles: roles.collect(),
        }
    }
}

/// The smallest lag by which a row begins after the last step of the one above, and the delays.
fn row_by_row(stencil: &Stencil, known: &Known) -> Option<(i64, Vec<i64>)> {
    let width = stencil.shape.width() as i64;
    let mut lag = width;
    known.rows.iter().flatten().next()?;
    for _ in 0..=MOST_ROUNDS {
        let delays = delays(stencil, known, lag)?;
        let steps = |at: &usize| {
            known.tables[*at].is_none() && known.rows[*at].is_none() && stencil.tensors[*at].extent.is_some()
        };
        let own = (0..delays.len()).filter(steps).map(|at| delays[at]);
        let (first, last) = own.fold((0, 0), |(first, last), delay| (delay.min(first), delay.max(last)));
        if width + last - first <= lag {
            return Some((lag, delays));
        }
        lag = width + last - first;
    }
    None
}

/// For each tensor whose features depend on one channel of their own pixel each, and on nothing else, those channels.
fn tables(stencil: &Stencil) -> Vec<Option<Vec<usize>>> {
    let whole = stencil.window();
    // What attention reads is remembered, so it is computed in steps.
    let attended = stencil.attended();
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
fn delays(stencil: &Stencil, known: &Known, lag: i64) -> Option<Vec<i64>> {
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
        hasten(stencil, known, &late, lag, &mut delays)?;
        if delays == before || stencil.states().is_empty() {
            return Some(delays);
        }
    }
    None
}

/// Has every tensor computed as early as its readers need it.
fn hasten(stencil: &Stencil, known: &Known, late: &Range<usize>, lag: i64, delays: &mut [i64]) -> Option<()> {
    for at in (0..stencil.tensors.len()).rev() {
        let tensor = &stencil.tensors[at];
        let own = delays[at];
        let is_row = known.rows[at].is_some();
        // What nobody is known to read yet is made for states of later places.
        if known.tables[at].is_some() || tensor.extent.is_none() || (own == i64::MAX && !is_row) {
            continue;
        }
        for (read, dy, dx) in tensor.reads() {
            if stencil.tensors[read.tensor].extent.is_none() {
                continue;
            }
            if let Some(row) = known.rows[read.tensor] {
                // What is computed before a row below is not there yet.
                (is_row || dy + row <= 0).then_some(())?;
                continue;
            }
            if is_row {
                // The row above has ended, whenever it computed what is read.
                delays[read.tensor] = delays[read.tensor].min(0);
                continue;
            }
            if let Some(channels) = &known.tables[read.tensor] {
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
