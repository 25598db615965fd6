//! Graphs that compute each row of a batch by itself, followed by kernels of our own.
//!
//! A step of a drawn image is a hundred small operators on a handful of rows. The runtime takes a microsecond for each
//! of them beside its work, and rounds sums otherwise where there are more rows. Here an operator costs a few
//! nanoseconds, weights are read once from the first to the last, and a row has the same bits in any company. Whatever
//! is in a graph beside products with constant weights and functions of single values is left to the runtime.

mod functions;
mod memory;
mod product;

use std::sync::{Arc, Mutex, PoisonError};

use pulp::Arch;

use self::{
    functions::{Combine, Map, Side},
    memory::{Buffers, Memory},
    product::{Panels, Part, Product, Weights},
};
use super::{Input, Program, RuntimeError, Threads, Values, View, time_limit};
use crate::graph::{
    protobuf::{ElementType, Model},
    rows::{self, Factors, Operand, Output, Plan, Rows, Source, Step},
};

/// Rows that go through all steps at once: enough for the products, few enough for what lies between them to stay in
/// caches.
const ROWS_AT_ONCE: usize = 96;

/// Weights above which a graph is left to the runtime, 64 MB of them: they come from memory in any case, and are held
/// twice while they are laid out.
const MOST_WEIGHTS: usize = 1 << 24;

/// The graph as a program, or `None` where kernels for it, or for this processor, are missing, or its weights are too
/// many. `name` appears in messages.
pub(super) fn program(name: &str, graph: &Model) -> Option<Arc<dyn Program>> {
    let processor = Arch::new();
    let columns = product::columns(processor)?;
    let plan = rows::plan(graph)?;
    Some(Arc::new(RowProgram::new(name, plan, (processor, columns))?))
}

#[derive(Debug)]
struct RowProgram {
    name: String,
    processor: Arch,
    inputs: Vec<Source>,
    steps: Vec<Step>,
    /// Of the products.
    weights: Vec<Weights>,
    panels: Panels,
    memory: Memory,
    outputs: Vec<Output>,
    /// Buffers that no run uses now.
    spare: Mutex<Vec<Buffers>>,
}

impl RowProgram {
    fn new(name: &str, plan: Plan<'_>, (processor, columns): (Arch, usize)) -> Option<Self> {
        let memory = Memory::of(&plan);
        let room = |factors: &Factors<'_>| Weights::room(factors.inputs, factors.bias.len(), columns);
        let room = plan.factors.iter().map(room).sum();
        if room > MOST_WEIGHTS {
            return None;
        }
        let mut panels = Panels::with_room_for(room);
        let lay = |factors: Factors<'_>| Some(panels.push(&rows::reals(factors.weights)?, factors.bias, columns));
        let weights = plan.factors.into_iter().map(lay).collect::<Option<_>>()?;
        Some(Self {
            name: name.to_owned(),
            processor,
            inputs: plan.inputs,
            steps: plan.steps,
            weights,
            panels,
            memory,
            outputs: plan.outputs,
            spare: Mutex::default(),
        })
    }

    fn follow(&self, inputs: &[Values<'_>], rows: usize, buffers: &mut Buffers) -> Result<(), String> {
        for start in (0..rows).step_by(ROWS_AT_ONCE) {
            let rows = ROWS_AT_ONCE.min(rows - start);
            for (at, step) in self.steps.iter().enumerate() {
                let mut buffer = buffers.take(&self.memory, at);
                let run = Run {
                    program: self,
                    inputs,
                    buffers,
                    start,
                    rows,
                };
                let result = run.step(step, self.memory.range_mut(at, &mut buffer, (start, rows)), at);
                buffers.give_back(&self.memory, at, buffer);
                result?;
            }
        }
        Ok(())
    }

    /// The inputs in the graph's order, and the number of rows.
    fn ordered<'a>(&self, inputs: &[Input<'a>]) -> Result<(Vec<Values<'a>>, usize), String> {
        let rows = inputs
            .iter()
            .find_map(|input| input.shape.first())
            .copied()
            .unwrap_or(0);
        let find = |source: &Source| {
            let input = inputs.iter().find(|input| input.name == source.name);
            let input = input.ok_or_else(|| format!("no input {:?}", source.name))?;
            let (fits, length) = match (source.element, input.values) {
                (ElementType::Float, Values::Floats(values)) => (true, values.len()),
                (ElementType::Int64, Values::Ints(values)) => (true, values.len()),
                (ElementType::Uint8, Values::Bytes(values)) => (true, values.len()),
                _ => (false, 0),
            };
            if fits && length == rows * source.width {
                return Ok(input.values);
            }
            Err(format!(
                "input {:?} is to be {rows} rows of {} values of type {:?}",
                source.name, source.width, source.element
            ))
        };
        let ordered = self.inputs.iter().map(find).collect::<Result<_, _>>()?;
        Ok((ordered, rows))
    }

    fn views<'a>(&self, names: &[&str], buffers: &'a Buffers, rows: usize) -> Result<Vec<View<'a>>, String> {
        let view = |name: &&str| {
            let output = self.outputs.iter().find(|output| output.name == **name);
            let output = output.ok_or_else(|| format!("no output {name:?}"))?;
            Ok(View {
                shape: [&[rows], &output.features[..]].concat(),
                values: buffers.range(&self.memory, output.step, (0, rows)),
            })
        };
        names.iter().map(view).collect()
    }
}

impl Program for RowProgram {
    fn likes_few_rows(&self) -> bool {
        true
    }

    fn run_with(
        &self,
        inputs: &[Input<'_>],
        outputs: &[&str],
        _: Threads,
        read: &mut dyn FnMut(&[View<'_>]),
    ) -> Result<(), RuntimeError> {
        let spare = || self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = |cause| RuntimeError::Run {
            name: self.name.clone(),
            cause,
        };
        let (inputs, rows) = self.ordered(inputs).map_err(failed)?;
        let mut buffers = spare().pop().unwrap_or_default();
        buffers.make_room(&self.memory, rows, ROWS_AT_ONCE);
        // A run is short: what waits for the clock need not stop it.
        let followed = time_limit::stoppable(|| {}, || self.follow(&inputs, rows, &mut buffers));
        let followed = followed.map_err(|limit| RuntimeError::Impatient {
            name: self.name.clone(),
            limit,
        })?;
        followed.map_err(failed)?;
        read(&self.views(outputs, &buffers, rows).map_err(failed)?);
        spare().push(buffers);
        Ok(())
    }
}

/// Some rows on their way through the steps.
struct Run<'a> {
    program: &'a RowProgram,
    inputs: &'a [Values<'a>],
    buffers: &'a Buffers,
    start: usize,
    rows: usize,
}

impl<'a> Run<'a> {
    fn step(&self, step: &Step, into: &mut [f32], at: usize) -> Result<(), String> {
        let processor = self.program.processor;
        let width = self.program.memory.width(at);
        match step {
            Step::Product { parts, factors } => {
                let parts = self.parts(parts);
                processor.dispatch(Product {
                    parts: &parts,
                    weights: &self.program.weights[*factors],
                    panels: &self.program.panels,
                    rows: self.rows,
                    into,
                });
            }
            &Step::Map(function, rows) => {
                let from = self.values(rows);
                processor.dispatch(Map { function, from, into });
            }
            Step::Combine(operation, left, right) => processor.dispatch(Combine {
                operation: *operation,
                left: self.side(left),
                right: self.side(right),
                width,
                into,
            }),
            Step::Join(parts) => {
                let parts = self.parts(parts);
                for (row, into) in into.chunks_exact_mut(width).enumerate() {
                    let mut rest = into;
                    for part in &parts {
                        let (own, others) = rest.split_at_mut(part.width);
                        own.copy_from_slice(&part.values[row * part.width..][..part.width]);
                        rest = others;
                    }
                }
            }
            Step::Select(rows, ranges) => {
                let from = self.values(*rows);
                let from = from.chunks_exact(from.len() / self.rows);
                for (from, into) in from.zip(into.chunks_exact_mut(width)) {
                    let mut rest = into;
                    for &(first, length) in ranges {
                        let (own, others) = rest.split_at_mut(length);
                        own.copy_from_slice(&from[first..first + length]);
                        rest = others;
                    }
                }
            }
            Step::LookUp { table, index } => {
                for (&number, into) in self.numbers(*index).iter().zip(into.chunks_exact_mut(width)) {
                    let row = usize::try_from(number)
                        .ok()
                        .and_then(|row| table.chunks_exact(width).nth(row));
                    into.copy_from_slice(row.ok_or_else(|| format!("row {number} of a table that ends before it"))?);
                }
            }
            Step::Where { mask, inside, outside } => {
                let inside = self.values(*inside).chunks_exact(width);
                for ((&mask, inside), into) in self.bytes(*mask).iter().zip(inside).zip(into.chunks_exact_mut(width)) {
                    if mask == 0 {
                        into.fill(*outside);
                    } else {
                        into.copy_from_slice(inside);
                    }
                }
            }
        }
        Ok(())
    }

    fn values(&self, rows: Rows) -> &'a [f32] {
        match rows {
            Rows::Step(step) => self.buffers.range(&self.program.memory, step, (self.start, self.rows)),
            Rows::Input(at) => match self.inputs[at] {
                Values::Floats(values) => self.own(values, at),
                _ => &[],
            },
        }
    }

    fn numbers(&self, at: usize) -> &'a [i64] {
        match self.inputs[at] {
            Values::Ints(values) => self.own(values, at),
            _ => &[],
        }
    }

    fn bytes(&self, at: usize) -> &'a [u8] {
        match self.inputs[at] {
            Values::Bytes(values) => self.own(values, at),
            _ => &[],
        }
    }

    /// Of an input, what belongs to these rows.
    fn own<T>(&self, values: &'a [T], input: usize) -> &'a [T] {
        let width = self.program.inputs[input].width;
        &values[self.start * width..][..self.rows * width]
    }

    fn parts(&self, parts: &[(Rows, usize)]) -> Vec<Part<'a>> {
        let part = |&(rows, width): &(Rows, usize)| Part {
            values: self.values(rows),
            width,
        };
        parts.iter().map(part).collect()
    }

    fn side<'b>(&'b self, operand: &'b Operand) -> Side<'b> {
        match operand {
            Operand::Rows(rows) => Side::Rows(self.values(*rows)),
            Operand::Constant(values) => match values[..] {
                [value] => Side::Value(value),
                _ => Side::Row(values),
            },
        }
    }
}

#[cfg(test)]
mod tests;
