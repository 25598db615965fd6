//! Sequences whose batch is the second axis, as transformers and recurrent layers of PyTorch have it by default.

use super::{
    protobuf::{Graph, Model, Node, ValueInfo},
    surgery,
};

/// Pixels of the smallest picture.
const PIXELS: i64 = 16;

/// Puts the batch first where a graph takes one sequence, [pixels, batch], and predicts along it, [pixels, batch,
/// numbers]. Whether it did.
pub fn put_first(model: &mut Model) -> bool {
    let Some(graph) = &mut model.graph else { return false };
    let held: Vec<&str> = graph.initializers.iter().map(|tensor| tensor.name()).collect();
    let inputs: Vec<usize> = (0..graph.inputs.len())
        .filter(|&at| !held.contains(&graph.inputs[at].name()))
        .collect();
    let [input] = inputs[..] else { return false };
    let Some([pixels, batch]) = sizes(&graph.inputs[input]) else {
        return false;
    };
    // A batch of that many rows of so few numbers would be no pictures.
    let is_second = pixels.is_some_and(|pixels| pixels >= PIXELS) && batch.is_none_or(|batch| batch < PIXELS);
    let is_along = |value: &ValueInfo| {
        sizes(value).is_some_and(|[first, second, _]: [Option<i64>; 3]| first == pixels && second == batch)
    };
    let outputs: Vec<usize> = (0..graph.outputs.len())
        .filter(|&at| is_along(&graph.outputs[at]))
        .collect();
    if !is_second || outputs.is_empty() {
        return false;
    }
    let name = swap(&mut graph.inputs[input]);
    let inner = format!("density_server/second/{name}");
    surgery::rename(graph, &name, &inner);
    graph.inputs[input].name = Some(name.clone());
    let turn = Node::new("Transpose", &[&name], &inner).with_ints("perm", &[1, 0]);
    graph.nodes.insert(0, turn);
    for at in outputs {
        turn_output(graph, at);
    }
    true
}

fn turn_output(graph: &mut Graph, at: usize) {
    let name = swap(&mut graph.outputs[at]);
    let inner = format!("density_server/second/{name}");
    surgery::rename(graph, &name, &inner);
    graph.outputs[at].name = Some(name.clone());
    let turn = Node::new("Transpose", &[&inner], &name).with_ints("perm", &[1, 0, 2]);
    graph.nodes.push(turn);
}

/// Swaps the first two axes that a value declares. Gives its name.
fn swap(value: &mut ValueInfo) -> String {
    let tensor = value.type_info.as_mut().and_then(|own| own.tensor.as_mut());
    if let Some(shape) = tensor.and_then(|tensor| tensor.shape.as_mut()) {
        shape.dims.swap(0, 1);
    }
    value.name().to_owned()
}

/// The axes that a value declares, if they are so many; none for those of no fixed size.
fn sizes<const AXES: usize>(value: &ValueInfo) -> Option<[Option<i64>; AXES]> {
    value.sizes()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::{Dim, DimValue, ElementType};

    fn model(taken: [i64; 2], given: &[i64]) -> Model {
        let value = |name: &str, sizes: &[i64]| {
            let mut value = ValueInfo::batched(name, ElementType::Int64, &vec![1; sizes.len() - 1]);
            let tensor = value.type_info.as_mut().unwrap().tensor.as_mut().unwrap();
            let dim = |&size: &i64| Dim {
                value: (size > 0).then_some(DimValue::Fixed(size)),
                ..Dim::default()
            };
            tensor.shape.as_mut().unwrap().dims = sizes.iter().map(dim).collect();
            value
        };
        Model {
            graph: Some(Graph {
                nodes: vec![Node::new("Net", &["x"], "y")],
                inputs: vec![value("x", &taken)],
                outputs: vec![value("y", given)],
                ..Graph::default()
            }),
            ..Model::default()
        }
    }

    #[test]
    fn a_batch_that_is_the_second_axis_is_put_first() {
        for batch in [1, 0] {
            let mut own = model([64, batch], &[64, batch, 4]);
            assert!(put_first(&mut own));
            let graph = own.graph.unwrap();
            let operators: Vec<_> = graph.nodes.iter().map(Node::op_type).collect();
            assert_eq!(operators, ["Transpose", "Net", "Transpose"]);
            assert_eq!(sizes::<2>(&graph.inputs[0]).unwrap()[1], Some(64));
            assert_eq!((graph.inputs[0].name(), graph.nodes[0].inputs[0].as_str()), ("x", "x"));
            assert_eq!(
                (graph.outputs[0].name(), graph.nodes[2].outputs[0].as_str()),
                ("y", "y")
            );
        }
        // Batches of rows, and what is no prediction along its input.
        for (taken, given) in [
            ([1, 64], &[1, 64, 4][..]),
            ([64, 16], &[64, 16, 4]),
            ([64, 1], &[64, 4]),
        ] {
            assert!(!put_first(&mut model(taken, given)));
        }
    }
}
