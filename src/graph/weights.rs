//! What a graph shows of itself without being run: how many weights it has, and what it does first to its input. And
//! large weights apart from it.

use std::convert::Infallible;

use bytes::Bytes;

use super::{
    constant::Constant,
    protobuf::{ElementType, Graph, Model, Node, Tensor, ValueInfo},
    surgery, visit,
};

/// Matrices smaller than this stay in the graph.
const LARGE: usize = 4 << 20;
/// So do all of a graph that has fewer bytes of large ones: a runtime that knows them beforehand packs them.
const WORTH: usize = 64 << 20;

/// A smaller kernel is not worth being set aside.
const KERNEL: usize = 64 << 10;

/// Operators whose second input is their kernel.
pub const LINEAR: [&str; 4] = ["Conv", "ConvTranspose", "Gemm", "MatMul"];

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
    if !is_plain(model) {
        return None;
    }
    let is_factor = |name: &str| is_second_of(graph, &["Gemm", "MatMul"], name);
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

/// Takes the large kernels out of a graph that is to be analysed, and makes them inputs, so that whoever simplifies it
/// makes no copies of them. Only those are taken that linear operators read as they are: nothing can be folded into
/// them. None are taken where there is little to gain.
pub fn set_aside(model: &mut Model) -> Vec<Tensor> {
    let is_plain = is_plain(model);
    let Some(graph) = model.graph.as_mut().filter(|_| is_plain) else {
        return Vec::new();
    };
    let size = |tensor: &Tensor| tensor.raw_data.as_ref().map_or(0, |raw| raw.len());
    let is_kernel = |tensor: &Tensor| {
        let is_real = tensor.data_type == Some(ElementType::Float as i32);
        let name = tensor.name.as_deref().unwrap_or_default();
        is_real && size(tensor) >= KERNEL && is_second_of(graph, &LINEAR, name)
    };
    let kernels: Vec<bool> = graph.initializers.iter().map(is_kernel).collect();
    let of_kernels = graph.initializers.iter().zip(&kernels).filter(|(_, is)| **is);
    if of_kernels.map(|(tensor, _)| size(tensor)).sum::<usize>() < WORTH {
        return Vec::new();
    }
    let mut kernels = kernels.into_iter();
    let aside: Vec<Tensor> = graph
        .initializers
        .extract_if(.., |_| kernels.next() == Some(true))
        .collect();
    for tensor in &aside {
        let name = tensor.name.as_deref().unwrap_or_default();
        let dims: Vec<usize> = tensor.dims.iter().map(|&size| size.max(0) as usize).collect();
        graph.inputs.retain(|input| input.name() != name);
        graph.inputs.push(ValueInfo::fixed(name, ElementType::Float, &dims));
    }
    aside
}

/// Puts kernels back that were set aside.
pub fn put_back(model: &mut Model, aside: Vec<Tensor>) {
    if let Some(graph) = &mut model.graph {
        let is_aside = |name: &str| aside.iter().any(|tensor| tensor.name.as_deref() == Some(name));
        graph.inputs.retain(|input| !is_aside(input.name()));
        graph.initializers.extend(aside);
    }
}

/// Whether all that reads a tensor of a graph stands in its own list of nodes.
fn is_plain(model: &Model) -> bool {
    let nodes = model.graph.iter().flat_map(|graph| &graph.nodes);
    let mut attributes = nodes.flat_map(|node| &node.attributes);
    model.functions.is_empty() && !attributes.any(|attribute| attribute.holds_graph())
}

/// Whether a tensor is read by such operators only, by each as the second input and as no other.
fn is_second_of(graph: &Graph, operators: &[&str], name: &str) -> bool {
    let is_output = graph.outputs.iter().any(|output| output.name() == name);
    let mut readers = graph
        .nodes
        .iter()
        .filter(|node| node.inputs.iter().any(|input| input == name));
    !is_output
        && readers.all(|node| {
            let mut at = (0..node.inputs.len()).filter(|&at| node.inputs[at] == name);
            operators.contains(&node.op_type()) && at.next() == Some(1) && at.next().is_none()
        })
}

/// Whether a graph has so many weights that they are to be held once only, even where that costs time.
pub fn are_many(model: &Model) -> bool {
    count(model) >= 16 << 20
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
    for list in visit::lists(model) {
        visit::nodes(list, &mut |node| {
            let tensors = node.attributes.iter().flat_map(|attribute| &attribute.t);
            total += tensors.map(own).sum::<u64>();
        });
    }
    total
}

/// Gives all tensors bytes of their own, so that they do not keep a whole file in memory.
pub fn copy(model: &mut Model) {
    let Ok(()) = visit::tensors::<Infallible>(model, &mut |tensor| {
        tensor.raw_data = tensor.raw_data.take().map(|raw| Bytes::copy_from_slice(&raw));
        Ok(())
    });
}

/// What the graph multiplies its input by before anything else; 1 if it does something else first.
pub fn input_factor(model: &Model, input: &str) -> f64 {
    input_map(model, input).0
}

/// Factor and term of what the graph does to its input before anything else, as far as that is by single numbers; 1 and
/// 0 if it does something else first.
pub fn input_map(model: &Model, input: &str) -> (f64, f64) {
    let (mut factor, mut term) = (1.0, 0.0);
    let Some(graph) = &model.graph else {
        return (factor, term);
    };
    // As long as there is one reader, and it is an affine map by scalars.
    for (node, at) in only_readers(graph, input) {
        let other = node.inputs.iter().find(|name| *name != at);
        let value = other.and_then(|name| scalar(graph, name));
        let is_first = node.inputs[0] == at;
        (factor, term) = match (node.op_type(), value) {
            ("Mul", Some(value)) => (factor * value, term * value),
            ("Div", Some(value)) if is_first => (factor / value, term / value),
            ("Add", Some(value)) => (factor, term + value),
            ("Sub", Some(value)) if is_first => (factor, term - value),
            ("Sub", Some(value)) => (-factor, value - term),
            ("Cast" | "Identity", None) => (factor, term),
            _ => break,
        };
    }
    (factor, term)
}

/// The largest number that is added to an input or taken from it, before anything but places and types is changed; 0 if
/// something else comes first.
pub fn input_term(model: &Model, input: &str) -> f64 {
    let Some(graph) = &model.graph else {
        return 0.0;
    };
    for (node, at) in only_readers(graph, input) {
        match node.op_type() {
            "Add" | "Sub" => {
                let term = node.inputs.iter().find(|name| *name != at);
                let term = term.and_then(|name| Constant::read(held(graph, name)?));
                let numbers = term.iter().filter_map(Constant::as_floats).flatten();
                return numbers.fold(0.0, |most, &number| f64::max(most, number.abs().into()));
            }
            _ if moves(node, at) => {}
            _ => return 0.0,
        }
    }
    0.0
}

/// Whether a graph shifts or scales its input before anything but places and types is changed.
pub fn begins_affine(model: &Model, input: &str) -> bool {
    let Some(graph) = &model.graph else { return false };
    let first = only_readers(graph, input).find(|(node, at)| !moves(node, at));
    first.is_some_and(|(node, _)| matches!(node.op_type(), "Add" | "Sub" | "Mul" | "Div" | "BatchNormalization"))
}

/// Whether a node changes only places and types of what it reads there.
fn moves(node: &Node, at: &str) -> bool {
    let names = ["Cast", "Identity", "Transpose", "Slice", "Gather", "Reshape"];
    names.contains(&node.op_type()) && node.inputs[0] == at
}

/// The nodes behind a value, each the only reader of what the one before it makes, and what each reads of that.
fn only_readers<'a>(graph: &'a Graph, value: &'a str) -> impl Iterator<Item = (&'a Node, &'a str)> {
    let mut next = Some(value);
    std::iter::from_fn(move || {
        let at = next?;
        let node = only_reader(graph, at)?;
        next = node.outputs.first().map(String::as_str);
        Some((node, at))
    })
}

/// The one node that reads the numbers of a value; to ask for its size is not to read it.
fn only_reader<'a>(graph: &'a Graph, value: &str) -> Option<&'a Node> {
    let reads = |node: &&Node| node.op_type() != "Shape" && node.inputs.iter().any(|input| input == value);
    let mut readers = graph.nodes.iter().filter(reads);
    readers.next().filter(|_| readers.next().is_none())
}

/// The constant of a name.
pub(super) fn held<'a>(graph: &'a Graph, name: &str) -> Option<&'a Tensor> {
    let held = graph.initializers.iter();
    let mut held = held.filter(|tensor| tensor.name.as_deref() == Some(name));
    let made = || surgery::producer(graph, name).filter(|node| node.op_type() == "Constant");
    held.next().or_else(|| made()?.attribute("value")?.t.as_ref())
}

/// The value of a constant of one number.
pub fn scalar(graph: &Graph, name: &str) -> Option<f64> {
    single(held(graph, name)?)
}

/// The number that a constant of any shape holds everywhere.
pub fn uniform(graph: &Graph, name: &str) -> Option<f64> {
    Constant::read(held(graph, name)?)?.uniform()
}

/// The number that a tensor holds, if it is a single one.
pub fn single(tensor: &Tensor) -> Option<f64> {
    Constant::read(tensor)?.single()
}

/// The last number that a value of whole numbers holds, where that is known.
pub fn last_of(graph: &Graph, name: &str) -> Option<i64> {
    let read = |tensor: &Tensor| Constant::read(tensor)?.as_ints()?.last().copied();
    if let Some(held) = graph.initializers.iter().find(|tensor| tensor.name() == name) {
        return read(held);
    }
    let node = surgery::producer(graph, name)?;
    match node.op_type() {
        "Constant" => read(node.attribute("value")?.t.as_ref()?),
        "Concat" => last_of(graph, node.inputs.last()?),
        "Cast" | "Identity" => last_of(graph, node.inputs.first()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                Node::new("Shape", &["x"], "sizes"),
            ])
        };
        assert_eq!(input_factor(&chain("Mul"), "x"), 0.5 / 255.0);
        assert_eq!(input_map(&chain("Div"), "x"), (2.0 / 255.0, -1.0));
        let conv = model(vec![Node::new("Conv", &["x", "w"], "y")]);
        assert_eq!(input_factor(&conv, "x"), 1.0);
        assert_eq!(input_term(&conv, "x"), 0.0);
        assert_eq!(count(&conv), 4);
        assert!(begins_affine(&chain("Mul"), "x") && !begins_affine(&conv, "x"));
        let turned = [
            Node::new("Transpose", &["x"], "a"),
            Node::new("Sub", &["a", "half"], "b"),
        ];
        assert!(begins_affine(&model(turned.to_vec()), "x"));
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
    fn kernels_are_set_aside_and_put_back() {
        let whole = product(WORTH, "y");
        let mut model = whole.clone();
        let aside = set_aside(&mut model);
        let graph = model.graph.as_ref().unwrap();
        assert_eq!(
            (aside.len(), graph.initializers.len(), graph.inputs[1].name()),
            (1, 0, "w")
        );
        put_back(&mut model, aside);
        assert_eq!(model, whole);
        for mut kept in [product(WORTH - 16, "y"), product(WORTH, "w")] {
            assert!(set_aside(&mut kept).is_empty());
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
