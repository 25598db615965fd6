//! Kernels that a large graph computes of its own constants, as masks and normalised weights do, computed once.

use std::collections::{BTreeMap, HashSet};

use crate::{
    graph::{
        self,
        protobuf::{ElementType, Graph, Model, Tensor, ValueInfo},
        random_nodes, surgery, weights,
    },
    runtime::{Engine, time_limit},
};

/// The same graph, where it is large, with the kernels of convolutions and matrix products as constants, where they
/// follow from constants. They are computed two at a time, so that no more are held beside what is given: whoever
/// simplifies a large graph as a whole holds its weights several times at once. What cannot be computed alone stays as
/// it is.
pub(super) fn folded(engine: &dyn Engine, name: &str, mut model: Model) -> Model {
    if !weights::are_many(&model) {
        return model;
    }
    let computed = model.graph.as_ref().map(computed_kernels).unwrap_or_default();
    let tensors = |kernels: &[String]| -> Vec<(String, Tensor)> {
        let evaluated = |kernel: &String| Some((kernel.clone(), evaluated(engine, name, &model, kernel)?));
        kernels.iter().filter_map(evaluated).collect()
    };
    let (some, others) = computed.split_at(computed.len() / 2);
    let (some, others) = time_limit::join(|| tensors(some), || tensors(others));
    let mut folded = BTreeMap::new();
    for (number, (kernel, tensor)) in some.into_iter().chain(others).enumerate() {
        folded.insert(kernel, tensor.named(format!("density_server/kernel_{number}")));
    }
    let Some(graph) = model.graph.as_mut().filter(|_| !folded.is_empty()) else {
        return model;
    };
    for node in graph
        .nodes
        .iter_mut()
        .filter(|node| weights::LINEAR.contains(&node.op_type()))
    {
        if let Some(tensor) = node.inputs.get(1).and_then(|kernel| folded.get(kernel)) {
            node.inputs[1] = tensor.name().to_owned();
        }
    }
    let outputs = graph.outputs.clone();
    surgery::keep(&mut model, outputs);
    let size: usize = folded.values().filter_map(Tensor::byte_size).sum();
    if 4 * weights::count(&model) < size as u64 {
        // The little that is left of the file would keep all of it in memory.
        weights::copy(&mut model);
    }
    let graph = model.graph.get_or_insert_default();
    graph.initializers.extend(folded.into_values());
    model
}

/// Names of kernels that are neither given nor depend on an input, each once.
fn computed_kernels(graph: &Graph) -> Vec<String> {
    let varying = surgery::varying(graph);
    let held: HashSet<&str> = graph.initializers.iter().map(Tensor::name).collect();
    let mut seen = HashSet::new();
    let linear = graph
        .nodes
        .iter()
        .filter(|node| weights::LINEAR.contains(&node.op_type()));
    linear
        .filter_map(|node| node.inputs.get(1))
        .filter(|kernel| !varying.contains(*kernel) && !held.contains(&kernel[..]) && seen.insert(&kernel[..]))
        .cloned()
        .collect()
}

/// The value of that name, if it is one of real numbers, always the same, and can be computed alone.
fn evaluated(engine: &dyn Engine, name: &str, model: &Model, value: &str) -> Option<Tensor> {
    let alone = surgery::part(model, vec![ValueInfo::of_any_shape(value, ElementType::Float)]);
    if !random_nodes::reaching(&alone, &[value]).is_empty() {
        return None;
    }
    let name = format!("{name} (kernel {value})");
    let kernel = engine
        .evaluate(&name, graph::serialize(&alone), &[], &[value])
        .ok()?
        .pop()?;
    let dims: Vec<i64> = kernel.shape.iter().map(|&size| size as i64).collect();
    Some(Tensor::of_reals(value, &dims, &kernel.values))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        graph::protobuf::Node,
        runtime::{Input, Output, Program, RuntimeError},
    };

    /// Every graph gives this.
    #[derive(Debug)]
    struct Gives(f32);

    impl Engine for Gives {
        fn load(&self, _: &str, _: Vec<u8>) -> Result<Arc<dyn Program>, RuntimeError> {
            unreachable!("graphs are evaluated")
        }

        fn load_later(&self, _: &str, _: Vec<u8>) -> Arc<dyn Program> {
            unreachable!("graphs are evaluated")
        }

        fn simplify(&self, _: &str, _: &[u8]) -> Result<Vec<u8>, RuntimeError> {
            unreachable!("graphs are evaluated")
        }

        fn evaluate(
            &self,
            _: &str,
            graph: Vec<u8>,
            _: &[Input<'_>],
            outputs: &[&str],
        ) -> Result<Vec<Output>, RuntimeError> {
            let graph = graph::parse(&graph).unwrap().graph.unwrap();
            assert_eq!((graph.inputs.len(), outputs), (0, &["masked"][..]));
            let one = Output {
                shape: vec![1, 1, 1, 1],
                values: vec![self.0],
            };
            Ok(vec![one])
        }
    }

    #[test]
    fn kernels_are_computed_once_unless_they_are_drawn_or_depend_on_an_input() {
        let real = |name: &str| ValueInfo::of_any_shape(name, ElementType::Float);
        let mut large = Tensor::of_scalar("w", 1.0);
        large.dims = vec![1 << 30, 1, 1, 1];
        let mut graph = Graph::default();
        graph.nodes = vec![
            Node::new("Mul", &["w", "mask"], "masked"),
            Node::new("RandomNormal", &[], "drawn"),
            Node::new("Conv", &["x", "masked"], "a"),
            Node::new("Conv", &["a", "masked"], "b"),
            Node::new("Conv", &["b", "drawn"], "c"),
            Node::new("Conv", &["c", "given"], "d"),
            Node::new("Conv", &["d", "x"], "y"),
        ];
        graph.initializers = vec![large, Tensor::of_scalar("mask", 1.0), Tensor::of_scalar("given", 1.0)];
        graph.inputs = vec![real("x")];
        graph.outputs = vec![real("y")];
        let mut model = Model::default();
        model.graph = Some(graph);
        let graph = folded(&Gives(3.0), "test", model).graph.unwrap();
        let kernels: Vec<&str> = graph.nodes[1..].iter().map(|node| &node.inputs[1][..]).collect();
        let new = "density_server/kernel_0";
        assert_eq!(kernels, [new, new, "drawn", "given", "x"]);
        let held: Vec<&str> = graph.initializers.iter().map(Tensor::name).collect();
        assert_eq!(held, ["given", new]);
    }
}
