//! Random autoregressive networks, written as ONNX graphs: causal ones, and ones with a single weight where none may
//! be.

#![allow(clippy::field_reassign_with_default)]

use density_server::{
    domain::{
        image::ImageShape,
        logistic_mixture::parameters_of_component,
        random::{Random, Stream},
    },
    families::{
        autoregressive::network::{Contract, Head},
        manifest::LabelInput,
    },
    graph::{
        protobuf::{ElementType, Graph, Model, Node, Tensor, ValueInfo},
        rewrite::InputMap,
    },
};

use super::graphs::model;

/// What a random network looks like. Its weights follow from the seed.
#[derive(Debug, Clone)]
pub(crate) struct Sketch {
    pub(crate) seed: u64,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) levels: usize,
    /// Features of each hidden tensor for each channel.
    pub(crate) hidden: usize,
    /// Side of the first kernel: odd.
    pub(crate) first: usize,
    pub(crate) blocks: Vec<Block>,
    /// Labels that the network is conditioned on; none if 0.
    pub(crate) classes: usize,
    /// Whether a constant for every pixel is added, one of each label if there are labels.
    pub(crate) places: bool,
    /// How the image comes to the first layer.
    pub(crate) entry: Entry,
    /// A vertical stack beside the horizontal one, shifted down by slicing and padding.
    pub(crate) two_stacks: bool,
    /// Whether it gives the parameters of mixtures of logistics, and so sees whole pixels only, instead of logits.
    pub(crate) mixture: bool,
    /// Where a weight is put that must not be there: in the first layer (0) or in a block.
    pub(crate) leak: Option<usize>,
}

/// What happens to the image before the first layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Nothing.
    Plain,
    /// It is flattened and given its shape again.
    Viewed,
    /// Coordinates are laid beside it, of which every kernel sees all.
    Coordinates,
    /// Each level becomes a row of a table.
    Embedded,
}

/// A hidden layer.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// Side of the kernel: odd.
    pub(crate) kernel: usize,
    pub(crate) dilation: usize,
    pub(crate) activation: Activation,
    pub(crate) residual: bool,
}

/// What follows a convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Activation {
    Relu,
    Tanh,
    Elu,
    Softplus,
    /// a · σ(b).
    Gate,
}

impl Sketch {
    pub(crate) fn shape(&self) -> ImageShape {
        ImageShape::new(self.channels, self.height, self.width, self.levels).unwrap()
    }

    pub(crate) fn contract(&self) -> Contract {
        Contract {
            shape: self.shape(),
            head: if self.mixture {
                Head::LogisticMixture
            } else {
                Head::Categorical
            },
            map: InputMap::same(2.0 / (self.levels - 1) as f64, -1.0),
            input: "image".to_owned(),
            output: "logits".to_owned(),
            label: (self.classes > 0).then(|| LabelInput {
                input: "label".to_owned(),
                classes: self.classes as u32,
            }),
        }
    }

    /// Sizes of what the graph gives for an image.
    fn output(&self) -> Vec<usize> {
        let (channels, height, width) = (self.channels, self.height, self.width);
        if self.mixture {
            let each = parameters_of_component(channels).unwrap();
            vec![COMPONENTS * each, height, width]
        } else {
            vec![self.levels, channels, height, width]
        }
    }

    pub(crate) fn model(&self) -> Model {
        let mut writer = Writer {
            sketch: self,
            graph: Graph::default(),
            random: Random::new(self.seed, Stream::Probe, 0),
            drawn: 0,
        };
        let features = self.hidden * self.channels;
        let first = Kernel {
            size: self.first,
            dilation: 1,
            sees_itself: false,
            leaks: self.leak == Some(0),
        };
        let (entry, inputs) = writer.entry();
        let mut x = writer.convolution(&entry, inputs, features, &first);
        if self.places && self.classes > 0 {
            let places = writer.label_at_places(features);
            x = writer.node("Add", &[&x, &places]);
        } else if self.places {
            let size = [1, features, self.height, self.width];
            let places = writer.random(&size, 1.0);
            x = writer.node("Add", &[&x, &places]);
        }
        if self.two_stacks {
            let above = writer.rows_above(features);
            x = writer.node("Add", &[&x, &above]);
        }
        for (number, block) in self.blocks.iter().enumerate() {
            x = writer.block(&x, features, block, self.leak == Some(number + 1));
        }
        let head = Kernel {
            size: 1,
            dilation: 1,
            sees_itself: true,
            leaks: false,
        };
        let sizes = self.output();
        let outputs = sizes.iter().rev().skip(2).product();
        let logits = writer.convolution(&x, features, outputs, &head);
        let shape: Vec<i64> = std::iter::once(-1)
            .chain(sizes.iter().map(|&size| size as i64))
            .collect();
        let shape = writer.ints(&shape);
        let node = Node::new("Reshape", &[&logits, &shape], "logits");
        writer.graph.nodes.push(node);
        writer.finish()
    }
}

/// Components of mixtures.
const COMPONENTS: usize = 2;

/// A square kernel over features that belong to channels in turn: feature i to channel i mod C. In front of mixtures
/// all belong to one.
struct Kernel {
    size: usize,
    dilation: usize,
    sees_itself: bool,
    /// Whether one weight is put where none may be.
    leaks: bool,
}

/// Channels of coordinates.
const COORDINATES: usize = 2;

struct Writer<'a> {
    sketch: &'a Sketch,
    graph: Graph,
    random: Random,
    drawn: u32,
}

impl Writer<'_> {
    fn uniform(&mut self) -> f64 {
        self.drawn += 1;
        self.random.uniform(self.drawn)
    }

    fn name(&self, what: &str) -> String {
        let count = self.graph.nodes.len() + self.graph.initializers.len();
        format!("{what}_{count}")
    }

    fn node(&mut self, operator: &str, inputs: &[&str]) -> String {
        let output = self.name("tensor");
        self.graph.nodes.push(Node::new(operator, inputs, &output));
        output
    }

    fn floats(&mut self, dims: &[usize], values: Vec<f32>) -> String {
        let name = self.name("weights");
        let mut tensor = Tensor::default();
        tensor.dims = dims.iter().map(|&size| size as i64).collect();
        tensor.data_type = Some(ElementType::Float as i32);
        tensor.float_data = values;
        tensor.name = Some(name.clone());
        self.graph.initializers.push(tensor);
        name
    }

    fn random(&mut self, dims: &[usize], scale: f64) -> String {
        let values = (0..dims.iter().product())
            .map(|_| ((self.uniform() * 2.0 - 1.0) * scale) as f32)
            .collect();
        self.floats(dims, values)
    }

    fn ints(&mut self, values: &[i64]) -> String {
        let name = self.name("ints");
        self.graph.initializers.push(Tensor::of_ints(&name, values));
        name
    }

    /// What the first layer reads, and how many features it has; feature i belongs to channel i mod C, but for
    /// coordinates at the end.
    fn entry(&mut self) -> (String, usize) {
        let (c, h, w) = (self.sketch.channels, self.sketch.height, self.sketch.width);
        match self.sketch.entry {
            Entry::Plain => ("image".to_owned(), c),
            Entry::Viewed => {
                let flat = self.ints(&[-1, (c * h * w) as i64]);
                let flat = self.node("Reshape", &["image", &flat]);
                let shape = self.ints(&[-1, c as i64, h as i64, w as i64]);
                (self.node("Reshape", &[&flat, &shape]), c)
            }
            Entry::Coordinates => {
                // One for every image of the batch: the shape is that of the image.
                let coordinates = self.random(&[1, COORDINATES, h, w], 1.0);
                let shape = self.node("Shape", &["image"]);
                let (batch, start, end) = (self.name("batch"), self.ints(&[0]), self.ints(&[1]));
                let slice = Node::new("Slice", &[&shape, &start, &end], &batch);
                self.graph.nodes.push(slice);
                let sizes = self.ints(&[COORDINATES as i64, h as i64, w as i64]);
                let (target, all) = (self.name("target"), self.name("beside"));
                let target_node = Node::new("Concat", &[&batch, &sizes], &target).with_int("axis", 0);
                self.graph.nodes.push(target_node);
                let coordinates = self.node("Expand", &[&coordinates, &target]);
                let beside = Node::new("Concat", &["image", &coordinates], &all).with_int("axis", 1);
                self.graph.nodes.push(beside);
                (all, c + COORDINATES)
            }
            Entry::Embedded => {
                // (value + 1) · (levels − 1) / 2 is the level again; half a level more, against rounding.
                let levels = self.sketch.levels;
                let one = self.floats(&[], vec![1.0]);
                let half = self.floats(&[], vec![0.5]);
                let scale = self.floats(&[], vec![(levels - 1) as f32 / 2.0]);
                let shifted = self.node("Add", &["image", &one]);
                let scaled = self.node("Mul", &[&shifted, &scale]);
                let raised = self.node("Add", &[&scaled, &half]);
                let index = self.name("index");
                let cast = Node::new("Cast", &[&raised], &index).with_int("to", ElementType::Int64 as i64);
                self.graph.nodes.push(cast);
                let table = self.random(&[levels, self.sketch.hidden], 1.0);
                let rows = self.node("Gather", &[&table, &index]);
                let moved = self.name("moved");
                let order = Node::new("Transpose", &[&rows], &moved).with_ints("perm", &[0, 4, 1, 2, 3]);
                self.graph.nodes.push(order);
                let features = self.sketch.hidden * c;
                let shape = self.ints(&[0, features as i64, h as i64, w as i64]);
                (self.node("Reshape", &[&moved, &shape]), features)
            }
        }
    }

    fn convolution(&mut self, x: &str, inputs: usize, outputs: usize, kernel: &Kernel) -> String {
        let (size, channels) = (kernel.size, self.sketch.channels);
        let groups = if self.sketch.mixture { 1 } else { channels };
        let has_coordinates = self.sketch.entry == Entry::Coordinates && inputs == channels + COORDINATES;
        let centre = size / 2;
        let scale = 2.0 / (inputs as f64 * (size * size) as f64 / 2.0).sqrt();
        let mut allowed = Vec::new();
        for out in 0..outputs {
            for input in 0..inputs {
                for at in 0..size * size {
                    let (target, source) = (out % groups, input % groups);
                    let is_known = has_coordinates && input >= channels;
                    allowed.push(
                        is_known
                            || match at.cmp(&(centre * size + centre)) {
                                std::cmp::Ordering::Less => true,
                                std::cmp::Ordering::Equal => {
                                    source < target || (kernel.sees_itself && source == target)
                                }
                                std::cmp::Ordering::Greater => false,
                            },
                    );
                }
            }
        }
        let mut weights: Vec<f32> = allowed
            .iter()
            .map(|&allowed| {
                let weight = (self.uniform() * 2.0 - 1.0) * scale;
                if allowed { weight as f32 } else { 0.0 }
            })
            .collect();
        if kernel.leaks {
            let forbidden: Vec<usize> = (0..allowed.len()).filter(|&at| !allowed[at]).collect();
            let chosen = (self.uniform() * forbidden.len() as f64) as usize;
            weights[forbidden[chosen]] = 1e-3;
        }
        let weights = self.floats(&[outputs, inputs, size, size], weights);
        let bias = self.random(&[outputs], 0.5);
        let output = self.name("tensor");
        let (padding, dilation) = ((centre * kernel.dilation) as i64, kernel.dilation as i64);
        let node = Node::new("Conv", &[x, &weights, &bias], &output)
            .with_ints("pads", &[padding; 4])
            .with_ints("dilations", &[dilation; 2])
            .with_ints("kernel_shape", &[size as i64; 2]);
        self.graph.nodes.push(node);
        output
    }

    fn block(&mut self, x: &str, features: usize, block: &Block, leaks: bool) -> String {
        let kernel = Kernel {
            size: block.kernel,
            dilation: block.dilation,
            sees_itself: true,
            leaks,
        };
        let is_gate = matches!(block.activation, Activation::Gate);
        let outputs = if is_gate { 2 * features } else { features };
        let mut y = self.convolution(x, features, outputs, &kernel);
        if self.sketch.classes > 0 {
            let label = self.label(outputs);
            y = self.node("Add", &[&y, &label]);
        }
        let y = match block.activation {
            Activation::Relu => self.node("Relu", &[&y]),
            Activation::Tanh => self.node("Tanh", &[&y]),
            Activation::Elu => self.node("Elu", &[&y]),
            Activation::Softplus => self.node("Softplus", &[&y]),
            Activation::Gate => {
                let sizes = self.ints(&[features as i64; 2]);
                let (a, b) = (self.name("half_a"), self.name("half_b"));
                let mut split = Node::new("Split", &[&y, &sizes], &a).with_int("axis", 1);
                split.outputs.push(b.clone());
                self.graph.nodes.push(split);
                let gate = self.node("Sigmoid", &[&b]);
                self.node("Mul", &[&a, &gate])
            }
        };
        if block.residual { self.node("Add", &[x, &y]) } else { y }
    }

    /// An embedding of the label, [batch, features, 1, 1].
    fn label(&mut self, features: usize) -> String {
        let table = self.random(&[self.sketch.classes, features], 1.0);
        let row = self.node("Gather", &[&table, "label"]);
        let axes = self.ints(&[2, 3]);
        self.node("Unsqueeze", &[&row, &axes])
    }

    /// A constant of the label for every row, one for every column and one for every pixel, [batch, features, rows,
    /// columns].
    fn label_at_places(&mut self, features: usize) -> String {
        let (classes, height, width) = (self.sketch.classes, self.sketch.height, self.sketch.width);
        let row = self.random(&[classes, features, height, 1], 1.0);
        let column = self.random(&[classes, features, 1, width], 1.0);
        let pixel = self.random(&[classes, features, height, width], 1.0);
        let last = self.ints(&[-1]);
        let index = self.node("Unsqueeze", &["label", &last]);
        let row = self.node("GatherND", &[&row, &index]);
        let column = self.node("GatherND", &[&column, &index]);
        let pixel = self.node("Gather", &[&pixel, "label"]);
        let both = self.node("Add", &[&row, &column]);
        self.node("Add", &[&pixel, &both])
    }

    /// Features of the rows above, all columns: two convolutions that look to both sides, then one row down.
    fn rows_above(&mut self, features: usize) -> String {
        let mut x = "image".to_owned();
        let mut inputs = self.sketch.channels;
        for _ in 0..2 {
            let weights = self.random(&[features, inputs, 2, 3], 0.5);
            let bias = self.random(&[features], 0.5);
            let output = self.name("tensor");
            let node = Node::new("Conv", &[&x, &weights, &bias], &output)
                .with_ints("pads", &[1, 1, 0, 1])
                .with_ints("kernel_shape", &[2, 3]);
            self.graph.nodes.push(node);
            x = self.node("Tanh", &[&output]);
            inputs = features;
        }
        let (start, end, axis) = (self.ints(&[0]), self.ints(&[-1]), self.ints(&[2]));
        let cut = self.node("Slice", &[&x, &start, &end, &axis]);
        let pads = self.ints(&[0, 0, 1, 0, 0, 0, 0, 0]);
        self.node("Pad", &[&cut, &pads])
    }

    fn finish(self) -> Model {
        let Self { sketch, graph, .. } = self;
        let (c, h, w) = (sketch.channels, sketch.height, sketch.width);
        let mut graph = graph;
        graph.name = Some("random".to_owned());
        graph.inputs = vec![ValueInfo::batched("image", ElementType::Float, &[c, h, w])];
        if sketch.classes > 0 {
            graph.inputs.push(ValueInfo::batched("label", ElementType::Int64, &[]));
        }
        graph.outputs = vec![ValueInfo::batched("logits", ElementType::Float, &sketch.output())];
        model(graph)
    }
}
