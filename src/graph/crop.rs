//! Cropping the kernels of convolutions to the taps that are not zero.
//!
//! A masked convolution is exported as a full kernel of which half is zeros, and a runtime multiplies with every one of
//! them: 9 taps where 6 are enough, 49 where 28 are. Outer rows and columns of taps that are zero for all inputs and
//! outputs are cut away here, and the padding shrinks by as much, so that every tap that is left reads what it read
//! before. Only products with an exact zero go away; what is left is summed in another order, so the last bits of a
//! result may change, but not what they depend on.
//!
//! Architecture invariant: only weights are looked at. Whether a graph is masked, or causal, is nothing that this knows
//! of.

use std::{borrow::Cow, collections::HashMap, fmt};

use super::protobuf::{ElementType, Graph, Model, Node, Tensor};

/// What cropping did to a graph.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cropped {
    /// Convolutions of the graph.
    pub convolutions: usize,
    /// Convolutions that lost taps.
    pub cropped: usize,
    /// Weights of all convolutions before.
    pub weights_before: usize,
    /// Weights of all convolutions now.
    pub weights_after: usize,
}

impl fmt::Display for Cropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} convolutions do not compute their outer taps of zeros: {} of {} weights are left",
            self.cropped, self.convolutions, self.weights_after, self.weights_before
        )
    }
}

/// Whether the kernel of some convolution is computed in the graph, for example by multiplying weights with a mask, so
/// that its zeros cannot be seen before constants are folded.
pub fn computes_kernels(model: &Model) -> bool {
    model.graph.as_ref().is_some_and(|graph| {
        let constants = constants(graph);
        graph
            .nodes
            .iter()
            .filter_map(kernel_name)
            .any(|name| !constants.contains_key(name))
    })
}

/// Crops the kernels of all convolutions whose padding allows it.
pub fn crop(model: &mut Model) -> Cropped {
    let mut counts = Cropped::default();
    let Some(graph) = &mut model.graph else {
        return counts;
    };
    let mut made: HashMap<(String, Cut), Tensor> = HashMap::new();
    let mut changes = Vec::new();
    let constants = constants(graph);
    for (at, node) in graph.nodes.iter().enumerate() {
        let Some(kernel) = kernel_name(node).and_then(|name| constants.get(name)) else {
            continue;
        };
        let size = |tensor: &Tensor| tensor.dims.iter().product::<i64>().max(0) as usize;
        counts.convolutions += 1;
        counts.weights_before += size(kernel);
        let Some(change) = Change::of(node, kernel) else {
            counts.weights_after += size(kernel);
            continue;
        };
        let number = made.len();
        let tensor = made
            .entry((node.inputs[1].clone(), change.cut.clone()))
            .or_insert_with(|| cut(kernel, &change.cut, format!("density_server/cropped_{number}")));
        counts.cropped += 1;
        counts.weights_after += size(tensor);
        changes.push((at, tensor.name.clone().unwrap_or_default(), change));
    }
    for (at, kernel, change) in changes {
        change.apply(&mut graph.nodes[at], kernel);
    }
    graph.initializers.extend(made.into_values());
    if counts.cropped > 0 {
        drop_unread(graph);
    }
    counts
}

/// Where the taps that stay begin, and how many there are, along each spatial axis.
type Cut = Vec<(usize, usize)>;

/// How a convolution changes.
struct Change {
    cut: Cut,
    /// Padding before, along each axis, then after.
    pads: Vec<i64>,
}

impl Change {
    /// `None` if nothing can be cropped.
    fn of(node: &Node, kernel: &Tensor) -> Option<Self> {
        let taps: Vec<usize> = kernel
            .dims
            .get(2..)?
            .iter()
            .map(|&size| usize::try_from(size).ok().filter(|&size| size > 0))
            .collect::<Option<_>>()?;
        let axes = taps.len();
        let dilations = node.ints("dilations").map_or_else(|| vec![1; axes], <[i64]>::to_vec);
        let mut pads = pads(node, &taps, &dilations)?;
        if axes == 0
            || dilations.len() != axes
            || pads.len() != 2 * axes
            || dilations.iter().any(|&dilation| dilation < 1)
            || pads.iter().any(|&pad| pad < 0)
        {
            return None;
        }
        let mut cut = Vec::with_capacity(axes);
        for (axis, (first, last)) in used(kernel, &taps)?.into_iter().enumerate() {
            // Padding cannot be negative: a tap that is zero stays where cutting it would shift the picture.
            let step = dilations[axis];
            let before = first.min((pads[axis] / step) as usize);
            let after = (taps[axis] - 1 - last).min((pads[axes + axis] / step) as usize);
            pads[axis] -= before as i64 * step;
            pads[axes + axis] -= after as i64 * step;
            cut.push((before, taps[axis] - before - after));
        }
        let is_less = cut.iter().zip(&taps).any(|(&(_, left), &all)| left < all);
        is_less.then_some(Self { cut, pads })
    }

    fn apply(self, node: &mut Node, kernel: String) {
        const CHANGED: [&str; 3] = ["pads", "kernel_shape", "auto_pad"];
        node.attributes.retain(|attribute| {
            let name = attribute.name.as_deref().unwrap_or_default();
            !CHANGED.contains(&name)
        });
        let sizes: Vec<i64> = self.cut.iter().map(|&(_, left)| left as i64).collect();
        *node = std::mem::take(node)
            .with_ints("pads", &self.pads)
            .with_ints("kernel_shape", &sizes);
        node.inputs[1] = kernel;
    }
}

/// The name of the kernel, if the node is a convolution that the standard defines.
fn kernel_name(node: &Node) -> Option<&str> {
    let is_standard = matches!(node.domain.as_deref(), None | Some("" | "ai.onnx"));
    (is_standard && node.op_type() == "Conv")
        .then(|| node.inputs.get(1).map(String::as_str))
        .flatten()
}

/// Constants by name: initializers, and the values of nodes that hold one.
fn constants(graph: &Graph) -> HashMap<&str, &Tensor> {
    let nodes = graph.nodes.iter().filter_map(|node| {
        let value = (node.op_type() == "Constant").then(|| node.attribute("value"))??;
        Some((node.outputs.first()?.as_str(), value.t.as_ref()?))
    });
    graph
        .initializers
        .iter()
        .filter_map(|tensor| Some((tensor.name.as_deref()?, tensor)))
        .chain(nodes)
        .collect()
}

/// Padding before along each axis, then after; `None` where it depends on the size of the picture.
fn pads(node: &Node, taps: &[usize], dilations: &[i64]) -> Option<Vec<i64>> {
    let none = || vec![0; 2 * taps.len()];
    match node.text("auto_pad") {
        b"" | b"NOTSET" => Some(node.ints("pads").map_or_else(none, <[i64]>::to_vec)),
        b"VALID" => Some(none()),
        _ if node.ints("strides").is_some_and(|s| s.iter().any(|&s| s != 1)) => None,
        // Without strides, the size stays the same if as many places are added as the kernel reaches beyond its first
        // tap.
        auto => {
            let reach = taps
                .iter()
                .zip(dilations)
                .map(|(&taps, dilation)| (taps as i64 - 1) * dilation);
            let half = |extra: i64| reach.clone().map(move |reach| (reach + extra) / 2);
            let odd_before = i64::from(auto == b"SAME_LOWER");
            Some(half(odd_before).chain(half(1 - odd_before)).collect())
        }
    }
}

/// The first and the last tap along each axis that is not zero for some input and output; `None` if all are, or if they
/// cannot be read.
fn used(kernel: &Tensor, taps: &[usize]) -> Option<Vec<(usize, usize)>> {
    let (bytes, width) = bytes(kernel)?;
    let mut used: Vec<Option<(usize, usize)>> = vec![None; taps.len()];
    for (at, value) in bytes.chunks_exact(width).enumerate() {
        if is_zero(value) {
            continue;
        }
        let mut rest = at;
        for (&taps, used) in taps.iter().zip(&mut used).rev() {
            let tap = rest % taps;
            rest /= taps;
            let (first, last) = used.unwrap_or((tap, tap));
            *used = Some((first.min(tap), last.max(tap)));
        }
    }
    used.into_iter().collect()
}

/// The taps that stay, under a new name.
fn cut(kernel: &Tensor, cut: &Cut, name: String) -> Tensor {
    let (bytes, width) = bytes(kernel).unwrap_or((Cow::Borrowed(&[]), 1));
    let taps = &kernel.dims[2..];
    let mut kept = Vec::new();
    for (at, value) in bytes.chunks_exact(width).enumerate() {
        let mut rest = at;
        let mut stays = true;
        for (&taps, &(begin, left)) in taps.iter().zip(cut).rev() {
            stays &= (begin..begin + left).contains(&(rest % taps as usize));
            rest /= taps as usize;
        }
        if stays {
            kept.extend_from_slice(value);
        }
    }
    let sizes = cut.iter().map(|&(_, left)| left as i64);
    Tensor {
        dims: kernel.dims[..2].iter().copied().chain(sizes).collect(),
        data_type: kernel.data_type,
        name: Some(name),
        raw_data: Some(kept.into()),
        ..Tensor::default()
    }
}

/// The values as little-endian bytes, and the bytes of one; `None` if they are of another type than reals, are not in
/// this file, or are not as many as the shape says.
fn bytes(tensor: &Tensor) -> Option<(Cow<'_, [u8]>, usize)> {
    if !tensor.external_data.is_empty() {
        return None;
    }
    let kind = ElementType::of(tensor.data_type?)?;
    let width = kind.real_width()?;
    let bytes = match (&tensor.raw_data, kind) {
        (Some(raw), _) => Cow::Borrowed(&raw[..]),
        (None, ElementType::Float) => Cow::Owned(le(&tensor.float_data, |v| v.to_le_bytes())),
        (None, ElementType::Double) => Cow::Owned(le(&tensor.double_data, |v| v.to_le_bytes())),
        // Numbers of 16 bits are written one in each integer.
        (None, _) => Cow::Owned(le(&tensor.int32_data, |v| (v as u16).to_le_bytes())),
    };
    let count: i64 = tensor.dims.iter().product();
    (bytes.len() as i64 == count * width as i64).then_some((bytes, width))
}

fn le<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| bytes(value)).collect()
}

/// Zero with either sign: the sign is the highest bit of the last byte.
fn is_zero(value: &[u8]) -> bool {
    value
        .split_last()
        .is_some_and(|(last, rest)| last & 0x7f == 0 && rest.iter().all(|&byte| byte == 0))
}

/// Drops initializers that nothing reads any more. Whatever reads from inside another node is not seen here, so they
/// stay if there is one.
fn drop_unread(graph: &mut Graph) {
    let has_subgraph = |node: &Node| node.attributes.iter().any(|a| a.holds_graph());
    if graph.nodes.iter().any(has_subgraph) {
        return;
    }
    let read: std::collections::HashSet<&str> = graph
        .nodes
        .iter()
        .flat_map(|node| node.inputs.iter().map(String::as_str))
        .chain(graph.outputs.iter().map(|value| value.name()))
        .chain(graph.inputs.iter().map(|value| value.name()))
        .collect();
    graph
        .initializers
        .retain(|tensor| read.contains(tensor.name.as_deref().unwrap_or_default()));
}
