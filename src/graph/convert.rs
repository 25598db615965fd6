//! Outputs in other units than the server's, converted by nodes behind them.

use super::{
    GraphError,
    protobuf::{Graph, Model, Node, Tensor},
};

/// One step of a conversion, applied to every number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    /// Natural logarithm.
    Log,
    /// From a probability to its log-odds. Probabilities that are rounded to 0 or 1 are taken as 1e-7 from there.
    LogOdds,
    /// Times a constant.
    Times(f32),
    /// Plus a constant.
    Plus(f32),
}

/// Converts the output `name`, which keeps its name, by steps in order.
pub fn output(model: &mut Model, name: &str, steps: &[Step]) -> Result<(), GraphError> {
    let missing = || GraphError::Signature(format!("the graph has no output {name:?} of a node"));
    let graph = model.graph.as_mut().ok_or_else(missing)?;
    if steps.is_empty() {
        return Ok(());
    }
    let raw = format!("density_server/given/{name}");
    let mut producers = graph.nodes.iter_mut().flat_map(|node| &mut node.outputs);
    let produced = producers.find(|output| *output == name).ok_or_else(missing)?;
    produced.clone_from(&raw);
    rename_reads(graph, name, &raw);
    let mut at = raw.clone();
    for (number, step) in steps.iter().enumerate() {
        let is_last = number + 1 == steps.len();
        let to = if is_last {
            name.to_owned()
        } else {
            format!("{raw}/{number}")
        };
        append(graph, *step, &at, &to, &format!("{raw}/{number}"));
        at = to;
    }
    Ok(())
}

/// What read the output before reads what it was.
fn rename_reads(graph: &mut Graph, name: &str, raw: &str) {
    for node in &mut graph.nodes {
        for input in node.inputs.iter_mut().filter(|input| *input == name) {
            raw.clone_into(input);
        }
        for attribute in &mut node.attributes {
            let inner = attribute.graph.as_deref_mut().into_iter();
            for graph in inner.chain(&mut attribute.graphs) {
                rename_reads(graph, name, raw);
                // A body may give it on as its own result.
                for output in &mut graph.outputs {
                    if output.name.as_deref() == Some(name) {
                        output.name = Some(raw.to_owned());
                    }
                }
            }
        }
    }
}

fn append(graph: &mut Graph, step: Step, from: &str, to: &str, prefix: &str) {
    /// As far as a rounded probability is taken to be from 0 and 1.
    const MARGIN: f32 = 1e-7;
    let mut scalar = |what: &str, value: f32| {
        let name = format!("{prefix}/{what}");
        graph.initializers.push(Tensor::of_scalar(&name, value));
        name
    };
    let name = |what: &str| format!("{prefix}/{what}");
    let nodes = match step {
        Step::Log => vec![Node::new("Log", &[from], to)],
        Step::Times(factor) => vec![Node::new("Mul", &[from, &scalar("factor", factor)], to)],
        Step::Plus(term) => vec![Node::new("Add", &[from, &scalar("term", term)], to)],
        Step::LogOdds => {
            let (least, most, one) = (
                scalar("least", MARGIN),
                scalar("most", 1.0 - MARGIN),
                scalar("one", 1.0),
            );
            vec![
                Node::new("Max", &[from, &least], &name("raised")),
                Node::new("Min", &[&name("raised"), &most], &name("inside")),
                Node::new("Sub", &[&one, &name("inside")], &name("other")),
                Node::new("Log", &[&name("inside")], &name("log")),
                Node::new("Log", &[&name("other")], &name("log_other")),
                Node::new("Sub", &[&name("log"), &name("log_other")], to),
            ]
        }
    };
    graph.nodes.extend(nodes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_keeps_its_name_and_other_readers_read_what_they_read() {
        let mut model = Model {
            graph: Some(Graph {
                nodes: vec![
                    Node::new("Tanh", &["z"], "image"),
                    Node::new("Neg", &["image"], "negative"),
                ],
                ..Graph::default()
            }),
            ..Model::default()
        };
        output(&mut model, "image", &[Step::Times(0.5), Step::Plus(0.5)]).unwrap();
        let nodes = model.graph.unwrap().nodes;
        assert_eq!(nodes[0].outputs, nodes[1].inputs);
        assert_eq!(nodes[2].inputs[0], nodes[0].outputs[0]);
        assert_eq!(nodes[3].inputs[0], nodes[2].outputs[0]);
        assert_eq!(nodes[3].outputs, ["image"]);
        let error = output(&mut Model::default(), "image", &[Step::Log]).unwrap_err();
        assert!(error.to_string().contains("no output"));
    }
}
