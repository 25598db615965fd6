//! Writes the step graph: what a step reads, what it computes, and what it hands on.

mod attention;
mod operators;
mod products;
mod program;
mod tables;
mod writer;

use std::collections::{BTreeMap, BTreeSet};

use self::{
    attention::Pasts,
    operators::{own_constant, write},
    writer::Writer,
};
use super::{
    Compiled, Kept, LABELS, Source, Unsupported,
    schedule::{Role, Schedule},
    stencil::{Operand, Operator, Read, Stencil, StencilTensor, Window},
};
use crate::graph::{
    constant::Constant,
    protobuf::{BOOL, Model, Node},
};

/// Writes the program of a stencil; `model` gives the version of the operators.
pub(super) fn emit(stencil: &Stencil, schedule: &Schedule, model: &Model) -> Result<Compiled, Unsupported> {
    let opset = model.opset();
    if opset < 13 {
        return Err(Unsupported::new(format!(
            "version {opset} of the ONNX operators; 13 or later is needed"
        )));
    }
    let mut emitter = Emitter {
        stencil,
        schedule,
        opset,
        draft: Draft::default(),
        cached: BTreeMap::new(),
        tabulated: BTreeMap::new(),
        multiply_adds: 0,
    };
    let row = if schedule.roles.contains(&Role::Row) {
        emitter.tensors(|role| *role == Role::Row)?;
        Some((std::mem::take(&mut emitter.draft), emitter.multiply_adds))
    } else {
        None
    };
    emitter.tensors(|role| matches!(role, Role::Step(_)))?;
    emitter.finish(row, model)
}

/// What identifies a lookup: source, delay of the reader, neighbours, window.
type GatherKey = (Source, i64, Vec<(i64, i64)>, Window);

struct Emitter<'a> {
    stencil: &'a Stencil,
    schedule: &'a Schedule,
    opset: i64,
    draft: Draft,
    /// Tensors that are kept: their place among the caches, and how much of them.
    cached: BTreeMap<usize, (usize, Kept)>,
    /// Tensors that are looked up by level: their place among the tables.
    tabulated: BTreeMap<usize, usize>,
    multiply_adds: u64,
}

/// A part of the program that is being written.
#[derive(Default)]
struct Draft {
    writer: Writer,
    /// What it computes.
    tensors: BTreeSet<usize>,
    gathers: BTreeMap<GatherKey, String>,
    positions: BTreeMap<i64, String>,
    /// By delay and window.
    masks: BTreeMap<(i64, Window), String>,
    pasts: Pasts,
    takes_labels: bool,
}

fn name_of(tensor: usize) -> String {
    format!("density_server/tensor_{tensor}")
}

impl Emitter<'_> {
    /// Writes the tensors of such roles, and what they read that is the same everywhere.
    fn tensors(&mut self, is_own: impl Fn(&Role) -> bool) -> Result<(), Unsupported> {
        let roles = &self.schedule.roles;
        let mut wanted: Vec<bool> = roles.iter().map(is_own).collect();
        for at in (0..wanted.len()).rev() {
            let is_read = |read: &Read| wanted[at] && roles[read.tensor] == Role::Everywhere;
            let read: Vec<usize> = self.stencil.tensors[at]
                .reads()
                .filter(|(read, ..)| is_read(read))
                .map(|(read, ..)| read.tensor)
                .collect();
            read.into_iter().for_each(|tensor| wanted[tensor] = true);
        }
        for at in (0..wanted.len()).filter(|&at| wanted[at]) {
            self.draft.tensors.insert(at);
            self.tensor(at)?;
        }
        Ok(())
    }

    fn tensor(&mut self, at: usize) -> Result<(), Unsupported> {
        let tensor = &self.stencil.tensors[at];
        let output = name_of(at);
        match &tensor.operator {
            Operator::Image => {}
            Operator::Label => {
                self.draft.takes_labels = true;
                self.draft.writer.node(Node::new("Identity", &[LABELS], &output));
            }
            Operator::Linear(linear) => self.linear(at, tensor, linear)?,
            Operator::Attend(attend) => self.attend(at, tensor, attend)?,
            Operator::Select { .. } if self.is_part(tensor) => {}
            Operator::OfPlace => {
                let mut operands = self.operands(at, tensor)?;
                operands.push(self.position(at));
                write(&mut self.draft.writer, tensor, &operands, &output, self.opset);
            }
            _ => {
                let operands = self.operands(at, tensor)?;
                write(&mut self.draft.writer, tensor, &operands, &output, self.opset);
            }
        }
        Ok(())
    }

    /// The names under which the operands can be read in this step.
    fn operands(&mut self, at: usize, tensor: &StencilTensor) -> Result<Vec<String>, Unsupported> {
        tensor
            .operands
            .iter()
            .map(|operand| match operand {
                Operand::Tensor(read) => {
                    let name = self.read(at, read, read.dy, read.dx)?;
                    let source = &self.stencil.tensors[read.tensor];
                    let looked_up = name != name_of(read.tensor) && read.features.len() != 1;
                    Ok(if looked_up || read.features != source.features {
                        self.draft.writer.reshaped(&name, &read.features)
                    } else {
                        name
                    })
                }
                Operand::Constant(constant) => Ok(own_constant(&mut self.draft.writer, tensor, constant)),
                Operand::Table(table) => {
                    if tensor.is_product() {
                        self.multiply_adds += table.size() as u64;
                    }
                    let position = self.position(at);
                    let mut dims = vec![table.dims[0] * table.dims[1]];
                    dims.extend(&table.dims[2..]);
                    let table = self.draft.writer.constant(&table.clone().reshaped(dims));
                    let output = self.draft.writer.fresh("placed");
                    self.draft
                        .writer
                        .node(Node::new("Gather", &[&table, &position], &output));
                    Ok(output)
                }
            })
            .collect()
    }

    /// The input that says which pixel each row is at.
    fn position(&mut self, at: usize) -> String {
        let input = self.draft.positions.entry(self.schedule.delay(at));
        input.or_insert_with(|| self.draft.writer.fresh("position")).clone()
    }

    /// Whether a tensor is there, (dy, dx) away, once its own part of the program has computed it.
    fn is_new(&self, at: usize, source: usize, dy: i64, dx: i64) -> bool {
        match (&self.schedule.roles[at], &self.schedule.roles[source]) {
            (_, Role::Everywhere) => true,
            (Role::Row, Role::Row) => dy == 0,
            (Role::Step(_), Role::Step(_)) => self.schedule.age(at, source, dy, dx) == 0,
            _ => false,
        }
    }

    /// The name of one neighbour of a tensor.
    fn read(&mut self, at: usize, read: &Read, dy: i64, dx: i64) -> Result<String, Unsupported> {
        if self.is_new(at, read.tensor, dy, dx) {
            return Ok(self.computed_now(read, dx));
        }
        self.gather(at, read, vec![(dy, dx)])
    }

    /// The name of a tensor of this part, zero where the reader's neighbour lies outside the window.
    fn computed_now(&mut self, read: &Read, dx: i64) -> String {
        match self.schedule.roles[read.tensor] {
            Role::Step(_) => {
                let whole = self.stencil.window().shifted(0, dx);
                self.masked(read, whole.intersect(read.window) == whole)
            }
            Role::Row => {
                let whole = self.stencil.window();
                let inside = self.masked(read, whole.intersect(read.window) == whole);
                self.shifted(&inside, &self.stencil.tensors[read.tensor].features, dx)
            }
            Role::Everywhere | Role::Table(_) => name_of(read.tensor),
        }
    }

    /// What stands so many columns to the right in the rows whose places are computed side by side, or zero.
    fn shifted(&mut self, name: &str, features: &[usize], dx: i64) -> String {
        if dx == 0 {
            return name.to_owned();
        }
        let (columns, width) = (
            self.stencil.shape.width() as i64,
            features.iter().product::<usize>() as i64,
        );
        let writer = &mut self.draft.writer;
        let rows = writer.ints([-1, columns, width]);
        let pads = writer.ints([0, (-dx).max(0), 0, 0, dx.max(0), 0]);
        let [first, end, axis] = [dx.max(0), dx.max(0) + columns, 1].map(|number| writer.ints([number]));
        let places = writer.ints(std::iter::once(-1).chain(features.iter().map(|&size| size as i64)));
        let [laid, padded, cut, output] = ["rows", "padded", "cut", "shifted"].map(|what| writer.fresh(what));
        writer.node(Node::new("Reshape", &[name, &rows], &laid));
        writer.node(Node::new("Pad", &[&laid, &pads], &padded));
        writer.node(Node::new("Slice", &[&padded, &first, &end, &axis], &cut));
        writer.node(Node::new("Reshape", &[&cut, &places], &output));
        output
    }

    /// A tensor of this part, zero outside the window that it is read in; `is_whole` tells that it is never read there.
    fn masked(&mut self, read: &Read, is_whole: bool) -> String {
        let name = name_of(read.tensor);
        if is_whole {
            return name;
        }
        let mask = self
            .draft
            .masks
            .entry((self.schedule.delay(read.tensor), read.window))
            .or_insert_with(|| self.draft.writer.fresh("mask"))
            .clone();
        let features = &self.stencil.tensors[read.tensor].features;
        let zero = self.draft.writer.constant(&Constant::floats(Vec::new(), vec![0.0]));
        let [truth, inside, output] = ["truth", "inside", "masked"].map(|what| self.draft.writer.fresh(what));
        self.draft
            .writer
            .node(Node::new("Cast", &[&mask], &truth).with_int("to", BOOL.into()));
        // One axis for each of the features.
        let shape = self
            .draft
            .writer
            .ints(std::iter::once(-1).chain(features.iter().map(|_| 1)));
        self.draft.writer.node(Node::new("Reshape", &[&truth, &shape], &inside));
        self.draft
            .writer
            .node(Node::new("Where", &[&inside, &name, &zero], &output));
        output
    }

    /// The input that holds neighbours computed in earlier steps.
    fn gather(&mut self, at: usize, read: &Read, places: Vec<(i64, i64)>) -> Result<String, Unsupported> {
        let tensor = &self.stencil.tensors[read.tensor];
        if !tensor.is_real {
            return Err(Unsupported::new(format!(
                "values of {:?} are remembered, but are not real numbers",
                tensor.layer
            )));
        }
        let source = if let Role::Table(_) = self.schedule.roles[read.tensor] {
            let count = self.tabulated.len();
            Source::Table(*self.tabulated.entry(read.tensor).or_insert(count))
        } else {
            let kept = self.kept(at, read.tensor, &places);
            let count = self.cached.len();
            let cached = self.cached.entry(read.tensor).or_insert((count, kept));
            cached.1 = cached.1.union(kept);
            Source::Cache(cached.0)
        };
        let key = (source, self.schedule.delay(at), places, read.window);
        Ok(self
            .draft
            .gathers
            .entry(key)
            .or_insert_with(|| self.draft.writer.fresh("gather"))
            .clone())
    }

    /// How much must be kept of a tensor for a reader of these neighbours.
    fn kept(&self, at: usize, source: usize, places: &[(i64, i64)]) -> Kept {
        let shape = self.stencil.shape;
        let (reader, read) = (&self.schedule.roles[at], &self.schedule.roles[source]);
        let rows_above = places.iter().map(|&(dy, _)| -dy).max().unwrap_or(0);
        match (reader, read) {
            (Role::Row, _) => Kept::of_rows(rows_above, shape),
            // The row itself has been computed, too.
            (_, Role::Row) => Kept::of_rows(rows_above + 1, shape),
            _ => {
                let ages = places.iter().map(|&(dy, dx)| self.schedule.age(at, source, dy, dx));
                Kept::of_steps(ages.max().unwrap_or(0), self.schedule.lag, shape)
            }
        }
    }
}
