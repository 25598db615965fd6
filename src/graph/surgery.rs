//! Cutting and joining: other names for values, parts of graphs, operators taken out.

use std::collections::HashSet;

use super::{
    protobuf::{Dim, DimValue, Graph, Model, Node, SparseTensor, ValueInfo},
    visit,
};

/// Gives a value another name wherever it is written or read, at every depth. The new name must not be taken.
pub fn rename(graph: &mut Graph, from: &str, to: &str) {
    let replace = |name: &mut String| {
        if name == from {
            to.clone_into(name);
        }
    };
    for node in &mut graph.nodes {
        node.inputs.iter_mut().chain(&mut node.outputs).for_each(replace);
        for attribute in &mut node.attributes {
            let inner = attribute.graph.as_deref_mut().into_iter();
            for graph in inner.chain(&mut attribute.graphs) {
                rename(graph, from, to);
            }
        }
    }
    let values = graph.inputs.iter_mut().chain(&mut graph.outputs);
    for value in values.chain(&mut graph.value_infos) {
        if value.name() == from {
            value.name = Some(to.to_owned());
        }
    }
    for tensor in &mut graph.initializers {
        if tensor.name() == from {
            tensor.name = Some(to.to_owned());
        }
    }
}

/// Frees a name: a value that has it gets another one.
pub fn free(graph: &mut Graph, name: &str) {
    let mut taken: HashSet<&str> = HashSet::new();
    visit::nodes(&graph.nodes, &mut |node| {
        taken.extend(node.outputs.iter().chain(&node.inputs).map(String::as_str));
    });
    let held = graph.initializers.iter().filter_map(|tensor| tensor.name.as_deref());
    taken.extend(held.chain(graph.inputs.iter().map(ValueInfo::name)));
    if !taken.contains(name) {
        return;
    }
    let other = (1..)
        .map(|number| format!("{name}/{number}"))
        .find(|other| !taken.contains(other.as_str()));
    if let Some(other) = other {
        rename(graph, name, &other);
    }
}

/// Declares the first axis of all inputs and outputs as one that may vary.
pub fn open_batch(graph: &mut Graph) {
    for value in graph.inputs.iter_mut().chain(&mut graph.outputs) {
        let tensor = value.type_info.as_mut().and_then(|info| info.tensor.as_mut());
        let shape = tensor.and_then(|tensor| tensor.shape.as_mut());
        if let Some(first) = shape.and_then(|shape| shape.dims.first_mut()) {
            *first = Dim {
                value: Some(DimValue::Named("batch".to_owned())),
                denotation: None,
            };
        }
    }
}

/// The node that writes a value.
pub fn producer<'a>(graph: &'a Graph, value: &str) -> Option<&'a Node> {
    graph
        .nodes
        .iter()
        .find(|node| node.outputs.iter().any(|output| output == value))
}

/// An operator's inputs, if one of them is a constant: the place of the one that is not, and that of the constant.
pub fn beside_constant(graph: &Graph, node: &Node) -> Option<(usize, usize)> {
    let [first, second] = &node.inputs[..] else { return None };
    let is_held = |name: &String| {
        graph.initializers.iter().any(|tensor| tensor.name() == name)
            || producer(graph, name).is_some_and(|node| node.op_type() == "Constant")
    };
    match (is_held(first), is_held(second)) {
        (false, true) => Some((0, 1)),
        (true, false) => Some((1, 0)),
        _ => None,
    }
}

/// Makes the node that writes `value` hand its first input on instead of computing anything.
pub fn bypass(graph: &mut Graph, value: &str) {
    let mut nodes = graph.nodes.iter_mut();
    if let Some(node) = nodes.find(|node| node.outputs.iter().any(|output| output == value)) {
        node.op_type = Some("Identity".to_owned());
        node.domain = None;
        node.attributes.clear();
        node.inputs.truncate(1);
        node.outputs.truncate(1);
    }
}

/// Leaves only what `outputs` need, whose types are given; an inner value may become one.
pub fn keep(model: &mut Model, outputs: Vec<ValueInfo>) {
    let Some(graph) = &mut model.graph else { return };
    let needed = Needed::by(&graph.nodes, &outputs);
    graph.outputs = outputs;
    graph.nodes.retain(|node| needed.node(node));
    graph.inputs.retain(|value| needed.value(value.name()));
    graph.initializers.retain(|tensor| needed.value(tensor.name()));
    graph.sparse_initializers.retain(|tensor| needed.sparse(tensor));
    graph.value_infos.clear();
}

/// What [`keep`] would leave, as a model of its own. Nothing else is copied.
pub fn part(model: &Model, outputs: Vec<ValueInfo>) -> Model {
    let graph = model.graph.as_ref().map(|graph| {
        let needed = Needed::by(&graph.nodes, &outputs);
        Graph {
            nodes: copied(&graph.nodes, |node| needed.node(node)),
            name: graph.name.clone(),
            initializers: copied(&graph.initializers, |tensor| needed.value(tensor.name())),
            inputs: copied(&graph.inputs, |value| needed.value(value.name())),
            outputs,
            sparse_initializers: copied(&graph.sparse_initializers, |tensor| needed.sparse(tensor)),
            ..Graph::default()
        }
    });
    Model {
        ir_version: model.ir_version,
        opset_imports: model.opset_imports.clone(),
        functions: model.functions.clone(),
        graph,
        ..Model::default()
    }
}

fn copied<T: Clone>(all: &[T], is_needed: impl Fn(&T) -> bool) -> Vec<T> {
    all.iter().filter(|&item| is_needed(item)).cloned().collect()
}

/// Names of values that some outputs need.
struct Needed(HashSet<String>);

impl Needed {
    fn by(nodes: &[Node], outputs: &[ValueInfo]) -> Self {
        let mut needed = Self(outputs.iter().map(|value| value.name().to_owned()).collect());
        for node in nodes.iter().rev() {
            if needed.node(node) {
                read_by(node, &mut needed.0);
            }
        }
        needed
    }

    fn value(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    fn node(&self, node: &Node) -> bool {
        // An optional input or output that is left out has no name.
        node.outputs
            .iter()
            .any(|output| !output.is_empty() && self.value(output))
    }

    fn sparse(&self, tensor: &SparseTensor) -> bool {
        let values = tensor.values.as_ref();
        values.is_none_or(|values| self.value(values.name()))
    }
}

/// Makes an inner value an input: whatever computed it is left out by the next [`keep`].
pub fn cut(graph: &mut Graph, value: ValueInfo) {
    for node in &mut graph.nodes {
        for output in &mut node.outputs {
            if output == value.name() {
                *output = format!("density_server/cut/{output}");
            }
        }
    }
    graph.inputs.push(value);
}

/// Takes out nodes that only hand a value on, where what they hand on can be read instead.
pub fn shorten(graph: &mut Graph) {
    let outputs: HashSet<String> = graph.outputs.iter().map(|value| value.name().to_owned()).collect();
    let mut at = 0;
    while let Some(node) = graph.nodes.get(at) {
        if node.op_type() != "Identity" {
            at += 1;
            continue;
        }
        let (from, to) = match (&node.inputs[..], &node.outputs[..]) {
            ([from], [to]) => (from.clone(), to.clone()),
            _ => {
                at += 1;
                continue;
            }
        };
        let is_written = graph
            .nodes
            .iter()
            .any(|node| node.op_type() != "Identity" && node.outputs.contains(&from));
        if !outputs.contains(&to) {
            graph.nodes.remove(at);
            rename(graph, &to, &from);
        } else if is_written && !outputs.contains(&from) {
            graph.nodes.remove(at);
            rename(graph, &from, &to);
        } else {
            at += 1;
        }
    }
}

/// Everything that a node reads, graphs inside it included.
pub(super) fn read_by(node: &Node, needed: &mut HashSet<String>) {
    needed.extend(node.inputs.iter().cloned());
    for graph in visit::subgraphs(node) {
        for node in &graph.nodes {
            read_by(node, needed);
        }
        needed.extend(graph.outputs.iter().map(|value| value.name().to_owned()));
    }
}

/// Puts nodes behind those whose values they read, as the format demands and not every tool does. Others stay as they
/// are, in a circle or not.
pub fn sort(graph: &mut Graph) {
    let written: HashSet<String> = graph
        .nodes
        .iter()
        .flat_map(|node| node.outputs.iter().cloned())
        .collect();
    let mut known: HashSet<String> = HashSet::new();
    let mut waiting = std::mem::take(&mut graph.nodes);
    loop {
        let mut later = Vec::new();
        let before = waiting.len();
        for node in waiting {
            let mut read = HashSet::new();
            read_by(&node, &mut read);
            if read.iter().all(|name| known.contains(name) || !written.contains(name)) {
                known.extend(node.outputs.iter().cloned());
                graph.nodes.push(node);
            } else {
                later.push(node);
            }
        }
        if later.is_empty() || later.len() == before {
            graph.nodes.extend(later);
            return;
        }
        waiting = later;
    }
}

/// Whether a value is computed of another one.
pub fn is_computed_of(graph: &Graph, value: &str, other: &str) -> bool {
    let (mut waiting, mut seen) = (vec![value.to_owned()], HashSet::new());
    while let Some(value) = waiting.pop() {
        let Some(node) = producer(graph, &value) else { continue };
        let mut read = HashSet::new();
        read_by(node, &mut read);
        if read.contains(other) {
            return true;
        }
        waiting.extend(read.into_iter().filter(|name| seen.insert(name.clone())));
    }
    false
}

/// Values that are computed from the inputs, rather than from constants alone.
pub fn varying(graph: &Graph) -> HashSet<String> {
    let held: HashSet<&str> = graph.initializers.iter().map(super::protobuf::Tensor::name).collect();
    let inputs = graph.inputs.iter().map(ValueInfo::name);
    let mut varying: HashSet<String> = inputs.filter(|name| !held.contains(name)).map(str::to_owned).collect();
    for node in &graph.nodes {
        let mut read = HashSet::new();
        read_by(node, &mut read);
        // A draw differs from run to run, and so does what is shaped like something that does.
        if read.iter().any(|name| varying.contains(name)) {
            varying.extend(node.outputs.iter().cloned());
        }
    }
    varying
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::{ElementType, Tensor};

    fn value(name: &str) -> ValueInfo {
        ValueInfo::batched(name, ElementType::Float, &[2])
    }

    fn model() -> Model {
        Model {
            graph: Some(Graph {
                nodes: vec![
                    Node::new("Relu", &["x"], "a"),
                    Node::new("Add", &["a", "w"], "b"),
                    Node::new("Neg", &["v"], "c"),
                    Node::new("Softmax", &["b"], "y"),
                ],
                initializers: vec![Tensor::of_scalar("w", 1.0), Tensor::of_scalar("v", 2.0)],
                inputs: vec![value("x")],
                outputs: vec![value("y"), value("c")],
                ..Graph::default()
            }),
            ..Model::default()
        }
    }

    #[test]
    fn nodes_come_behind_what_they_read() {
        let mut model = model();
        let graph = model.graph.as_mut().unwrap();
        graph.nodes.reverse();
        sort(graph);
        let mut known: HashSet<&str> = ["x", "w", "v"].into();
        for node in &graph.nodes {
            assert!(
                node.inputs.iter().all(|input| known.contains(input.as_str())),
                "{node:?}"
            );
            known.extend(node.outputs.iter().map(String::as_str));
        }
        // Nothing is lost of what has no order.
        graph.nodes[0].inputs = vec![graph.nodes[0].outputs[0].clone()];
        sort(graph);
        assert_eq!(graph.nodes.len(), 4);
    }

    #[test]
    fn only_what_is_needed_is_kept_or_copied() {
        let mut model = model();
        // Neither has a name, and nothing follows from that.
        let nodes = &mut model.graph.as_mut().unwrap().nodes;
        nodes[0].inputs.push(String::new());
        nodes.push(Node::new("Dropout", &["x"], "unread"));
        nodes.last_mut().unwrap().outputs.push(String::new());
        let part = part(&model, vec![value("y")]);
        keep(&mut model, vec![value("y")]);
        assert_eq!(part.graph, model.graph);
        let graph = model.graph.unwrap();
        assert_eq!(graph.nodes.len(), 3);
        assert_eq!(graph.initializers.len(), 1);
        assert_eq!(graph.inputs.len(), 1);
    }

    #[test]
    fn a_graph_is_cut_at_an_inner_value() {
        let mut model = model();
        cut(model.graph.as_mut().unwrap(), value("b"));
        keep(&mut model, vec![value("y")]);
        let graph = model.graph.unwrap();
        assert_eq!(graph.nodes.len(), 1);
        assert_eq!(graph.inputs[0].name(), "b");
    }

    #[test]
    fn names_are_given_and_freed() {
        let mut model = model();
        let graph = model.graph.as_mut().unwrap();
        free(graph, "b");
        assert_eq!(graph.nodes[1].outputs, ["b/1"]);
        assert_eq!(graph.nodes[3].inputs, ["b/1"]);
        bypass(graph, "y");
        assert_eq!(graph.nodes[3].op_type(), "Identity");
        assert!(varying(graph).contains("y") && !varying(graph).contains("c"));
    }
}
