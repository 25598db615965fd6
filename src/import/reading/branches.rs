//! Which way branches on sizes go where a network is given several items, and which axes have one item then.

use std::collections::HashMap;

use super::{
    Taken,
    running::{ports_of, trial},
};
use crate::{
    graph::{
        branches,
        protobuf::{ElementType, Model, Node, Tensor},
    },
    import::{
        export::{Element, Port, Size},
        probe::Probe,
    },
    runtime::Engine,
};

/// Branches within branches are followed so deep.
const MOST_DEPTHS: usize = 8;

/// The graph without the branches that sizes alone decide: each does what it does for so many items. None if there are
/// none, or if it does not run with so many.
pub(super) fn decided(engine: &dyn Engine, model: &Model, takes: &[Taken], items: usize) -> Option<Model> {
    let mut model = model.clone();
    for round in 0..MOST_DEPTHS {
        let asked = branches::conditions(model.graph.as_ref()?);
        if asked.is_empty() {
            return (round > 0).then_some(model);
        }
        let found = numbers(engine, &model, takes, (&asked, false), items)?;
        let held = found.iter().map(|found| Some(*found.first()? != 0.0));
        let held: HashMap<String, bool> = asked.iter().cloned().zip(held.collect::<Option<Vec<_>>>()?).collect();
        branches::decide(model.graph.as_mut()?, &held, round);
    }
    Some(model)
}

/// The graph with the axes named that it leaves out because they have one item; the batch, which may have one, is
/// none of them. None if it names all, or does not run with so many items.
pub(super) fn named(engine: &dyn Engine, model: &Model, takes: &[Taken], items: usize) -> Option<Model> {
    let squeezed = branches::squeezed(model.graph.as_ref()?);
    if squeezed.is_empty() {
        return None;
    }
    let found = numbers(engine, model, takes, (&squeezed, true), items)?;
    let shape = |sizes: Vec<f32>| sizes.into_iter().map(|size| size as usize).collect();
    let shapes: HashMap<String, Vec<usize>> = squeezed.into_iter().zip(found.into_iter().map(shape)).collect();
    let mut model = model.clone();
    branches::name_axes(&mut model, &shapes);
    Some(model)
}

/// The numbers of inner values, or their sizes, with so many items.
fn numbers(
    engine: &dyn Engine,
    model: &Model,
    takes: &[Taken],
    (values, are_sizes): (&[String], bool),
    items: usize,
) -> Option<Vec<Vec<f32>>> {
    let mut model = model.clone();
    let graph = model.graph.as_mut()?;
    let [flat, rows] = ["flat", "rows"].map(|name| format!("density_server/asked/{name}"));
    graph.initializers.push(Tensor::of_ints(&flat, &[1, -1]));
    graph.initializers.push(Tensor::of_ints(&rows, &[items as i64, 1]));
    let mut outputs = Vec::new();
    for (at, value) in values.iter().enumerate() {
        let name = |part: &str| format!("density_server/asked/{part}/{at}");
        let asked = if are_sizes {
            graph.nodes.push(Node::new("Shape", &[value], &name("sizes")));
            name("sizes")
        } else {
            value.clone()
        };
        let to = i64::from(ElementType::Float as i32);
        graph
            .nodes
            .push(Node::new("Cast", &[&asked], &name("real")).with_int("to", to));
        graph
            .nodes
            .push(Node::new("Reshape", &[&name("real"), &flat], &name("row")));
        // What is read has a row for each item.
        graph
            .nodes
            .push(Node::new("Expand", &[&name("row"), &rows], &name("all")));
        outputs.push(Port {
            name: name("all"),
            element: Element::Real,
            onnx_type: ElementType::Float as i32,
            sizes: Some(vec![Size::Fixed(items), Size::Open(String::new())]),
        });
    }
    let (ports, _) = ports_of(&model);
    let sizes = |port: &Port| {
        let own = takes.iter().find(|taken| taken.port.name == port.name);
        own.map(|taken| taken.sizes.clone())
    };
    let inputs: Vec<(&Port, Vec<usize>)> = ports.iter().filter_map(|port| Some((port, sizes(port)?))).collect();
    let outputs: Vec<&Port> = outputs.iter().collect();
    let probe = Probe::new(engine, "sizes", &model, (&inputs, &outputs), items).ok()?;
    let found = probe.run(items, &trial(takes, items)).ok()?;
    found.into_iter().map(|found| found.rows.into_iter().next()).collect()
}
