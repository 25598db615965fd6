//! What a graph shows of itself without being run: how many weights it has, and what it does first to its input. And
//! large weights apart from it.

use super::{
    constant::Constant,
    protobuf::{ElementType, Graph, Model, Tensor, ValueInfo},
    walk,
};

/// Matrices smaller than this stay in the graph.
const LARGE: usize = 4 << 20;
/// So do all of a graph that has fewer bytes of large ones: a runtime that knows them beforehand packs them.
const WORTH: usize = 64 << 20;

/// A matrix that was taken out of a graph, which takes it as an input instead.
#[derive(Debug, Clone, PartialEq)]
pub struct Detached {
    /// Name of the input.
    pub name: String,
    /// Rows and columns.
    pub dims: [usize; 2],
    /// Values, row-major.
    pub values: Vec<f32>,
}

/// The graph without its large matrices, and these; `None` if there is little to gain.
///
/// A runtime copies what a graph holds, for every session and while it makes one several times over. What it is given
/// with each run stays where it is. Only right factors of matrix products are taken, whose kernels need not know them
/// beforehand.
pub fn detach(model: &Model) -> Option<(Model, Vec<Detached>)> {
    let graph = model.graph.as_ref()?;
    if !model.functions.is_empty()
        || graph
            .nodes
            .iter()
            .any(|node| node.attributes.iter().any(|a| a.holds_graph()))
    {
        return None;
    }
    let is_factor = |name: &str| {
        let is_output = graph.outputs.iter().any(|output| output.name() == name);
        let mut readers = graph
            .nodes
            .iter()
            .filter(|node| node.inputs.iter().any(|input| input == name));
        !is_output
            && readers.all(|node| {
                let at: Vec<usize> = (0..node.inputs.len()).filter(|&at| node.inputs[at] == name).collect();
                matches!(node.op_type.as_deref(), Some("Gemm" | "MatMul")) && at == [1]
            })
    };
    let matrix = |tensor: &Tensor| -> Option<Detached> {
        let (raw, name) = (tensor.raw_data.as_ref()?, tensor.name.as_deref()?);
        let [rows, columns] = tensor.dims[..] else {
            return None;
        };
        let dims = [usize::try_from(rows).ok()?, usize::try_from(columns).ok()?];
        let is_whole = dims[0].checked_mul(dims[1])?.checked_mul(4)? == raw.len();
        let is_real = tensor.data_type == Some(ElementType::Float as i32);
        (is_whole && is_real && raw.len() >= LARGE && is_factor(name)).then(|| Detached {
            name: name.to_owned(),
            dims,
            values: Vec::new(),
        })
    };
    let mut taken: Vec<(usize, Detached)> = Vec::new();
    for (at, tensor) in graph.initializers.iter().enumerate() {
        taken.extend(matrix(tensor).map(|matrix| (at, matrix)));
    }
    let bytes: usize = taken
        .iter()
        .map(|(_, matrix)| 4 * matrix.dims[0] * matrix.dims[1])
        .sum();
    if bytes < WORTH {
        return None;
    }
    for (at, matrix) in &mut taken {
        let raw = graph.initializers[*at].raw_data.as_deref().unwrap_or_default();
        matrix.values = raw
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&word| f32::from_le_bytes(word))
            .collect();
    }
    let mut rest = model.clone();
    let own = rest.graph.as_mut()?;
    for (at, matrix) in taken.iter().rev() {
        own.initializers.remove(*at);
        own.inputs.retain(|input| input.name() != matrix.name);
        own.inputs
            .push(ValueInfo::fixed(&matrix.name, ElementType::Float, &matrix.dims));
    }
    Some((rest, taken.into_iter().map(|(_, matrix)| matrix).collect()))
}

/// Real numbers that the graph holds as constants, scalars left out.
pub fn count(model: &Model) -> u64 {
    let real = |tensor: &Tensor| matches!(tensor.data_type, Some(1 | 10 | 11 | 16..=20 | 23));
    let own = |tensor: &Tensor| match tensor.dims.iter().product::<i64>() {
        many if many > 1 && real(tensor) => many as u64,
        _ => 0,
    };
    let initializers = model.graph.iter().flat_map(|graph| &graph.initializers);
    let mut total: u64 = initializers.map(own).sum();
    for list in walk::lists(model) {
        walk::nodes(list, &mut |node| {
            let tensors = node.attributes.iter().flat_map(|attribute| &attribute.t);
            total += tensors.map(own).sum::<u64>();
        });
    }
    total
}

/// What the graph multiplies its input by before anything else; 1 if it does something else first.
pub fn input_factor(model: &Model, input: &str) -> f64 {
    let Some(graph) = &model.graph else {
        return 1.0;
    };
    let scalar = |name: &str| scalar(graph, name);
    let (mut at, mut factor) = (input, 1.0);
    // As long as there is one reader, and it is an affine map by scalars.
    loop {
        let mut readers = graph.nodes.iter().filter(|node| node.inputs.iter().any(|i| i == at));
        let (Some(node), None) = (readers.next(), readers.next()) else {
            return factor;
        };
        let other = node.inputs.iter().find(|name| *name != at);
        let value = other.and_then(|name| scalar(name));
        match (node.op_type.as_deref(), value) {
            (Some("Mul"), Some(value)) => factor *= value,
            (Some("Div"), Some(value)) if node.inputs[0] == at => factor /= value,
            (Some("Add" | "Sub"), Some(_)) | (Some("Cast" | "Identity"), None) => {}
            _ => return factor,
        }
        let Some(output) = node.outputs.first() else {
            return factor;
        };
        at = output;
    }
}

/// The value of a constant of one number.
pub fn scalar(graph: &Graph, name: &str) -> Option<f64> {
    let held = graph.initializers.iter();
    let held = held.filter(|tensor| tensor.name.as_deref() == Some(name));
    let made = graph
        .nodes
        .iter()
        .filter(|node| node.op_type.as_deref() == Some("Constant") && node.outputs.iter().any(|o| o == name));
    let made = made.filter_map(|node| node.attribute("value")?.t.as_ref());
    Constant::read(held.chain(made).next()?)?.single()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::protobuf::Node;

    #[test]
    fn the_first_factors_of_the_input_are_found() {
        let model = |nodes: Vec<Node>| Model {
            graph: Some(Graph {
                nodes,
                initializers: vec![
                    Tensor::of_scalar("c", 255.0),
                    Tensor::of_scalar("half", 0.5),
                    Tensor::of_ones("w", 4, 2),
                ],
                ..Graph::default()
            }),
            ..Model::default()
        };
        let chain = |last: &str| {
            model(vec![
                Node::new("Div", &["x", "c"], "a"),
                Node::new("Sub", &["a", "half"], "b"),
                Node::new(last, &["b", "half"], "d"),
                Node::new("Conv", &["d", "w"], "y"),
            ])
        };
        assert_eq!(input_factor(&chain("Mul"), "x"), 0.5 / 255.0);
        assert_eq!(input_factor(&chain("Div"), "x"), 2.0 / 255.0);
        let conv = model(vec![Node::new("Conv", &["x", "w"], "y")]);
        assert_eq!(input_factor(&conv, "x"), 1.0);
        assert_eq!(count(&conv), 4);
    }

    /// A product of `read` with a matrix of so many bytes, which `other` reads, too.
    fn product(bytes: usize, other: &str) -> Model {
        let matrix = Tensor {
            dims: vec![4, (bytes / 16) as i64],
            data_type: Some(ElementType::Float as i32),
            name: Some("w".to_owned()),
            raw_data: Some(vec![0; bytes].into()),
            ..Tensor::default()
        };
        Model {
            graph: Some(Graph {
                nodes: vec![Node::new("MatMul", &["x", "w"], "y"), Node::new("Neg", &[other], "z")],
                initializers: vec![matrix],
                inputs: vec![ValueInfo::batched("x", ElementType::Float, &[4])],
                outputs: vec![ValueInfo::batched("z", ElementType::Float, &[])],
                ..Graph::default()
            }),
            ..Model::default()
        }
    }

    #[test]
    fn large_factors_are_taken_out_and_nothing_else() {
        let (rest, weights) = detach(&product(WORTH, "y")).unwrap();
        assert_eq!((weights.len(), weights[0].dims), (1, [4, WORTH / 16]));
        assert_eq!(weights[0].values.len() * 4, WORTH);
        let graph = rest.graph.unwrap();
        assert!(graph.initializers.is_empty());
        assert_eq!(graph.inputs[1].name(), "w");
        // What is small, or read by something that may want to know it beforehand, stays.
        assert_eq!(detach(&product(WORTH - 16, "y")), None);
        assert_eq!(detach(&product(WORTH, "w")), None);
        assert_eq!(detach(&Model::default()), None);
    }
}
