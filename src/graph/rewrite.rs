//! Rewriting an exported graph into the one that the server runs.
//!
//! Two things change. The image comes in as bytes (its levels), a quarter of the traffic of floats and with no rounding
//! of ours; and an autoregressive graph answers, for every dimension, two numbers that give the log-probability of its
//! level, instead of the logits of all levels: 2/levels of the traffic.

use super::{
    GraphError,
    protobuf::{DimValue, ElementType, Graph, Model, Node, Tensor, ValueInfo},
};
use crate::domain::image::ImageShape;

/// Name of the byte input of every rewritten graph: uint8 [batch, C, H, W].
pub const LEVELS: &str = "density_server/levels";
/// Output of a scoring graph with a categorical head: the logit of the given level less the largest one, float
/// [batch, (1,) C, H, W].
pub const CHOSEN: &str = "density_server/chosen";
/// Output of a scoring graph with a categorical head: Σ exp(logit − largest logit) over levels, of the same shape.
pub const TOTAL: &str = "density_server/total";
/// Output of a scoring graph with a Bernoulli head: (1 − 2 level) · logit, float [batch, C, H, W].
pub const MARGIN: &str = "density_server/margin";

/// The affine map from a level to the value that the graph wants, level · scale + offset, of each channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputMap {
    /// Scale and offset, channel after channel; those beyond the image's channels are not looked at.
    channels: [(f64, f64); ImageShape::MAX_CHANNELS],
}

impl InputMap {
    /// The same for every channel.
    pub const fn same(scale: f64, offset: f64) -> Self {
        Self {
            channels: [(scale, offset); ImageShape::MAX_CHANNELS],
        }
    }

    /// Scale and offset of each channel, as many as images have.
    pub fn of_channels(channels: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut map = Self::same(1.0, 0.0);
        let mut last = (1.0, 0.0);
        let mut own = channels.into_iter();
        for place in &mut map.channels {
            last = own.next().unwrap_or(last);
            *place = last;
        }
        map
    }

    /// What the graph wants for a level of a channel, in the 32-bit steps in which the graph computes it.
    pub fn value(&self, level: u8, channel: usize) -> f32 {
        let (scale, offset) = self.channels[channel];
        f32::from(level) * scale as f32 + offset as f32
    }

    /// The factor of largest magnitude.
    pub fn largest_scale(&self) -> f64 {
        let scales = self.channels.iter().map(|(scale, _)| *scale);
        scales.max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or_default()
    }

    /// A constant of one number for each channel, [1, C, 1, 1], or a scalar if it is the same for all.
    fn constant(&self, name: &str, channels: usize, part: fn(&(f64, f64)) -> f64) -> Tensor {
        let values: Vec<f32> = self.channels[..channels].iter().map(|both| part(both) as f32).collect();
        match values.as_slice() {
            [first, rest @ ..] if rest.iter().any(|other| other != first) => Tensor::of_channels(name, &values),
            [first, ..] => Tensor::of_scalar(name, *first),
            [] => Tensor::of_scalar(name, 0.0),
        }
    }
}

/// How logits describe a distribution over levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logits {
    /// [batch, levels, H, W], one channel.
    CategoricalFlat,
    /// [batch, levels, C, H, W].
    Categorical,
    /// [batch, C, H, W], the log-odds of level 1 over level 0.
    Bernoulli,
}

/// How what is exponentiated is summed over levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sums {
    /// By a convolution.
    Convolved,
    /// By a reduction: where convolutions round their factors, which a sum must not if it is to normalise.
    Reduced,
}

/// The graph with its image input replaced by [`LEVELS`]; outputs stay as they are.
pub fn take_levels(mut model: Model, input: &str, shape: ImageShape, map: InputMap) -> Result<Model, GraphError> {
    let graph = graph_mut(&mut model)?;
    let place = graph
        .inputs
        .iter()
        .position(|value| value.name() == input)
        .ok_or_else(|| GraphError::Signature(format!("the graph has no input {input:?}")))?;
    graph.inputs[place] = ValueInfo::batched(
        LEVELS,
        ElementType::Uint8,
        &[shape.channels(), shape.height(), shape.width()],
    );
    graph.initializers.extend([
        map.constant("density_server/scale", shape.channels(), |(scale, _)| *scale),
        map.constant("density_server/offset", shape.channels(), |(_, offset)| *offset),
    ]);
    let prologue = [
        Node::new("Cast", &[LEVELS], "density_server/level_values").with_int("to", ElementType::Float as i64),
        Node::new(
            "Mul",
            &["density_server/level_values", "density_server/scale"],
            "density_server/scaled",
        ),
        Node::new("Add", &["density_server/scaled", "density_server/offset"], input),
    ];
    graph.nodes.splice(0..0, prologue);
    Ok(model)
}

/// The graph for a batch of one image: every shape in it becomes a number, so that a runtime can fold all arithmetic on
/// shapes.
pub fn for_one(model: &Model) -> Result<Model, GraphError> {
    let mut model = model.clone();
    let graph = graph_mut(&mut model)?;
    graph.value_infos.clear();
    for value in graph.inputs.iter_mut().chain(&mut graph.outputs) {
        let shape = value
            .type_info
            .as_mut()
            .and_then(|info| info.tensor.as_mut())
            .and_then(|tensor| tensor.shape.as_mut());
        if let Some(batch) = shape.and_then(|shape| shape.dims.first_mut()) {
            batch.value = Some(DimValue::Fixed(1));
        }
    }
    Ok(model)
}

/// The graph that scores: [`LEVELS`] in; [`CHOSEN`] and [`TOTAL`] out for a categorical head, so that log p = chosen −
/// ln total; [`MARGIN`] out for a Bernoulli head, so that log p = −softplus(margin). The logits stay its last output,
/// so that both can be had of one pass and compared.
///
/// The sum over levels is a 1×1 convolution with ones, unless `sums` says otherwise, and logarithms are left to the
/// caller. ONNX Runtime's
/// `ReduceLogSumExp` and `LogSoftmax` over a strided axis take three to four times as long, and its `ReduceSum`, `Log`
/// and `Softplus` round differently depending on how many images share the batch, which its convolution and `Exp` do
/// not: a score must not depend on company.
pub fn score(
    model: Model,
    input: &str,
    output: &str,
    shape: ImageShape,
    map: InputMap,
    logits: Logits,
    sums: Sums,
) -> Result<Model, GraphError> {
    let mut model = take_levels(model, input, shape, map)?;
    let opset = model.opset();
    if opset < 13 {
        return Err(GraphError::Signature(format!(
            "the graph uses version {opset} of the ONNX operators; export it with version 13 or later"
        )));
    }
    let graph = graph_mut(&mut model)?;
    let image = [shape.channels(), shape.height(), shape.width()];
    let with_level_axis = [1, image[0], image[1], image[2]];
    let (outputs, sizes): (&[&str], &[usize]) = match logits {
        Logits::CategoricalFlat => {
            append_categorical(graph, output, opset, shape.levels(), false, sums);
            (&[CHOSEN, TOTAL], &image)
        }
        Logits::Categorical => {
            append_categorical(graph, output, opset, shape.levels(), true, sums);
            (&[CHOSEN, TOTAL], &with_level_axis)
        }
        Logits::Bernoulli => {
            append_bernoulli(graph, output);
            (&[MARGIN], &image)
        }
    };
    let scores = outputs
        .iter()
        .map(|name| ValueInfo::batched(name, ElementType::Float, sizes));
    graph.outputs.retain(|value| value.name() == output);
    graph.outputs.splice(0..0, scores);
    Ok(model)
}

fn append_categorical(graph: &mut Graph, logits: &str, opset: i64, levels: usize, has_channel_axis: bool, sums: Sums) {
    const AXIS: &str = "density_server/level_axis";
    const ONES: &str = "density_server/ones";
    let spatial_axes = if has_channel_axis { 3 } else { 2 };
    graph.initializers.push(Tensor::of_ints(AXIS, &[1]));
    let total = match sums {
        Sums::Convolved => {
            graph.initializers.push(Tensor::of_ones(ONES, levels, spatial_axes));
            Node::new("Conv", &["density_server/weights", ONES], TOTAL)
        }
        Sums::Reduced => Node::new("ReduceSum", &["density_server/weights", AXIS], TOTAL).with_int("keepdims", 1),
    };
    // Axes became an input of `ReduceMax` with version 18 of the operators.
    let maximum = if opset < 18 {
        Node::new("ReduceMax", &[logits], "density_server/max").with_ints("axes", &[1])
    } else {
        Node::new("ReduceMax", &[logits, AXIS], "density_server/max")
    };
    graph.nodes.extend([
        Node::new("Cast", &[LEVELS], "density_server/level_indices").with_int("to", ElementType::Int64 as i64),
        maximum.with_int("keepdims", 1),
        Node::new("Sub", &[logits, "density_server/max"], "density_server/shifted"),
        Node::new("Exp", &["density_server/shifted"], "density_server/weights"),
        total,
    ]);
    let indices = if has_channel_axis {
        graph.nodes.push(Node::new(
            "Unsqueeze",
            &["density_server/level_indices", AXIS],
            "density_server/indices",
        ));
        "density_server/indices"
    } else {
        "density_server/level_indices"
    };
    graph
        .nodes
        .push(Node::new("GatherElements", &["density_server/shifted", indices], CHOSEN).with_int("axis", 1));
}

fn append_bernoulli(graph: &mut Graph, logits: &str) {
    graph.initializers.extend([
        Tensor::of_scalar("density_server/two", 2.0),
        Tensor::of_scalar("density_server/one", 1.0),
    ]);
    graph.nodes.extend([
        Node::new(
            "Mul",
            &["density_server/level_values", "density_server/two"],
            "density_server/doubled",
        ),
        Node::new(
            "Sub",
            &["density_server/one", "density_server/doubled"],
            "density_server/sign",
        ),
        Node::new("Mul", &["density_server/sign", logits], MARGIN),
    ]);
}

fn graph_mut(model: &mut Model) -> Result<&mut Graph, GraphError> {
    model
        .graph
        .as_mut()
        .ok_or_else(|| GraphError::Malformed("it has no graph".to_owned()))
}
