//! Operators that exporters leave as they are, since ONNX has no such operator, written with those that it has.

use crate::graph::protobuf::{ElementType, Model, Node};

/// Writes TensorFlow's normal random numbers, which `tf2onnx` hands on, as the format's own.
pub(super) fn replaced(model: &mut Model) {
    let Some(graph) = &mut model.graph else { return };
    let mut nodes = Vec::with_capacity(graph.nodes.len());
    for node in std::mem::take(&mut graph.nodes) {
        let (shape, drawn) = match (node.op_type(), node.inputs.first(), node.outputs.first()) {
            ("StatelessRandomNormalV2", Some(shape), Some(drawn)) => (shape, drawn),
            _ => {
                nodes.push(node);
                continue;
            }
        };
        let [sizes, zeros] = ["sizes", "zeros"].map(|what| format!("density_server/{what}/{drawn}"));
        let whole = i64::from(ElementType::Int64 as i32);
        nodes.push(Node::new("Cast", &[shape], &sizes).with_int("to", whole));
        nodes.push(Node::new("ConstantOfShape", &[&sizes], &zeros));
        nodes.push(Node::new("RandomNormalLike", &[&zeros], drawn));
    }
    graph.nodes = nodes;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{protobuf::Graph, random_nodes};

    #[test]
    fn normal_random_numbers_of_tensorflow_are_those_of_the_format() {
        let mut graph = Graph::default();
        graph.nodes = vec![
            Node::new("Relu", &["x"], "y"),
            Node::new("StatelessRandomNormalV2", &["shape", "key", "counter", "alg"], "noise"),
        ];
        let mut model = Model::default();
        model.graph = Some(graph);
        replaced(&mut model);
        assert_eq!(random_nodes::reaching(&model, &["noise"]).len(), 1);
        assert!(random_nodes::reaching(&model, &["y"]).is_empty());
    }
}
