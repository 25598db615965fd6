//! Writes the step graph: what a step reads, what it computes, and what it hands on.

mod attention;
mod operators;
mod products;
mod program;
mod tables;
mod writer;

use std::collections::BTreeMap;

use self::{
    attention::Pasts,
    operators::{own_constant, write},
    writer::Writer,
};
use super::{
    Compiled, LABELS, Source, Unsupported,
    schedule::{Role, Schedule},
    stencil::{Operand, Operator, Read, Stencil, StencilTensor, Window},
};
use crate::graph::{
    constant::Constant,
    protobuf::{Model, Node},
};

/// ONNX's number of the type of truth values.
const BOOL: i64 = 9;

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
        writer: Writer::default(),
        opset,
        gathers: BTreeMap::new(),
        cached: BTreeMap::new(),
        tabulated: BTreeMap::new(),
        positions: BTreeMap::new(),
        masks: BTreeMap::new(),
        pasts: Pasts::new(),
        takes_labels: false,
        multiply_adds: 0,
    };
    for (at, role) in schedule.roles.iter().enumerate() {
        if !matches!(role, Role::Table(_)) {
            emitter.tensor(at)?;
        }
    }
    emitter.finish(model)
}

/// What identifies a lookup: source, delay of the reader, neighbours, window.
type GatherKey = (Source, i64, Vec<(i64, i64)>, Window);

struct Emitter<'a> {
    stencil: &'a Stencil,
    schedule: &'a Schedule,
    writer: Writer,
    opset: i64,
    gathers: BTreeMap<GatherKey, String>,
    /// Tensors that are kept: their place among the caches, and how long.
    cached: BTreeMap<usize, (usize, i64)>,
    /// Tensors that are looked up by level: their place among the tables.
    tabulated: BTreeMap<usize, usize>,
    positions: BTreeMap<i64, String>,
    /// By delay and window.
    masks: BTreeMap<(i64, Window), String>,
    pasts: Pasts,
    takes_labels: bool,
    multiply_adds: u64,
}

fn name_of(tensor: usize) -> String {
    format!("density_server/tensor_{tensor}")
}

impl Emitter<'_> {
    fn tensor(&mut self, at: usize) -> Result<(), Unsupported> {
        let tensor = &self.stencil.tensors[at];
        let output = name_of(at);
        match &tensor.operator {
            Operator::Image => {}
            Operator::Label => {
                self.takes_labels = true;
                self.writer.node(Node::new("Identity", &[LABELS], &output));
            }
            Operator::Linear(linear) => self.linear(at, tensor, linear)?,
            Operator::Attend(attend) => self.attend(at, tensor, attend)?,
            Operator::Select { .. } if self.is_part(tensor) => {}
            Operator::OfPlace => {
                let mut operands = self.operands(at, tensor)?;
                operands.push(self.position(at));
                write(&mut self.writer, tensor, &operands, &output, self.opset);
            }
            _ => {
                let operands = self.operands(at, tensor)?;
                write(&mut self.writer, tensor, &operands, &output, self.opset);
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
                        self.writer.reshaped(&name, &read.features)
                    } else {
                        name
                    })
                }
                Operand::Constant(constant) => Ok(own_constant(&mut self.writer, tensor, constant)),
                Operand::Table(table) => {
                    if tensor.is_product() {
                        self.multiply_adds += table.size() as u64;
                    }
                    let position = self.position(at);
                    let mut dims = vec![table.dims[0] * table.dims[1]];
                    dims.extend(&table.dims[2..]);
                    let table = self.writer.constant(&table.clone().reshaped(dims));
                    let output = self.writer.fresh("placed");
                    self.writer.node(Node::new("Gather", &[&table, &position], &output));
                    Ok(output)
                }
            })
            .collect()
    }

    /// The input that says which pixel each row is at.
    fn position(&mut self, at: usize) -> String {
        let input = self.positions.entry(self.schedule.delay(at));
        input.or_insert_with(|| self.writer.fresh("position")).clone()
    }

    /// The name of one neighbour of a tensor.
    fn read(&mut self, at: usize, read: &Read, dy: i64, dx: i64) -> Result<String, Unsupported> {
        if let Role::Step(_) = self.schedule.roles[read.tensor]
            && self.schedule.age(at, read.tensor, dy, dx) == 0
        {
            return Ok(self.computed_now(read, dx));
        }
        if self.schedule.roles[read.tensor] == Role::Everywhere {
            return Ok(name_of(read.tensor));
        }
        self.gather(at, read, vec![(dy, dx)])
    }

    /// The name of a tensor of this step, zero where the reader's neighbour lies outside the window.
    fn computed_now(&mut self, read: &Read, dx: i64) -> String {
        let name = name_of(read.tensor);
        let whole = self.stencil.window().shifted(0, dx);
        if whole.intersect(read.window) == whole {
            return name;
        }
        let mask = self
            .masks
            .entry((self.schedule.delay(read.tensor), read.window))
            .or_insert_with(|| self.writer.fresh("mask"))
            .clone();
        let features = &self.stencil.tensors[read.tensor].features;
        let zero = self.writer.constant(&Constant::floats(Vec::new(), vec![0.0]));
        let [truth, inside, output] = ["truth", "inside", "masked"].map(|what| self.writer.fresh(what));
        self.writer
            .node(Node::new("Cast", &[&mask], &truth).with_int("to", BOOL));
        // One axis for each of the features.
        let shape = self.writer.ints(std::iter::once(-1).chain(features.iter().map(|_| 1)));
        self.writer.node(Node::new("Reshape", &[&truth, &shape], &inside));
        self.writer.node(Node::new("Where", &[&inside, &name, &zero], &output));
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
            let age = places
                .iter()
                .map(|&(dy, dx)| self.schedule.age(at, read.tensor, dy, dx))
                .max()
                .unwrap_or(0);
            let count = self.cached.len();
            let cached = self.cached.entry(read.tensor).or_insert((count, 0));
            cached.1 = cached.1.max(age);
            Source::Cache(cached.0)
        };
        let key = (source, self.schedule.delay(at), places, read.window);
        Ok(self
            .gathers
            .entry(key)
            .or_insert_with(|| self.writer.fresh("gather"))
            .clone())
    }
}
