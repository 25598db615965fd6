//! Labels as one of many numbers, written as `zeros[range(n), labels] = 1`.
//!
//! Exporters write a row and a column for each label and put ones there, and both hold how many labels the example
//! had. The same is said with columns alone, one in each row, which any number of labels has.

use super::{
    constant::Constant,
    protobuf::{Graph, Model, Node, Tensor, ValueInfo},
    surgery, weights,
};

/// What an opset needs at least, so that axes are inputs.
const AXES_ARE_INPUTS: i64 = 13;

/// What stands in each row of something once, by columns.
struct Rows {
    /// The column of each row, [n, 1].
    columns: String,
    /// The same without its second axis, where that has to be given to it.
    flat: Option<String>,
    /// What is put there.
    value: f64,
}

/// Writes what is put once into each row by the columns alone.
pub fn by_columns(model: &mut Model) {
    if model.opset() < AXES_ARE_INPUTS {
        return;
    }
    let Some(graph) = &mut model.graph else { return };
    let count = graph.nodes.len();
    for at in 0..count {
        if let Some(rows) = rows(graph, &graph.nodes[at]) {
            write(graph, at, &rows);
        }
    }
    if graph.nodes.len() > count {
        surgery::sort(graph);
    }
}

fn write(graph: &mut Graph, at: usize, rows: &Rows) {
    let own = graph.nodes[at].outputs[0].clone();
    let name = |part: &str| format!("density_server/one_hot/{part}/{own}");
    let columns = match &rows.flat {
        Some(flat) => {
            graph.initializers.push(Tensor::of_ints(&name("axis"), &[-1]));
            graph
                .nodes
                .push(Node::new("Unsqueeze", &[flat, &name("axis")], &name("columns")));
            name("columns")
        }
        None => rows.columns.clone(),
    };
    let value = Tensor::of_reals(&name("value"), &[1, 1], &[rows.value as f32]);
    graph.initializers.push(value);
    graph.nodes.push(Node::new("Shape", &[&columns], &name("sizes")));
    let values = [name("value"), name("sizes")];
    graph
        .nodes
        .push(Node::new("Expand", &[&values[0], &values[1]], &name("values")));
    let data = graph.nodes[at].inputs[0].clone();
    graph.nodes[at] = Node::new("ScatterElements", &[&data, &columns, &name("values")], &own).with_int("axis", 1);
}

/// What a node puts into each row of something with two axes, if that is what it does.
fn rows(graph: &Graph, node: &Node) -> Option<Rows> {
    let [data, indices, updates] = &node.inputs[..] else {
        return None;
    };
    let adds = !matches!(node.text("reduction"), b"" | b"none");
    if node.op_type() != "ScatterND" || adds || !has_two_axes(graph, data) {
        return None;
    }
    let pairs = surgery::producer(graph, indices).filter(|pairs| pairs.op_type() == "Concat")?;
    let [first, columns] = &pairs.inputs[..] else {
        return None;
    };
    if !counts_up(graph, first) {
        return None;
    }
    let value = weights::uniform(graph, source(graph, updates, &["Reshape", "Expand", "Identity"]))?;
    let bare = surgery::producer(graph, columns).filter(|made| made.op_type() == "Unsqueeze");
    let bare = bare.and_then(|made| made.inputs.first());
    let label = bare.map(|bare| source(graph, bare, &["Expand", "Cast", "Identity"]));
    let is_label = |name: &&str| {
        let input = graph.inputs.iter().find(|input| input.name() == *name);
        let sizes = input.and_then(ValueInfo::sizes);
        sizes.is_some_and(|sizes| sizes.len() == 1)
    };
    // A row of labels stays what it is where it is brought to as many as there are rows.
    let flat = label.filter(is_label).and(bare);
    let flat = flat.map(|bare| match surgery::producer(graph, bare) {
        Some(made) if made.op_type() == "Expand" => made.inputs[0].clone(),
        _ => bare.clone(),
    });
    Some(Rows {
        columns: columns.clone(),
        flat,
        value,
    })
}

/// What a value is made of by operators that change no number.
fn source<'a>(graph: &'a Graph, value: &'a str, through: &[&str]) -> &'a str {
    let made = surgery::producer(graph, value).filter(|made| through.contains(&made.op_type()));
    match made.and_then(|made| made.inputs.first()) {
        Some(first) => source(graph, first, through),
        None => value,
    }
}

/// The whole numbers that a constant holds.
fn whole(graph: &Graph, name: &str) -> Option<Vec<i64>> {
    Some(Constant::read(weights::held(graph, name)?)?.as_ints()?.to_vec())
}

/// Whether a value is 0, 1, 2, …
fn counts_up(graph: &Graph, value: &str) -> bool {
    let from = source(graph, value, &["Unsqueeze", "Expand", "Cast", "Reshape", "Identity"]);
    if let Some(whole) = whole(graph, from) {
        return !whole.is_empty() && whole.iter().enumerate().all(|(at, &own)| own == at as i64);
    }
    let range = surgery::producer(graph, from).filter(|made| made.op_type() == "Range");
    range.is_some_and(|made| {
        let is = |place: usize, number: f64| {
            let own = made.inputs.get(place).map(|name| source(graph, name, &["Cast"]));
            own.and_then(|name| weights::scalar(graph, name)) == Some(number)
        };
        is(0, 0.0) && is(2, 1.0)
    })
}

/// Whether a value is a table, by the constant that it is or the sizes that it is made with.
fn has_two_axes(graph: &Graph, value: &str) -> bool {
    if let Some(held) = weights::held(graph, value) {
        return held.dims.len() == 2;
    }
    let made = surgery::producer(graph, value).filter(|made| matches!(made.op_type(), "ConstantOfShape" | "Expand"));
    let Some(made) = made else { return false };
    let place = usize::from(made.op_type() == "Expand");
    let Some(sizes) = made.inputs.get(place) else {
        return false;
    };
    if let Some(whole) = whole(graph, sizes) {
        return whole.len() == 2;
    }
    let joined = surgery::producer(graph, sizes).filter(|made| made.op_type() == "Concat");
    let is_single = |name: &String| match whole(graph, name) {
        Some(whole) => whole.len() == 1,
        None => surgery::producer(graph, name).is_some_and(|made| made.op_type() == "Unsqueeze"),
    };
    joined.is_some_and(|joined| joined.inputs.len() == 2 && joined.inputs.iter().all(is_single))
}
