//! Graphs without the zeros around their kernels against the graphs that were given.

#![allow(clippy::unwrap_used, clippy::field_reassign_with_default)]

mod common;

use common::{engine, graphs::model, root};
use density_server::{
    domain::{
        image::ImageShape,
        random::{Random, Stream},
    },
    families::autoregressive::network::{Contract, Given, Head, Network},
    graph::{
        self, crop,
        protobuf::{ElementType, Graph, Model, Node, Tensor, ValueInfo},
        rewrite::InputMap,
    },
    runtime::{Engine, Input, Output, Threads, Values},
};
use proptest::prelude::*;

/// A convolution of which a border of taps is zero.
#[derive(Debug, Clone)]
struct Convolution {
    seed: u64,
    kernel: [usize; 2],
    /// Taps of zeros: top, left, bottom, right.
    zeros: [usize; 4],
    strides: [i64; 2],
    dilations: [i64; 2],
    pads: [i64; 4],
    auto_pad: Option<&'static str>,
    groups: usize,
}

const SIDE: usize = 13;
const CHANNELS: usize = 4;

impl Convolution {
    fn weights(&self) -> Vec<f32> {
        let random = Random::new(self.seed, Stream::Probe, 0);
        let [rows, columns] = self.kernel;
        let [top, left, bottom, right] = self.zeros;
        let count = CHANNELS * CHANNELS / self.groups * rows * columns;
        (0..count)
            .map(|at| {
                let (row, column) = (at / columns % rows, at % columns);
                let inside = (top..rows - bottom).contains(&row) && (left..columns - right).contains(&column);
                // Zeros of both signs.
                match inside {
                    true => random.normal(at as u32) as f32,
                    false if at % 2 == 0 => 0.0,
                    false => -0.0,
                }
            })
            .collect()
    }

    fn model(&self) -> Model {
        let mut node = Node::new("Conv", &["image", "weights"], "result")
            .with_ints("strides", &self.strides)
            .with_ints("dilations", &self.dilations)
            .with_ints("kernel_shape", &self.kernel.map(|size| size as i64))
            .with_int("group", self.groups as i64);
        match self.auto_pad {
            None => node = node.with_ints("pads", &self.pads),
            Some(text) => {
                let mut attribute = node.attributes[0].clone();
                attribute.name = Some("auto_pad".to_owned());
                attribute.kind = Some(3);
                attribute.ints = Vec::new();
                attribute.s = Some(text.as_bytes().to_vec());
                node.attributes.push(attribute);
            }
        }
        let dims = [CHANNELS, CHANNELS / self.groups, self.kernel[0], self.kernel[1]];
        model_of(node, tensor("weights", &dims, self.weights()))
    }
}

fn tensor(name: &str, dims: &[usize], values: Vec<f32>) -> Tensor {
    let mut tensor = Tensor::default();
    tensor.dims = dims.iter().map(|&size| size as i64).collect();
    tensor.data_type = Some(ElementType::Float as i32);
    tensor.float_data = values;
    tensor.name = Some(name.to_owned());
    tensor
}

fn model_of(node: Node, weights: Tensor) -> Model {
    let mut result = ValueInfo::batched("result", ElementType::Float, &[0, 0, 0]);
    let result_type = result.type_info.as_mut().unwrap();
    result_type.tensor.as_mut().unwrap().shape = None;
    let mut graph = Graph::default();
    graph.name = Some("convolution".to_owned());
    graph.nodes = vec![node];
    graph.initializers = vec![weights];
    graph.inputs = vec![ValueInfo::batched("image", ElementType::Float, &[CHANNELS, SIDE, SIDE])];
    graph.outputs = vec![result];
    model(graph)
}

fn run(engine: &dyn Engine, model: &Model, rows: usize) -> Output {
    let random = Random::new(1, Stream::Probe, 0);
    let image: Vec<f32> = (0..(rows * CHANNELS * SIDE * SIDE) as u32)
        .map(|at| random.normal(at) as f32)
        .collect();
    let input = Input {
        name: "image",
        shape: &[rows, CHANNELS, SIDE, SIDE],
        values: Values::Floats(&image),
    };
    let outputs = engine.evaluate("convolution", graph::serialize(model), &[input], &["result"]);
    outputs.unwrap().swap_remove(0)
}

fn convolutions() -> impl Strategy<Value = Convolution> {
    let axis = (0usize..3, 1usize..4, 0usize..3);
    (
        (any::<u64>(), axis.clone(), axis),
        [1i64..3, 1i64..3],
        [1i64..3, 1i64..3],
        [0i64..5, 0i64..5, 0i64..5, 0i64..5],
        prop::sample::select(vec![None, None, Some("SAME_UPPER"), Some("SAME_LOWER"), Some("VALID")]),
        prop::sample::select(vec![1usize, 2, 4]),
    )
        .prop_map(
            |((seed, down, across), strides, dilations, pads, auto_pad, groups)| Convolution {
                seed,
                kernel: [down.0 + down.1 + down.2, across.0 + across.1 + across.2],
                zeros: [down.0, across.0, down.2, across.2],
                strides,
                dilations,
                pads,
                // The runtime takes automatic padding of the same size without dilations only.
                auto_pad: auto_pad.filter(|_| dilations == [1, 1]),
                groups,
            },
        )
}

/// Rows and columns of the kernels of all convolutions.
fn kernels(model: &Model) -> Vec<Vec<i64>> {
    let graph = model.graph.as_ref().unwrap();
    graph
        .nodes
        .iter()
        .filter(|node| node.op_type() == "Conv")
        .map(|node| {
            let kernel = graph.initializers.iter().find(|t| t.name() == node.inputs[1]);
            let dims = kernel.unwrap().dims[2..].to_vec();
            assert_eq!(node.ints("kernel_shape"), Some(&dims[..]));
            dims
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_cropped_convolution_gives_what_the_whole_one_gives(convolution in convolutions()) {
        let engine = engine();
        let given = convolution.model();
        let mut cropped = given.clone();
        let counts = crop::crop(&mut cropped);
        prop_assert_eq!(counts.convolutions, 1);
        let (before, after) = (run(&*engine, &given, 2), run(&*engine, &cropped, 2));
        prop_assert_eq!(&before.shape, &after.shape);
        for (before, after) in before.values.iter().zip(&after.values) {
            prop_assert!((before - after).abs() <= 1e-4, "{} and {}", before, after);
        }
        if counts.cropped == 1 {
            let size = kernels(&cropped)[0].iter().product::<i64>() as usize;
            prop_assert_eq!(counts.weights_after, CHANNELS * CHANNELS / convolution.groups * size);
            prop_assert!(counts.weights_after < counts.weights_before);
        }
        // Where the padding is as wide as the border of zeros, all of it goes.
        let [top, left, bottom, right] = convolution.zeros;
        let fits = [top, left, bottom, right]
            .iter()
            .zip(convolution.pads)
            .zip([0, 1, 0, 1])
            .all(|((&zeros, pad), axis)| zeros as i64 * convolution.dilations[axis] <= pad);
        if convolution.auto_pad.is_none() && fits && convolution.zeros != [0; 4] {
            let left = [
                convolution.kernel[0] - top - bottom,
                convolution.kernel[1] - left - right,
            ];
            prop_assert_eq!(kernels(&cropped)[0].clone(), left.map(|size| size as i64));
        }
    }
}

#[test]
fn what_cannot_be_cropped_stays_as_it_is() {
    let whole = Convolution {
        seed: 0,
        kernel: [3, 3],
        zeros: [0, 0, 1, 0],
        strides: [1, 1],
        dilations: [1, 1],
        pads: [1, 1, 0, 1],
        auto_pad: None,
        groups: 1,
    };
    let all_zero = model_of(
        Node::new("Conv", &["image", "weights"], "result"),
        tensor(
            "weights",
            &[CHANNELS, CHANNELS, 3, 3],
            vec![0.0; CHANNELS * CHANNELS * 9],
        ),
    );
    for given in [whole.model(), all_zero] {
        let mut cropped = given.clone();
        let counts = crop::crop(&mut cropped);
        assert_eq!((counts.convolutions, counts.cropped), (1, 0));
        assert_eq!(counts.weights_before, counts.weights_after);
        assert_eq!(graph::serialize(&cropped), graph::serialize(&given));
    }
}

#[test]
fn a_kernel_of_two_convolutions_is_cropped_for_each() {
    let convolution = |input: &str, output: &str, pad: i64| {
        Node::new("Conv", &[input, "weights"], output)
            .with_ints("pads", &[1, 1, pad, 1])
            .with_ints("kernel_shape", &[3, 3])
    };
    let mut weights = vec![1.0; CHANNELS * CHANNELS * 9];
    for (at, weight) in weights.iter_mut().enumerate() {
        if at % 9 >= 6 {
            *weight = 0.0;
        }
    }
    let given = model_of(
        convolution("image", "first", 1),
        tensor("weights", &[CHANNELS, CHANNELS, 3, 3], weights),
    );
    let mut given = given;
    let graph = given.graph.as_mut().unwrap();
    graph.nodes.push(convolution("first", "second", 0));
    graph.nodes.push(convolution("second", "result", 1));
    let mut cropped = given.clone();
    assert_eq!(crop::crop(&mut cropped).cropped, 2);
    assert_eq!(kernels(&cropped), [[2, 3], [3, 3], [2, 3]]);
    // The whole kernel, which one convolution still needs, and one that two share.
    assert_eq!(cropped.graph.as_ref().unwrap().initializers.len(), 2);
    let engine = engine();
    let (before, after) = (run(&*engine, &given, 1), run(&*engine, &cropped, 1));
    assert_eq!(before.shape, after.shape);
    for (before, after) in before.values.iter().zip(&after.values) {
        assert!((before - after).abs() <= 1e-3 * before.abs().max(1.0));
    }
}

fn contract(channels: usize) -> Contract {
    Contract {
        shape: ImageShape::new(channels, 7, 6, 4).unwrap(),
        head: Head::Categorical,
        map: InputMap::same(1.0 / 3.0, 0.0),
        input: "image".to_owned(),
        output: "logits".to_owned(),
        label: None,
    }
}

#[test]
fn masked_exports_run_cropped_and_score_the_same_bits_in_any_company() {
    let engine = engine();
    for (name, channels) in [("masked", 1), ("dilated", 1), ("colour", 3)] {
        for exporter in ["dynamo", "torchscript"] {
            let file = format!("tests/fixtures/exports/{name}.{exporter}.onnx");
            let model = graph::parse(&std::fs::read(root().join(file)).unwrap()).unwrap();
            let network = Network::load(&*engine, name, model.clone(), contract(channels)).unwrap();
            let told = network.cropping().unwrap().to_string();
            assert!(told.contains("outer taps of zeros"), "{told}");
            let shape = network.shape();
            let images: Vec<Vec<u8>> = (0..5)
                .map(|image| {
                    let random = Random::new(7, Stream::Probe, image);
                    (0..shape.dimensions() as u32)
                        .map(|at| (random.uniform(at) * 4.0) as u8)
                        .collect()
                })
                .collect();
            let given: Vec<Given<'_>> = images.iter().map(|image| image[..].into()).collect();
            let together = network.log_probabilities(&given, Threads::All).unwrap();
            for (given, together) in given.iter().zip(&together) {
                let alone = network.log_probabilities(&[*given], Threads::One).unwrap();
                assert_eq!(&alone[0], together, "{name} ({exporter})");
            }
        }
    }
}

#[test]
fn a_graph_whose_zeros_meet_infinities_runs_as_given() {
    // A zero times an infinity is not a number: the logarithm of black makes every prediction NaN, if zeros are
    // computed.
    let mut graph = Graph::default();
    graph.name = Some("infinite".to_owned());
    let mut weights = vec![0.0; 4 * 9];
    for (at, weight) in weights.iter_mut().enumerate() {
        *weight = if at % 9 < 3 { 1.0 } else { 0.0 };
    }
    graph.initializers = vec![tensor("weights", &[4, 1, 3, 3], weights)];
    graph.nodes = vec![
        Node::new("Log", &["image"], "logarithm"),
        Node::new("Conv", &["logarithm", "weights"], "logits")
            .with_ints("pads", &[1, 1, 1, 1])
            .with_ints("kernel_shape", &[3, 3]),
    ];
    graph.inputs = vec![ValueInfo::batched("image", ElementType::Float, &[1, 7, 6])];
    graph.outputs = vec![ValueInfo::batched("logits", ElementType::Float, &[4, 7, 6])];
    let engine = engine();
    let network = Network::load(&*engine, "infinite", model(graph), contract(1)).unwrap();
    let told = network.cropping().unwrap().to_string();
    assert!(told.contains("zeros of kernels are computed"), "{told}");
}
