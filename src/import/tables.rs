//! What a graph computes of a label alone, kept as a table with a row for each label.
//!
//! A network that spreads a label over an image and convolves it does the same for every image. A lookup says so: it is
//! cheaper, and whoever draws pixel by pixel sees that it is a constant of each pixel.

use std::collections::HashSet;

use crate::{
    graph::{
        self,
        protobuf::{ElementType, Graph, Model, Node, Tensor, ValueInfo},
        surgery,
    },
    runtime::{Engine, Input, Threads, Values},
};

/// Bytes that tables may take.
const LARGEST: usize = 64 << 20;

/// The graph with a table for every value [labels, features, rows, columns] that convolutions make of its input `label`
/// alone, which has so many labels; none if there is no such value, or the tables would be large.
pub fn tabulated(engine: &dyn Engine, model: &Model, label: &str, labels: usize) -> Option<Model> {
    let found = convolved(model.graph.as_ref()?, label);
    if found.is_empty() {
        return None;
    }
    let outputs = found
        .iter()
        .map(|value| ValueInfo::of_any_shape(value, ElementType::Float));
    let mut of_label = surgery::part(model, outputs.collect());
    of_label.graph.as_mut()?.inputs.retain(|input| input.name() == label);
    let numbers: Vec<i64> = (0..labels as i64).collect();
    let given = [Input {
        name: label,
        shape: &[labels],
        values: Values::Ints(&numbers),
    }];
    let names: Vec<&str> = found.iter().map(String::as_str).collect();
    // What does not run alone stays as it is.
    let program = engine.load("tables of labels", graph::serialize(&of_label)).ok()?;
    let tables = program.run(&given, &names, Threads::All).ok()?;
    let bytes: usize = tables.iter().map(|table| 4 * table.values.len()).sum();
    let is_table = |shape: &[usize]| shape.len() == 4 && shape[0] == labels;
    if bytes > LARGEST || !tables.iter().all(|table| is_table(&table.shape)) {
        return None;
    }
    let mut model = model.clone();
    let own = model.graph.as_mut()?;
    for (number, (value, table)) in found.iter().zip(tables).enumerate() {
        let name = format!("density_server/table/{number}");
        let dims: Vec<i64> = table.shape.iter().map(|&size| size as i64).collect();
        own.initializers.push(Tensor::of_reals(&name, &dims, &table.values));
        for node in &mut own.nodes {
            for output in node.outputs.iter_mut().filter(|output| *output == value) {
                *output = format!("density_server/tabulated/{number}");
            }
        }
        own.nodes
            .insert(0, Node::new("Gather", &[&name, label], value).with_int("axis", 0));
    }
    let outputs = own.outputs.clone();
    surgery::keep(&mut model, outputs);
    Some(model)
}

/// Values behind a convolution that depend on nothing but the label, and are read by what depends on more.
fn convolved(graph: &Graph, label: &str) -> Vec<String> {
    let varying = surgery::varying(graph);
    let (mut of_label, mut behind) = (HashSet::from([label]), HashSet::new());
    for node in &graph.nodes {
        let mut read = node.inputs.iter().filter(|input| varying.contains(*input)).peekable();
        if read.peek().is_none() || !read.all(|input| of_label.contains(input.as_str())) {
            continue;
        }
        of_label.extend(node.outputs.iter().map(String::as_str));
        let is_behind = node.inputs.iter().any(|input| behind.contains(input.as_str()));
        if is_behind || node.op_type().starts_with("Conv") {
            behind.extend(node.outputs.iter().map(String::as_str));
        }
    }
    let mut found: Vec<String> = Vec::new();
    for node in &graph.nodes {
        if node.outputs.iter().any(|output| of_label.contains(output.as_str())) {
            continue;
        }
        for input in node.inputs.iter().filter(|input| behind.contains(input.as_str())) {
            if !found.contains(input) {
                found.push(input.clone());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_convolutions_make_of_a_label_is_found() {
        let mut graph = Graph::default();
        graph.nodes = vec![
            Node::new("Gather", &["table", "label"], "plane"),
            Node::new("Conv", &["plane", "w"], "a"),
            Node::new("Tanh", &["a"], "b"),
            Node::new("Conv", &["image", "w"], "c"),
            Node::new("Add", &["b", "c"], "d"),
            Node::new("Add", &["plane", "d"], "e"),
        ];
        graph.inputs = ["image", "label"]
            .map(|name| ValueInfo::of_any_shape(name, ElementType::Float))
            .to_vec();
        assert_eq!(convolved(&graph, "label"), ["b"]);
    }
}
