//! What a graph may ask of a machine, told by counting before anything runs.
//!
//! A file of a few kilobytes can stand for a graph without end: functions that call others twice, shapes without
//! values, constants made of a number. What a runtime would make of a file must be in proportion to the file. What
//! cannot be counted (a loop that turns for ever) is left to the time limit of the load gate.

use std::collections::HashMap;

use super::{
    GraphError,
    protobuf::{Function, Graph, Model, Node, Tensor},
    visit,
};

/// Nodes once every function is written out: the largest public networks have some ten thousands.
const NODES: u64 = 100_000;
/// Functions that call functions.
const DEPTH: usize = 32;
/// Turns of a loop, where a constant says how many.
const TURNS: i64 = 1 << 20;
/// Elements of a tensor that the file does not hold: made from a shape, or sparse.
const MADE: u64 = 1 << 26;

/// Refuses a graph that is larger than its file can be in earnest.
pub fn check(model: &Model) -> Result<(), GraphError> {
    let refused = GraphError::Bounds;
    let mut functions = Functions::new(model);
    let nodes = model
        .graph
        .iter()
        .map(|graph| functions.count(&graph.nodes, 0))
        .sum::<Result<u64, String>>()
        .map_err(refused)?;
    if nodes > NODES {
        return Err(refused(format!(
            "with its functions written out it has {} nodes; at most {NODES} are run",
            if nodes == u64::MAX {
                "countless".to_owned()
            } else {
                nodes.to_string()
            }
        )));
    }
    for graph in graphs(model) {
        graph
            .initializers
            .iter()
            .try_for_each(has_its_values)
            .map_err(refused)?;
        sparse(graph).map_err(refused)?;
    }
    for list in visit::lists(model) {
        let mut found = Ok(());
        visit::nodes(list, &mut |node| {
            let tensors = node.attributes.iter().flat_map(|a| a.t.iter().chain(&a.tensors));
            for tensor in tensors {
                found = found.clone().and(has_its_values(tensor));
            }
        });
        found.map_err(refused)?;
        made(model, list).map_err(refused)?;
    }
    Ok(())
}

/// Every graph: the main one, and those that hang on nodes.
fn graphs(model: &Model) -> Vec<&Graph> {
    let mut found: Vec<&Graph> = model.graph.iter().collect();
    for list in visit::lists(model) {
        visit::nodes(list, &mut |node| found.extend(visit::subgraphs(node)));
    }
    found
}

/// Nodes of functions, each counted once.
struct Functions<'a> {
    by_name: HashMap<Key<'a>, &'a Function>,
    counted: HashMap<Key<'a>, u64>,
}

/// Domain, name and overload.
type Key<'a> = (&'a str, &'a str, &'a str);

impl<'a> Functions<'a> {
    fn new(model: &'a Model) -> Self {
        let key = |function: &'a Function| {
            (
                function.domain.as_deref().unwrap_or_default(),
                function.name.as_deref().unwrap_or_default(),
                function.overload.as_deref().unwrap_or_default(),
            )
        };
        Self {
            by_name: model.functions.iter().map(|f| (key(f), f)).collect(),
            counted: HashMap::new(),
        }
    }

    /// Nodes of a list with functions written out; as many as there are numbers if there are more.
    fn count(&mut self, list: &'a [Node], depth: usize) -> Result<u64, String> {
        let mut total = 0u64;
        for node in list {
            let key = (
                node.domain.as_deref().unwrap_or_default(),
                node.op_type.as_deref().unwrap_or_default(),
                node.overload.as_deref().unwrap_or_default(),
            );
            let own = match self.by_name.get(&key).copied() {
                Some(function) => self.of_function(key, function, depth)?,
                None => 1,
            };
            total = total.saturating_add(own);
            for graph in visit::subgraphs(node) {
                total = total.saturating_add(self.count(&graph.nodes, depth)?);
            }
        }
        Ok(total)
    }

    fn of_function(&mut self, key: Key<'a>, function: &'a Function, depth: usize) -> Result<u64, String> {
        if let Some(&known) = self.counted.get(&key) {
            return Ok(known);
        }
        if depth == DEPTH {
            return Err(format!(
                "function {:?} is called by {DEPTH} functions one in the other, or calls itself",
                key.1
            ));
        }
        let nodes = self.count(&function.nodes, depth + 1)?;
        self.counted.insert(key, nodes);
        Ok(nodes)
    }
}

/// A tensor has a value for every element that its shape asks for.
fn has_its_values(tensor: &Tensor) -> Result<(), String> {
    let name = tensor.name.as_deref().unwrap_or_default();
    let elements =
        elements(&tensor.dims).ok_or_else(|| format!("the shape {:?} of tensor {name:?} is none", tensor.dims))?;
    let held = tensor.held();
    if elements > held {
        return Err(format!(
            "tensor {name:?} has {held} values for the {elements} elements of its shape {:?}",
            tensor.dims
        ));
    }
    Ok(())
}

/// Sparse tensors are spread out at load.
fn sparse(graph: &Graph) -> Result<(), String> {
    let on_nodes = graph.nodes.iter().flat_map(|node| &node.attributes);
    let on_nodes = on_nodes.flat_map(|attribute| {
        let one = attribute.sparse_tensor.as_deref();
        one.into_iter().chain(&attribute.sparse_tensors)
    });
    let mut total = 0u64;
    for sparse in graph.sparse_initializers.iter().chain(on_nodes) {
        total = total.saturating_add(elements(&sparse.dims).unwrap_or(u64::MAX));
    }
    if total > MADE {
        return Err(format!(
            "its sparse tensors have {total} elements; at most {MADE} are spread out"
        ));
    }
    Ok(())
}

/// Tensors that a node makes of a constant shape: a runtime makes them at load.
fn made(model: &Model, list: &[Node]) -> Result<(), String> {
    let constants = constants(model, list);
    let mut refused = Ok(());
    visit::nodes(list, &mut |node| {
        let input = |at: usize| node.inputs.get(at).and_then(|name| constants.get(name.as_str()));
        let shape = match node.op_type.as_deref() {
            Some("ConstantOfShape") => input(0).cloned(),
            Some("Expand" | "Tile") => input(1).cloned(),
            Some("RandomNormal" | "RandomUniform") => node.ints("shape").map(<[i64]>::to_vec),
            Some("Range") => range(input(0), input(1), input(2)),
            _ => None,
        };
        if node.op_type.as_deref() == Some("Loop") && refused.is_ok() {
            refused = turns(node, input(0).and_then(|count| count.first().copied()));
        }
        let elements = shape.map_or(0, |dims| elements(&dims).unwrap_or(u64::MAX));
        if elements > MADE && refused.is_ok() {
            refused = Err(format!(
                "{} {:?} makes a tensor of {elements} elements; at most {MADE} are made",
                node.op_type.as_deref().unwrap_or_default(),
                node.name.as_deref().unwrap_or_default()
            ));
        }
    });
    refused
}

/// A loop of so many turns, if that is known. One that does nothing in a turn could not be stopped.
fn turns(node: &Node, count: Option<i64>) -> Result<(), String> {
    let name = node.name.as_deref().unwrap_or_default();
    if let Some(count) = count.filter(|&count| count > TURNS) {
        return Err(format!("Loop {name:?} turns {count} times; at most {TURNS} are run"));
    }
    match visit::subgraphs(node).find(|body| body.nodes.is_empty()) {
        Some(_) => Err(format!("Loop {name:?} has nothing to do in a turn")),
        None => Ok(()),
    }
}

/// The shape of a range of integers.
fn range(start: Option<&Vec<i64>>, limit: Option<&Vec<i64>>, step: Option<&Vec<i64>>) -> Option<Vec<i64>> {
    let number = |values: Option<&Vec<i64>>| values?.first().copied().map(i128::from);
    let (start, limit, step) = (number(start)?, number(limit)?, number(step)?);
    let count = (limit - start).checked_div(step)?.max(0);
    Some(vec![i64::try_from(count).unwrap_or(i64::MAX)])
}

/// Integers by name: initializers and constants.
fn constants<'a>(model: &'a Model, list: &'a [Node]) -> HashMap<&'a str, Vec<i64>> {
    let mut found = HashMap::new();
    for graph in graphs(model) {
        for tensor in &graph.initializers {
            if let (Some(name), Some(values)) = (tensor.name.as_deref(), tensor.integers()) {
                found.insert(name, values);
            }
        }
    }
    visit::nodes(list, &mut |node| {
        if node.op_type.as_deref() == Some("Constant")
            && let Some(output) = node.outputs.first()
        {
            let tensor = node.attribute("value").and_then(|value| value.t.as_ref());
            let values = tensor.and_then(Tensor::integers);
            let values = values.or_else(|| node.ints("value_ints").map(<[i64]>::to_vec));
            if let Some(values) = values {
                found.insert(output.as_str(), values);
            }
        }
    });
    found
}

/// The product of sizes, none of which may be negative.
fn elements(dims: &[i64]) -> Option<u64> {
    dims.iter()
        .try_fold(1u64, |product, &size| product.checked_mul(u64::try_from(size).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calling(name: &str, times: usize) -> Vec<Node> {
        vec![Node::new(name, &["x"], "y"); times]
    }

    fn doubling(levels: usize) -> Model {
        let function = |level: usize| Function {
            name: Some(format!("f{level}")),
            nodes: if level == 0 {
                calling("Relu", 2)
            } else {
                calling(&format!("f{}", level - 1), 2)
            },
            ..Function::default()
        };
        Model {
            graph: Some(Graph {
                nodes: calling(&format!("f{}", levels - 1), 1),
                ..Graph::default()
            }),
            functions: (0..levels).map(function).collect(),
            ..Model::default()
        }
    }

    fn refused(model: &Model) -> String {
        check(model).unwrap_err().to_string()
    }

    #[test]
    fn functions_are_counted_written_out() {
        assert_eq!(check(&doubling(10)), Ok(()));
        assert!(refused(&doubling(20)).contains("1048576 nodes"));
        assert!(refused(&doubling(64)).contains("one in the other"));
        let mut model = doubling(2);
        model.functions[0].nodes = calling("f1", 1);
        assert!(refused(&model).contains("or calls itself"));
    }

    #[test]
    fn shapes_without_values_are_refused() {
        let of = |dims: &[i64]| {
            let mut tensor = Tensor::of_scalar("w", 1.0);
            tensor.dims = dims.to_vec();
            Model {
                graph: Some(Graph {
                    initializers: vec![tensor],
                    ..Graph::default()
                }),
                ..Model::default()
            }
        };
        assert_eq!(check(&of(&[1, 1])), Ok(()));
        assert!(refused(&of(&[1 << 40])).contains("has 1 values"));
        assert!(refused(&of(&[1 << 40, 1 << 40])).contains("is none"));
        assert!(refused(&of(&[-1])).contains("is none"));
    }

    #[test]
    fn constants_out_of_nothing_are_refused() {
        let of = |operator: &str, inputs: &[&str]| Model {
            graph: Some(Graph {
                nodes: vec![Node::new(operator, inputs, "y")],
                initializers: vec![
                    Tensor::of_ints("large", &[1 << 20, 1 << 20]),
                    Tensor::of_ints("endless", &[1 << 62]),
                    Tensor::of_ints("small", &[4, 4]),
                    Tensor::of_ints("zero", &[0]),
                    Tensor::of_ints("one", &[1]),
                ],
                ..Graph::default()
            }),
            ..Model::default()
        };
        assert_eq!(check(&of("Loop", &["large"])), Ok(()));
        assert!(refused(&of("Loop", &["endless"])).contains("times; at most 1048576"));
        assert_eq!(check(&of("ConstantOfShape", &["small"])), Ok(()));
        assert_eq!(check(&of("Range", &["zero", "large", "one"])), Ok(()));
        assert!(refused(&of("ConstantOfShape", &["large"])).contains("makes a tensor"));
        assert!(refused(&of("Expand", &["x", "large"])).contains("Expand"));
    }
}
