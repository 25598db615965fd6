//! Random step graphs of recurrent networks, and what they mean: a naive evaluation, pixel by pixel, in double
//! precision.

#![allow(clippy::field_reassign_with_default)]

use density_server::{
    domain::{
        image::ImageShape,
        random::{Random, Stream},
    },
    families::autoregressive::network::{Head, StepContract},
    graph::{
        protobuf::{ElementType, Graph, Model, Node, Tensor, ValueInfo},
        recurrence::{Names, Offset, Recurrence},
        rewrite::InputMap,
    },
};

use super::graphs::model;

/// What a random recurrent network looks like. Its weights follow from the seed.
#[derive(Debug, Clone)]
pub(crate) struct StepSketch {
    pub(crate) seed: u64,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Two levels make a Bernoulli head.
    pub(crate) levels: usize,
    pub(crate) state_size: usize,
    pub(crate) neighbours: Vec<Offset>,
    pub(crate) window: Vec<Offset>,
    /// Whether every pixel sees the mean of all that share its run.
    pub(crate) mixes: bool,
}

/// state = tanh(known · weights + bias), logits = state · weights + bias; `known` are states, levels, inside, row,
/// column.
struct Weights {
    state: Vec<f32>,
    state_bias: Vec<f32>,
    logits: Vec<f32>,
    logits_bias: Vec<f32>,
}

const MAP: InputMap = InputMap::same(0.5, -0.25);

impl StepSketch {
    pub(crate) fn shape(&self) -> ImageShape {
        ImageShape::new(1, self.height, self.width, self.levels).unwrap()
    }

    pub(crate) fn head(&self) -> Head {
        if self.levels == 2 {
            Head::Bernoulli
        } else {
            Head::Categorical
        }
    }

    fn outcomes(&self) -> usize {
        if self.levels == 2 { 1 } else { self.levels }
    }

    fn inputs(&self) -> usize {
        self.neighbours.len() * self.state_size + 2 * self.window.len() + 2
    }

    pub(crate) fn contract(&self) -> StepContract {
        let (neighbours, window) = (self.neighbours.clone(), self.window.clone());
        StepContract {
            shape: self.shape(),
            head: self.head(),
            map: MAP,
            names: Names {
                states: "states".to_owned(),
                levels: "levels".to_owned(),
                inside: "inside".to_owned(),
                row: "row".to_owned(),
                column: "column".to_owned(),
                state: "state".to_owned(),
                logits: "logits".to_owned(),
            },
            recurrence: Recurrence::new(self.shape(), self.state_size, neighbours, window).unwrap(),
        }
    }

    fn weights(&self) -> Weights {
        let random = Random::new(self.seed, Stream::Probe, 0);
        let mut drawn = 0;
        let mut values = |count: usize, scale: f64| -> Vec<f32> {
            (0..count)
                .map(|_| {
                    drawn += 1;
                    ((random.uniform(drawn) * 2.0 - 1.0) * scale) as f32
                })
                .collect()
        };
        let (inputs, size, outcomes) = (self.inputs(), self.state_size, self.outcomes());
        Weights {
            state: values(inputs * size, 2.0 / (inputs as f64).sqrt()),
            state_bias: values(size, 0.5),
            logits: values(size * outcomes, 3.0),
            logits_bias: values(outcomes, 0.5),
        }
    }

    pub(crate) fn model(&self) -> Model {
        let Weights {
            state,
            state_bias,
            logits,
            logits_bias,
        } = self.weights();
        let (inputs, size, outcomes) = (self.inputs(), self.state_size, self.outcomes());
        let flat = (self.neighbours.len() * size) as i64;
        let mut graph = Graph::default();
        graph.name = Some("step".to_owned());
        graph.initializers = vec![
            floats("state_weights", &[inputs, size], state),
            floats("state_bias", &[size], state_bias),
            floats("logits_weights", &[size, outcomes], logits),
            floats("logits_bias", &[outcomes], logits_bias),
            Tensor::of_ints("flat", &[-1, flat]),
            Tensor::of_ints("last", &[1]),
            Tensor::of_ints("first", &[0]),
        ];
        let real =
            |name: &str, output: &str| Node::new("Cast", &[name], output).with_int("to", ElementType::Float as i64);
        let known = ["flat_states", "levels", "inside", "row_known", "column_known"];
        graph.nodes = vec![
            Node::new("Reshape", &["states", "flat"], "flat_states"),
            real("row", "row_real"),
            Node::new("Unsqueeze", &["row_real", "last"], "row_known"),
            real("column", "column_real"),
            Node::new("Unsqueeze", &["column_real", "last"], "column_known"),
            Node::new("Concat", &known, "known").with_int("axis", 1),
            Node::new("MatMul", &["known", "state_weights"], "product"),
            Node::new("Add", &["product", "state_bias"], "sum"),
            Node::new("Tanh", &["sum"], "state"),
        ];
        let seen = if self.mixes { "mixed" } else { "state" };
        if self.mixes {
            graph.nodes.extend([
                Node::new("ReduceMean", &["state", "first"], "mean"),
                Node::new("Add", &["state", "mean"], "mixed"),
            ]);
        }
        graph
            .nodes
            .push(Node::new("Gemm", &[seen, "logits_weights", "logits_bias"], "logits"));
        let float = |name, sizes: &[usize]| ValueInfo::batched(name, ElementType::Float, sizes);
        let int = |name| ValueInfo::batched(name, ElementType::Int64, &[]);
        graph.inputs = vec![
            float("states", &[self.neighbours.len(), size]),
            float("levels", &[self.window.len()]),
            float("inside", &[self.window.len()]),
            int("row"),
            int("column"),
        ];
        graph.outputs = vec![float("state", &[size]), float("logits", &[outcomes])];
        model(graph)
    }

    /// The logits of every pixel of an image, in raster order: what the network means.
    pub(crate) fn naive(&self, levels: &[u8]) -> Vec<Vec<f64>> {
        let weights = self.weights();
        let (height, width) = (self.height as i64, self.width as i64);
        let place = |row: i64, column: i64| {
            let inside = (0..height).contains(&row) && (0..width).contains(&column);
            inside.then(|| (row * width + column) as usize)
        };
        let mut states: Vec<Vec<f64>> = Vec::new();
        let mut all = Vec::new();
        for row in 0..height {
            for column in 0..width {
                let at = |offset: &Offset| place(row + offset.dy, column + offset.dx);
                let mut known = Vec::new();
                for neighbour in &self.neighbours {
                    let nothing = || vec![0.0; self.state_size];
                    // A neighbour whose state is not known yet would be out of bounds here.
                    known.extend(at(neighbour).map_or_else(nothing, |pixel| states[pixel].clone()));
                }
                let value = |pixel| f64::from(MAP.value(levels[pixel], 0));
                known.extend(self.window.iter().map(|offset| at(offset).map_or(0.0, value)));
                known.extend(self.window.iter().map(|o| f64::from(u8::from(at(o).is_some()))));
                known.extend([row as f64, column as f64]);
                let state: Vec<f64> = product(&known, &weights.state, &weights.state_bias)
                    .map(f64::tanh)
                    .collect();
                all.push(product(&state, &weights.logits, &weights.logits_bias).collect());
                states.push(state);
            }
        }
        all
    }

    /// log p of every pixel.
    pub(crate) fn naive_log_probabilities(&self, levels: &[u8]) -> Vec<f64> {
        self.naive(levels)
            .into_iter()
            .zip(levels)
            .map(|(logits, &level)| {
                let logits = if self.levels == 2 { vec![0.0, logits[0]] } else { logits };
                let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
                logits[usize::from(level)] - total.ln()
            })
            .collect()
    }
}

fn product(x: &[f64], weights: &[f32], bias: &[f32]) -> impl Iterator<Item = f64> {
    (0..bias.len()).map(move |out| {
        let terms = x.iter().enumerate();
        let sum: f64 = terms
            .map(|(at, value)| value * f64::from(weights[at * bias.len() + out]))
            .sum();
        sum + f64::from(bias[out])
    })
}

fn floats(name: &str, dims: &[usize], values: Vec<f32>) -> Tensor {
    let mut tensor = Tensor::default();
    tensor.dims = dims.iter().map(|&size| size as i64).collect();
    tensor.data_type = Some(ElementType::Float as i32);
    tensor.float_data = values;
    tensor.name = Some(name.to_owned());
    tensor
}
