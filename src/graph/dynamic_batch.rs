//! Freeing the batch of a graph that was exported with a fixed one.
//!
//! An exporter that is not told that the first axis varies writes the size of its example into everything: into
//! inputs and outputs, into reshapes, into constants that are repeated for each row. Here all of these are made to
//! follow the batch. Whether that kept the meaning has to be tried by running: nothing in a file tells a batch of 8
//! from 8 channels for certain.

mod known_constants;
mod reshaping;
mod rows;
mod sizes;

pub use self::sizes::lengths;

use std::collections::{HashMap, HashSet};

use super::{
    constant::{Constant, Values},
    protobuf::{Graph, Model, Node, Tensor},
    surgery,
};

/// Name of the size of the batch, int64 of shape [1], where a graph needs it.
const BATCH: &str = "density_server/batch";

/// Lets the first axis of inputs and outputs vary, and what follows from it; `batch` is the size at export.
pub fn batch(model: &mut Model, batch: usize) {
    behind(model, batch, None, false);
}

/// The same where images may be joined with parts of theirs, such as windows.
pub fn batch_of_parts(model: &mut Model, batch: usize) {
    behind(model, batch, None, true);
}

/// The same where layers put a sequence of `length` first and the batch behind it, as attention of PyTorch does.
pub fn batch_behind(model: &mut Model, batch: usize, length: usize) {
    behind(model, batch, Some(length as i64), false);
}

fn behind(model: &mut Model, batch: usize, length: Option<i64>, has_parts: bool) {
    let Some(graph) = &mut model.graph else { return };
    graph.value_infos.clear();
    surgery::open_batch(graph);
    Loosening::of(graph, batch, length, has_parts).run(graph);
}

struct Loosening {
    batch: i64,
    /// Constants of integers and reals, by name.
    constants: HashMap<String, Constant>,
    varying: HashSet<String>,
    made: Vec<Tensor>,
    /// Put before all others.
    before: Vec<Node>,
    needs_batch: bool,
    length: Option<i64>,
    has_parts: bool,
}

impl Loosening {
    fn of(graph: &Graph, batch: usize, length: Option<i64>, has_parts: bool) -> Self {
        Self {
            batch: batch as i64,
            constants: known_constants::of(graph),
            varying: surgery::varying(graph),
            made: Vec::new(),
            before: Vec::new(),
            needs_batch: false,
            length,
            has_parts,
        }
    }

    fn run(mut self, graph: &mut Graph) {
        rows::scatter(graph, &self.constants, &self.varying);
        rows::join(graph, &self.constants, &self.varying, self.batch as usize);
        for at in self.rows_of_constants(&graph.nodes) {
            self.follow(&mut graph.nodes, at);
        }
        for node in &mut graph.nodes {
            let before = node.inputs.clone();
            match node.op_type() {
                "Reshape" => self.reshape(node),
                "Expand" => self.target(node, 1),
                "Resize" => self.target(node, 3),
                "ConstantOfShape" => self.target(node, 0),
                "Tile" => self.tile(node),
                "Concat" => self.join(node),
                "Gather" => self.strided(node),
                "RandomNormal" | "RandomUniform" => self.draw(node),
                "LSTM" => self.states(node, &[5, 6]),
                "GRU" | "RNN" => self.states(node, &[5]),
                "Add" | "Sub" | "Mul" | "Div" | "Where" | "MatMul" => self.repeated(node),
                _ => {}
            }
            // What is repeated for each image has as many rows as there are, and so has what is made of that.
            let is_repeated = matches!(node.op_type(), "Expand" | "Tile" | "ConstantOfShape") && node.inputs != before;
            if is_repeated || node.inputs.iter().any(|name| self.varying.contains(name)) {
                self.varying.extend(node.outputs.iter().cloned());
            }
        }
        if self.needs_batch
            && let Some(input) = graph.inputs.first().map(|input| input.name().to_owned())
        {
            self.made.push(Tensor::of_ints("density_server/first", &[0]));
            let size = [
                Node::new("Shape", &[&input], "density_server/shape"),
                Node::new("Gather", &["density_server/shape", "density_server/first"], BATCH).with_int("axis", 0),
            ];
            graph.nodes.splice(0..0, size.into_iter().chain(self.before));
        }
        graph.initializers.extend(self.made);
    }

    fn varies(&self, node: &Node, at: usize) -> bool {
        node.inputs.get(at).is_some_and(|name| self.varying.contains(name))
    }

    fn ints(&self, node: &Node, at: usize) -> Option<Vec<i64>> {
        Some(self.constants.get(node.inputs.get(at)?)?.as_ints()?.to_vec())
    }

    /// Nodes that compute something of a constant with a row for each item, such as the state that a network begins
    /// with, where the result meets what varies.
    fn rows_of_constants(&self, nodes: &[Node]) -> Vec<usize> {
        let mut found = Vec::new();
        for node in nodes.iter().filter(|node| self.meets(node)) {
            for name in node.inputs.iter().filter(|name| !self.varying.contains(*name)) {
                let (mut open, mut seen) = (vec![name], HashSet::new());
                while let Some(value) = open.pop().filter(|_| seen.len() < nodes.len()) {
                    let made = nodes.iter().position(|node| node.outputs.contains(value));
                    let Some((at, node)) = made.map(|at| (at, &nodes[at])).filter(|made| seen.insert(made.0)) else {
                        continue;
                    };
                    let held = node.inputs.first().and_then(|first| self.constants.get(first));
                    if held.is_some_and(|constant| self.has_rows(constant)) {
                        found.push(at);
                    } else if node.op_type() == "Concat" {
                        open.extend(&node.inputs);
                    } else {
                        // What a layer is applied to is its first input; the others are weights.
                        open.extend(node.inputs.first());
                    }
                }
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Whether a node puts something that varies beside something that does not, item by item.
    fn meets(&self, node: &Node) -> bool {
        let is_joining = match node.op_type() {
            "Concat" => node.int("axis", 0) != 0,
            // A single row goes with any number of them.
            "Add" | "Sub" | "Mul" | "Div" | "Where" => self.batch > 1,
            _ => false,
        };
        is_joining && (0..node.inputs.len()).any(|at| self.varies(node, at))
    }

    fn has_rows(&self, constant: &Constant) -> bool {
        constant.dims.len() >= 2 && constant.dims[0] == self.batch as usize
    }

    /// Has what a node computes of equal rows follow the batch, and all that comes of it.
    fn follow(&mut self, nodes: &mut [Node], at: usize) {
        let constant = self.constants.get(&nodes[at].inputs[0]).and_then(first_row);
        let Some(row) = constant else { return };
        nodes[at].inputs[0] = self.widened(&row);
        self.varying.insert(nodes[at].inputs[0].clone());
        for node in &nodes[at..] {
            if node.inputs.iter().any(|name| self.varying.contains(name)) {
                self.varying.extend(node.outputs.iter().cloned());
            }
        }
    }

    /// A row, as often as there are items.
    fn widened(&mut self, row: &Constant) -> String {
        let rest: Vec<i64> = row.dims[1..].iter().map(|&size| size as i64).collect();
        let sizes = self.of_batch(&rest);
        let (held, wide) = (
            self.hold_constant(row),
            format!("density_server/wide/{}", self.made.len()),
        );
        self.before.push(Node::new("Expand", &[&held, &sizes], &wide));
        wide
    }

    /// A constant beside something that varies, joined along another axis than the batch.
    fn join(&mut self, node: &mut Node) {
        let axis = node.int("axis", 0);
        if axis == 0 || !(0..node.inputs.len()).any(|at| self.varies(node, at)) {
            return;
        }
        for at in 0..node.inputs.len() {
            let constant = self.constants.get(&node.inputs[at]);
            let constant = constant.filter(|constant| constant.dims.first() == Some(&(self.batch as usize)));
            if let Some(row) = constant.and_then(first_row) {
                node.inputs[at] = self.widened(&row);
            }
        }
    }

    /// The states that a recurrent layer begins with: zeros are what it takes by itself.
    fn states(&mut self, node: &mut Node, places: &[usize]) {
        for &at in places {
            let Some(name) = node.inputs.get(at) else { continue };
            if self.constants.get(name).is_some_and(Constant::is_zero) {
                node.inputs[at].clear();
            }
        }
    }

    /// A constant that is the same for every row is needed once.
    fn repeated(&mut self, node: &mut Node) {
        if self.batch == 1 {
            return;
        }
        for at in 0..node.inputs.len() {
            let Some(constant) = self.constants.get(&node.inputs[at]) else {
                continue;
            };
            let (batch, length) = (self.batch as usize, self.length.map(|length| length as usize));
            let one = match constant.dims[..] {
                // A table is weights.
                [_, _] if node.op_type() == "MatMul" => None,
                [first, _, ..] if first == batch => first_row(constant),
                [first, second, _, ..] if Some(first) == length && second == batch => first_of_each(constant),
                _ => None,
            };
            if let Some(one) = one {
                node.inputs[at] = self.hold_constant(&one);
            }
        }
    }

    fn hold(&mut self, values: &[i64]) -> String {
        let name = format!("density_server/held/{}", self.made.len());
        self.made.push(Tensor::of_ints(&name, values));
        name
    }

    fn hold_constant(&mut self, constant: &Constant) -> String {
        let name = format!("density_server/held/{}", self.made.len());
        self.made.push(constant.tensor(&name));
        name
    }
}

/// The first of rows that are all the same.
fn first_row(constant: &Constant) -> Option<Constant> {
    let rows = *constant.dims.first()?;
    let size = constant.size().checked_div(rows)?;
    let mut dims = constant.dims.clone();
    dims[0] = 1;
    let same = match &constant.values {
        Values::Floats(values) => values.chunks(size.max(1)).all(|row| row == &values[..size]),
        Values::Ints(values) => values.chunks(size.max(1)).all(|row| row == &values[..size]),
    };
    same.then(|| constant.rearranged(dims, 0..size))
}

/// The first of each place of a sequence, where those of a batch, the second axis, are all the same.
fn first_of_each(constant: &Constant) -> Option<Constant> {
    let [length, batch, rest @ ..] = &constant.dims[..] else {
        return None;
    };
    let (size, mut dims) = (rest.iter().product::<usize>(), constant.dims.clone());
    dims[1] = 1;
    let one = constant.rearranged(dims, (0..length * size).map(|at| at / size * batch * size + at % size));
    let again = (0..constant.size()).map(|at| at / (batch * size) * size + at % size);
    let same = one.rearranged(constant.dims.clone(), again).values == constant.values;
    same.then_some(one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::{DimValue, ElementType, ValueInfo};

    fn loosened(node: Node, constants: Vec<Tensor>) -> Graph {
        let mut input = ValueInfo::batched("x", ElementType::Float, &[4]);
        let tensor = input.type_info.as_mut().unwrap().tensor.as_mut().unwrap();
        tensor.shape.as_mut().unwrap().dims[0].value = Some(DimValue::Fixed(2));
        let mut model = Model {
            graph: Some(Graph {
                nodes: vec![node],
                initializers: constants,
                inputs: vec![input],
                ..Graph::default()
            }),
            ..Model::default()
        };
        batch(&mut model, 2);
        model.graph.unwrap()
    }

    fn held(graph: &Graph, name: &str) -> Vec<i64> {
        let tensor = graph.initializers.iter().find(|tensor| tensor.name() == name).unwrap();
        tensor.integers().unwrap()
    }

    #[test]
    fn a_baked_size_is_found_at_run_time() {
        let reshaped = |shape: &[i64]| {
            let graph = loosened(
                Node::new("Reshape", &["x", "s"], "y"),
                vec![Tensor::of_ints("s", shape)],
            );
            held(&graph, &graph.nodes[0].inputs[1])
        };
        assert_eq!(reshaped(&[2, 4]), [-1, 4]);
        assert_eq!(reshaped(&[4, 2]), [-1, 2]);
        // This does not speak of the batch.
        assert_eq!(reshaped(&[3, 4]), [3, 4]);
        assert_eq!(reshaped(&[-1, 4]), [-1, 4]);
    }

    #[test]
    fn a_batch_of_one_is_found_where_rows_are_joined_or_a_sequence_comes_first() {
        let reshaped = |shape: &[i64]| {
            let mut model = Model {
                graph: Some(Graph {
                    nodes: vec![Node::new("Reshape", &["x", "s"], "y")],
                    initializers: vec![Tensor::of_ints("s", shape)],
                    inputs: vec![ValueInfo::batched("x", ElementType::Float, &[8, 8, 4])],
                    ..Graph::default()
                }),
                ..Model::default()
            };
            batch(&mut model, 1);
            let graph = model.graph.unwrap();
            held(&graph, &graph.nodes[0].inputs[1])
        };
        assert_eq!(reshaped(&[64, 4]), [-1, 4]);
        assert_eq!(reshaped(&[1, 64, 4]), [-1, 64, 4]);
        assert_eq!(reshaped(&[64, 1, 4]), [64, -1, 4]);
        assert_eq!(reshaped(&[256, 1]), [-1, 1]);
        assert_eq!(reshaped(&[-1, 4]), [-1, 4]);
    }

    #[test]
    fn what_is_found_beside_a_baked_size_leaves_the_batch_as_it_is() {
        // Zero would be the first size before, here that of all rows together.
        let graph = loosened(
            Node::new("Reshape", &["x", "s"], "y"),
            vec![Tensor::of_ints("s", &[2, -1])],
        );
        let operators: Vec<_> = graph.nodes.iter().map(|node| node.op_type().to_owned()).collect();
        assert_eq!(operators, ["Shape", "Gather", "Concat", "Reshape"]);
        assert_eq!(held(&graph, &graph.nodes[2].inputs[1]), [-1]);
    }

    #[test]
    fn a_row_that_is_repeated_for_each_image_is_repeated_as_often_as_there_are_images() {
        let repeated = |repeats: &[i64], value: &str| {
            let node = Node::new("Tile", &[value, "r"], "y");
            let graph = loosened(node, vec![Tensor::of_ints("r", repeats)]);
            graph.nodes.len() > 1
        };
        assert!(repeated(&[2, 1], "w"));
        assert!(!repeated(&[3, 1], "w"));
        // What varies has its rows already.
        assert!(!repeated(&[2, 1], "x"));
    }

    #[test]
    fn places_that_are_repeated_behind_a_sequence_are_needed_once() {
        let of = |values: [f32; 4]| first_of_each(&Constant::floats(vec![2, 2, 1], values.to_vec()));
        let one = of([3.0, 3.0, 5.0, 5.0]).unwrap();
        assert_eq!(
            (one.dims.clone(), one.as_floats()),
            (vec![2, 1, 1], Some(&[3.0, 5.0][..]))
        );
        assert!(of([3.0, 4.0, 5.0, 5.0]).is_none());
    }

    #[test]
    fn inputs_vary_and_constants_follow() {
        let zeros = Tensor {
            dims: vec![2, 1],
            data_type: Some(1),
            float_data: vec![0.0; 2],
            name: Some("z".to_owned()),
            ..Tensor::default()
        };
        let graph = loosened(Node::new("Concat", &["x", "z"], "y").with_int("axis", 1), vec![zeros]);
        let shape = graph.inputs[0].type_info.as_ref().unwrap().tensor.as_ref().unwrap();
        let first = &shape.shape.as_ref().unwrap().dims[0].value;
        assert!(matches!(first, Some(DimValue::Named(_))));
        let operators: Vec<_> = graph.nodes.iter().map(|node| node.op_type().to_owned()).collect();
        assert_eq!(operators, ["Shape", "Gather", "Concat", "Expand", "Concat"]);
        assert_eq!(graph.nodes[4].inputs[1], graph.nodes[3].outputs[0]);
    }
}
