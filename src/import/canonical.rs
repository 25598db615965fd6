//! Writing a graph again with the inputs, outputs and units that the server's contracts ask for.
//!
//! Nodes are put before inputs and behind outputs; what is between them stays as its author made it.

use super::{
    layout::Arrangement,
    reading::{Axes, Reading, Taken},
};
use crate::graph::{
    convert::{self, Step},
    protobuf::{ElementType, Model, Node, Tensor, ValueInfo},
    surgery,
};

const FLOAT: i32 = ElementType::Float as i32;

/// What is done to an output, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// The operator that writes this value is taken out: its input is what is wanted.
    Without(String),
    /// Its axes are brought into the order levels, channels, rows, columns, and then into a shape of these sizes.
    Arrange(Arrangement, Vec<usize>),
    /// The numbers of each pixel, which come first, stand in this order: where each is taken from.
    Reorder(Vec<usize>),
    /// All axes of an item become one.
    Flatten,
    /// Only so many numbers of an item from one on, once it is flat.
    Part {
        /// The first of them.
        start: usize,
        /// The first that is left out.
        end: usize,
    },
    /// Numbers are converted.
    Convert(Vec<Step>),
    /// One log-odds becomes two logits: 0 and itself.
    TwoLogits,
}

/// A graph that is being written.
#[derive(Debug)]
pub struct Canonical {
    model: Model,
    inputs: Vec<ValueInfo>,
    outputs: Vec<ValueInfo>,
    /// Nodes before all others.
    before: Vec<Node>,
    number: usize,
}

impl Canonical {
    /// Begins with the graph of a reading.
    pub fn of(reading: &Reading) -> Self {
        Self {
            model: reading.model.clone(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            before: Vec::new(),
            number: 0,
        }
    }

    /// Takes images as `name`, float [batch, C, H, W].
    pub fn image(&mut self, name: &str, taken: &Taken) {
        let Some(image) = taken.image() else { return };
        let sizes = [image.channels, image.height, image.width];
        let mut at = self.input(name, ValueInfo::batched(name, ElementType::Float, &sizes), taken);
        match image.axes {
            Axes::ChannelsFirst => {}
            Axes::ChannelsLast => {
                let to = self.fresh();
                self.before
                    .push(Node::new("Transpose", &[&at], &to).with_ints("perm", &[0, 2, 3, 1]));
                at = to;
            }
            Axes::NoChannels => {
                let axis = self.ints(&[1]);
                at = self.then("Squeeze", &[&at, &axis]);
            }
            Axes::Flat => {
                let to = self.fresh();
                self.before.push(Node::new("Flatten", &[&at], &to).with_int("axis", 1));
                at = to;
            }
        }
        self.give(at, taken);
    }

    /// Takes codes as `name`, float [batch, size].
    pub fn code(&mut self, name: &str, taken: &Taken) {
        let size = taken.sizes.iter().product();
        let mut at = self.input(name, ValueInfo::batched(name, ElementType::Float, &[size]), taken);
        if taken.sizes.len() != 1 {
            let shape = self.ints(&with_batch(&taken.sizes));
            at = self.then("Reshape", &[&at, &shape]);
        }
        self.give(at, taken);
    }

    /// Takes labels as `name`, `int64 [batch]`, where the graph takes them so or as one of `classes` that is 1.
    pub fn label(&mut self, name: &str, taken: &Taken, classes: usize) {
        let mut at = self.input(name, ValueInfo::batched(name, ElementType::Int64, &[]), taken);
        if taken.is_one_hot() {
            let (depth, values) = (self.ints(&[classes as i64]), self.reals(&[2], &[0.0, 1.0]));
            let to = self.fresh();
            self.before
                .push(Node::new("OneHot", &[&at, &depth, &values], &to).with_int("axis", -1));
            at = to;
            if taken.sizes.len() > 1 {
                let shape = self.ints(&with_batch(&taken.sizes));
                at = self.then("Reshape", &[&at, &shape]);
            }
            self.give(at, taken);
            return;
        }
        if taken.sizes == [1] {
            let axis = self.ints(&[1]);
            at = self.then("Unsqueeze", &[&at, &axis]);
        }
        if taken.port.onnx_type != ElementType::Int64 as i32 {
            at = self.cast(&at, taken.port.onnx_type);
        }
        self.write(at, taken);
    }

    /// Gives the value `from` as `name`, float [batch, sizes…], after `ops`.
    pub fn output(&mut self, from: (&str, i32), name: &str, ops: &[Op], sizes: &[usize]) {
        let Some(graph) = &mut self.model.graph else { return };
        for op in ops {
            if let Op::Without(value) = op {
                surgery::bypass(graph, value);
            }
        }
        let (from, onnx_type) = from;
        let mut at = format!("density_server/raw/{name}");
        surgery::rename(graph, from, &at);
        surgery::free(graph, name);
        // Others may still know the value by its own name.
        graph.nodes.push(Node::new("Identity", &[&at], from));
        if onnx_type != FLOAT {
            at = self.after("Cast", &[&at], |node| node.with_int("to", i64::from(FLOAT)));
        }
        for op in ops {
            at = self.applied(op, at, name);
        }
        if let Some(graph) = &mut self.model.graph {
            // The last of the values takes the name.
            surgery::free(graph, name);
            surgery::rename(graph, &at, name);
        }
        self.outputs.push(ValueInfo::batched(name, ElementType::Float, sizes));
    }

    fn applied(&mut self, op: &Op, at: String, name: &str) -> String {
        match op {
            Op::Without(_) => at,
            Op::Arrange(arrangement, sizes) => self.arranged(*arrangement, at, sizes),
            Op::Reorder(places) => {
                let places = self.ints(&places.iter().map(|&place| place as i64).collect::<Vec<_>>());
                self.after("Gather", &[&at, &places], |node| node.with_int("axis", 1))
            }
            Op::Flatten => self.after("Flatten", &[&at], |node| node.with_int("axis", 1)),
            Op::Part { start, end } => {
                let (start, end, axis) = (self.ints(&[*start as i64]), self.ints(&[*end as i64]), self.ints(&[1]));
                self.after("Slice", &[&at, &start, &end, &axis], |node| node)
            }
            Op::Convert(steps) => {
                let to = format!("density_server/converted/{name}");
                if let Some(graph) = &mut self.model.graph {
                    graph.nodes.push(Node::new("Identity", &[&at], &to));
                }
                // A value that a node wrote just now can always be converted.
                let _ = convert::output(&mut self.model, &to, steps);
                to
            }
            Op::TwoLogits => {
                let zero = self.reals(&[], &[0.0]);
                let none = self.after("Mul", &[&at, &zero], |node| node);
                self.after("Concat", &[&none, &at], |node| node.with_int("axis", 1))
            }
        }
    }

    fn arranged(&mut self, arrangement: Arrangement, mut at: String, sizes: &[usize]) -> String {
        let memory = arrangement.in_memory();
        if !arrangement.is_canonical() {
            let shape = self.ints(&with_batch(&memory));
            at = self.after("Reshape", &[&at, &shape], |node| node);
            let order: Vec<i64> = std::iter::once(0)
                .chain(arrangement.permutation().into_iter().map(|place| place as i64 + 1))
                .collect();
            at = self.after("Transpose", &[&at], |node| node.with_ints("perm", &order));
        }
        let shape = self.ints(&with_batch(sizes));
        self.after("Reshape", &[&at, &shape], |node| node)
    }

    /// The graph, with nothing in it that is not needed.
    pub fn finish(mut self) -> Model {
        if let Some(graph) = &mut self.model.graph {
            graph.nodes.splice(0..0, self.before);
            graph.inputs = self.inputs;
            // What hands values on under old names is needed only by those who still read them.
            surgery::keep(&mut self.model, self.outputs);
        }
        if let Some(graph) = &mut self.model.graph {
            surgery::shorten(graph);
        }
        self.model
    }

    /// Declares an input of the contract and names the value that the graph read instead.
    fn input(&mut self, name: &str, value: ValueInfo, taken: &Taken) -> String {
        if let Some(graph) = &mut self.model.graph {
            surgery::rename(graph, &taken.port.name, &inner(taken));
            surgery::free(graph, name);
        }
        self.inputs.push(value);
        name.to_owned()
    }

    /// Hands a float on to the graph in the type that it takes.
    fn give(&mut self, mut at: String, taken: &Taken) {
        if taken.port.onnx_type != FLOAT {
            at = self.cast(&at, taken.port.onnx_type);
        }
        self.write(at, taken);
    }

    fn write(&mut self, at: String, taken: &Taken) {
        self.before.push(Node::new("Identity", &[&at], &inner(taken)));
    }

    fn cast(&mut self, at: &str, onnx_type: i32) -> String {
        let to = self.fresh();
        self.before
            .push(Node::new("Cast", &[at], &to).with_int("to", i64::from(onnx_type)));
        to
    }

    fn then(&mut self, operator: &str, inputs: &[&str]) -> String {
        let to = self.fresh();
        self.before.push(Node::new(operator, inputs, &to));
        to
    }

    fn after(&mut self, operator: &str, inputs: &[&str], with: impl FnOnce(Node) -> Node) -> String {
        let to = self.fresh();
        if let Some(graph) = &mut self.model.graph {
            graph.nodes.push(with(Node::new(operator, inputs, &to)));
        }
        to
    }

    fn reals(&mut self, dims: &[i64], values: &[f32]) -> String {
        let name = self.fresh();
        self.hold(Tensor::of_reals(&name, dims, values));
        name
    }

    fn ints(&mut self, values: &[i64]) -> String {
        let name = self.fresh();
        self.hold(Tensor::of_ints(&name, values));
        name
    }

    fn hold(&mut self, tensor: Tensor) {
        if let Some(graph) = &mut self.model.graph {
            graph.initializers.push(tensor);
        }
    }

    fn fresh(&mut self) -> String {
        self.number += 1;
        format!("density_server/canonical/{}", self.number)
    }
}

/// What the graph reads where its own input was.
fn inner(taken: &Taken) -> String {
    format!("density_server/taken/{}", taken.port.name)
}

/// Sizes behind a batch that is found at run time.
fn with_batch(sizes: &[usize]) -> Vec<i64> {
    std::iter::once(-1)
        .chain(sizes.iter().map(|&size| size as i64))
        .collect()
}
