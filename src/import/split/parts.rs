//! The two graphs that a whole one is parted into.

use std::collections::{HashMap, HashSet};

use super::reachability::{Bottleneck, Reachability, sizes};
use crate::{
    graph::{
        protobuf::{ElementType, Graph, Model, Node, Tensor, ValueInfo},
        surgery,
    },
    import::reading::{Given, Reading},
    runtime::Engine,
};

/// What an encoder calls the mean of its posterior, if the graph draws the code.
pub const MEAN: &str = "posterior_mean";
/// What it calls the deviation.
pub const DEVIATION: &str = "posterior_deviation";

/// The graph up to the code.
pub(super) fn encoder(
    reading: &Reading,
    bottleneck: &Bottleneck,
    posterior: Option<(String, String)>,
    is_looked_up: bool,
) -> Model {
    let mut model = reading.model.clone();
    let outputs = match posterior {
        Some((mean, deviation)) => {
            if let Some(graph) = &mut model.graph {
                graph.nodes.push(Node::new("Identity", &[&mean], MEAN));
                graph.nodes.push(Node::new("Identity", &[&deviation], DEVIATION));
            }
            [MEAN, DEVIATION]
                .map(|name| ValueInfo::batched(name, ElementType::Float, &bottleneck.sizes))
                .to_vec()
        }
        None => {
            let size: usize = bottleneck.sizes.iter().product();
            let rows: Vec<&Given> = reading.gives.iter().filter(|given| given.numbers() == size).collect();
            // Beside a code that is looked up, what has its size is that before and after.
            if rows.len() >= 2 && !is_looked_up {
                let value = |given: &&Given| {
                    let sizes = given.sizes.clone().unwrap_or_default();
                    ValueInfo::batched(&given.port.name, ElementType::Float, &sizes)
                };
                rows.iter().map(value).collect()
            } else {
                vec![ValueInfo::batched(
                    &bottleneck.value,
                    ElementType::Float,
                    &bottleneck.sizes,
                )]
            }
        }
    };
    surgery::keep(&mut model, outputs);
    needed(model)
}

/// The graph from the code on.
pub(super) fn decoder(
    engine: &dyn Engine,
    reading: &Reading,
    reachability: &Reachability<'_>,
    bottleneck: &Bottleneck,
    pictures: &[&Given],
) -> Model {
    let mut model = reading.model.clone();
    if let Some(graph) = &mut model.graph {
        resized(graph, engine, reading, reachability, bottleneck);
        surgery::cut(
            graph,
            ValueInfo::batched(&bottleneck.value, ElementType::Float, &bottleneck.sizes),
        );
    }
    let picture = |given: &&Given| {
        let sizes = given.sizes.clone().unwrap_or_default();
        ValueInfo::batched(&given.port.name, ElementType::Float, &sizes)
    };
    surgery::keep(&mut model, pictures.iter().map(picture).collect());
    needed(model)
}

/// Has shapes of values that come before the code made of the code and of what is known of them: the batch is the
/// same, and the rest does not change.
fn resized(
    graph: &mut Graph,
    engine: &dyn Engine,
    reading: &Reading,
    reachability: &Reachability<'_>,
    bottleneck: &Bottleneck,
) {
    let measured: Vec<String> = graph
        .nodes
        .iter()
        .filter(|node| node.op_type() == "Shape")
        .filter_map(|node| node.inputs.first().cloned())
        .filter(|value| {
            let own = reachability.before(&[value.as_str()], None);
            !own.contains(bottleneck.value.as_str()) && own.iter().any(|value| reachability.sources.contains(value))
        })
        .collect();
    let values: Vec<&str> = measured.iter().map(String::as_str).collect();
    let Some(sizes) = sizes(engine, reading, &values) else {
        return;
    };
    let known: HashMap<&str, Vec<usize>> = values
        .into_iter()
        .zip(sizes)
        .filter_map(|(v, s)| Some((v, s?)))
        .collect();
    let mut nodes = Vec::new();
    for node in std::mem::take(&mut graph.nodes) {
        let own = node.inputs.first().filter(|_| node.op_type() == "Shape");
        let Some(sizes) = own.and_then(|value| known.get(value.as_str())) else {
            nodes.push(node);
            continue;
        };
        let output = node.outputs[0].clone();
        let name = |part: &str| format!("density_server/{part}/{output}");
        let rank = sizes.len() as i64 + 1;
        let at = |place: i64| (if place < 0 { place + rank } else { place }).clamp(0, rank) as usize;
        let (start, end) = (at(node.int("start", 0)), at(node.int("end", rank)));
        let rest: Vec<i64> = sizes.iter().map(|&size| size as i64).collect();
        let rest = &rest[start.max(1) - 1..end.max(1) - 1];
        graph.initializers.push(Tensor::of_ints(&name("rest"), rest));
        let has_batch = start == 0 && end > 0;
        let mut parts = Vec::new();
        if has_batch {
            graph.initializers.push(Tensor::of_ints(&name("first"), &[0]));
            nodes.push(Node::new("Shape", &[&bottleneck.value], &name("shape")));
            nodes.push(Node::new("Gather", &[&name("shape"), &name("first")], &name("batch")).with_int("axis", 0));
            parts.push(name("batch"));
        }
        parts.push(name("rest"));
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        nodes.push(Node::new("Concat", &parts, &output).with_int("axis", 0));
    }
    graph.nodes = nodes;
}

/// Without inputs that nothing reads.
fn needed(mut model: Model) -> Model {
    if let Some(graph) = &mut model.graph {
        let read: HashSet<String> = graph.nodes.iter().flat_map(|node| node.inputs.clone()).collect();
        graph.inputs.retain(|input| read.contains(input.name()));
    }
    model
}
