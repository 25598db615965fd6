//! Running a graph as it was exported: whatever precision it takes and gives, at the batch that it fixes.
//!
//! This is the reference that everything written for the server is compared with.

use std::sync::Arc;

use super::export::{Element, Port};
use crate::{
    graph::{
        protobuf::{ElementType, Model, Node, ValueInfo},
        surgery,
    },
    runtime::{Engine, Input, Program, RuntimeError, Threads, Values},
};

/// What an output turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// Sizes of its axes for one item, the batch left out; none if its first axis is not that of the batch.
    pub sizes: Option<Vec<usize>>,
    /// Size of its first axis in a run, if it has one.
    pub first: Option<usize>,
    /// Sizes of the axes behind that.
    pub behind: Vec<usize>,
    /// Numbers of each item; empty if it is not of items.
    pub rows: Vec<Vec<f32>>,
}

/// A graph that runs as it is.
#[derive(Debug, Clone)]
pub struct Probe {
    program: Arc<dyn Program>,
    /// Items in a run.
    batch: usize,
    inputs: Vec<(String, Vec<usize>)>,
    outputs: Vec<String>,
}

impl Probe {
    /// Makes a graph runnable with `batch` items in a run. `inputs` have the sizes of one item.
    pub fn new(
        engine: &dyn Engine,
        name: &str,
        model: &Model,
        (inputs, outputs): (&[(&Port, Vec<usize>)], &[&Port]),
        batch: usize,
    ) -> Result<Self, RuntimeError> {
        let (mut model, names, given) = in_floats(model, inputs, outputs, batch);
        let as_said = engine.load_model(name, model.clone());
        // Some exporters are wrong about how many axes an output has.
        let without_axes = as_said.or_else(|error| match forget_axes(&mut model) {
            true => engine.load_model(name, model.clone()),
            false => Err(error),
        });
        let program = without_axes.or_else(|error| {
            // Of a branch that is not taken the runtime may know that it would fail, if it knows the batch.
            surgery::open_batch(model.graph.get_or_insert_default());
            engine.load_model(name, model).map_err(|_| error)
        })?;
        Ok(Self {
            program,
            batch,
            inputs: names
                .into_iter()
                .zip(inputs.iter().map(|(_, sizes)| sizes.clone()))
                .collect(),
            outputs: given,
        })
    }

    /// Items in a run.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// What every output gives of so many items; `inputs` are the numbers of all items one after the other.
    pub fn run(&self, items: usize, inputs: &[Vec<f32>]) -> Result<Vec<Found>, RuntimeError> {
        let mut found: Vec<Found> = Vec::new();
        for start in (0..items).step_by(self.batch) {
            let own = self.batch.min(items - start);
            // A fixed batch is filled up with the last item again.
            let filled: Vec<Vec<f32>> = self
                .inputs
                .iter()
                .zip(inputs)
                .map(|((_, sizes), values)| {
                    let size: usize = sizes.iter().product();
                    let item = |index: usize| &values[(start + index.min(own - 1)) * size..][..size];
                    (0..self.batch).flat_map(item).copied().collect()
                })
                .collect();
            let shapes: Vec<Vec<usize>> = self
                .inputs
                .iter()
                .map(|(_, sizes)| std::iter::once(self.batch).chain(sizes.iter().copied()).collect())
                .collect();
            let given: Vec<Input<'_>> = self
                .inputs
                .iter()
                .zip(&shapes)
                .zip(&filled)
                .map(|(((name, _), shape), values)| Input {
                    name,
                    shape,
                    values: Values::Floats(values),
                })
                .collect();
            let names: Vec<&str> = self.outputs.iter().map(String::as_str).collect();
            let outputs = self.program.run(&given, &names, Threads::All)?;
            for (place, output) in outputs.into_iter().enumerate() {
                if found.len() <= place {
                    found.push(Found {
                        sizes: None,
                        first: output.shape.first().copied(),
                        behind: output.shape.get(1..).unwrap_or_default().to_vec(),
                        rows: Vec::new(),
                    });
                }
                if output.shape.first() != Some(&self.batch) {
                    continue;
                }
                found[place].sizes = Some(output.shape[1..].to_vec());
                let rows = (0..own).map(|row| output.row(row, self.batch).to_vec());
                found[place].rows.extend(rows);
            }
        }
        Ok(found)
    }
}

/// Whether there were any.
fn forget_axes(model: &mut Model) -> bool {
    let mut were_said = false;
    for value in model.graph.iter_mut().flat_map(|graph| &mut graph.outputs) {
        let unsaid = ValueInfo::of_any_shape(value.name(), ElementType::Float);
        were_said |= *value != unsaid;
        *value = unsaid;
    }
    were_said
}

/// The graph with inputs and outputs of 32-bit reals, their batch of one size, and the names of both.
fn in_floats(
    model: &Model,
    inputs: &[(&Port, Vec<usize>)],
    outputs: &[&Port],
    batch: usize,
) -> (Model, Vec<String>, Vec<String>) {
    const FLOAT: i32 = ElementType::Float as i32;
    let mut model = model.clone();
    let (mut names, mut given) = (Vec::new(), Vec::new());
    let Some(graph) = &mut model.graph else {
        return (model, names, given);
    };
    graph.value_infos.clear();
    for (number, (port, sizes)) in inputs.iter().enumerate() {
        let axes: Vec<usize> = std::iter::once(batch).chain(sizes.iter().copied()).collect();
        if port.onnx_type == FLOAT {
            names.push(port.name.clone());
            graph.inputs.retain(|value| value.name() != port.name);
            graph
                .inputs
                .push(ValueInfo::fixed(&port.name, ElementType::Float, &axes));
            continue;
        }
        let name = format!("density_server/probe/{number}");
        graph.inputs.retain(|value| value.name() != port.name);
        graph.inputs.push(ValueInfo::fixed(&name, ElementType::Float, &axes));
        let cast = Node::new("Cast", &[&name], &port.name).with_int("to", i64::from(port.onnx_type));
        graph.nodes.insert(0, cast);
        names.push(name);
    }
    let mut kept = Vec::new();
    for (number, port) in outputs.iter().enumerate() {
        let name = if port.element == Element::Real && port.onnx_type == FLOAT {
            port.name.clone()
        } else {
            let name = format!("density_server/found/{number}");
            let cast = Node::new("Cast", &[&port.name], &name).with_int("to", i64::from(FLOAT));
            graph.nodes.push(cast);
            name
        };
        kept.push(match &port.sizes {
            // A large graph is held fewer times by the runtime if it is told as much.
            Some(sizes) => ValueInfo::of_any_size(&name, ElementType::Float, sizes.len()),
            None => ValueInfo::of_any_shape(&name, ElementType::Float),
        });
        given.push(name);
    }
    surgery::keep(&mut model, kept);
    // What nothing reads may be left out of a graph, but then it must not be given either.
    let read: Vec<String> = model
        .graph
        .iter()
        .flat_map(|graph| &graph.inputs)
        .map(|v| v.name().to_owned())
        .collect();
    if let Some(graph) = &mut model.graph {
        for (name, (_, sizes)) in names.iter().zip(inputs) {
            if !read.contains(name) {
                let axes: Vec<usize> = std::iter::once(batch).chain(sizes.iter().copied()).collect();
                graph.inputs.push(ValueInfo::fixed(name, ElementType::Float, &axes));
            }
        }
    }
    (model, names, given)
}
