//! Compiled programs against full passes, on plain exports of networks that others might have written.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use proptest::prelude::*;

use common::{
    engine,
    networks::{Activation, Block, Entry, Sketch},
    root,
};
use density_server::{
    domain::{
        image::ImageShape,
        random::{Random, Stream},
    },
    families::{
        NetworkError,
        autoregressive::{
            network::{Compilation, Contract, Given, Head, Network, Scratch},
            wavefront::{Known, Wavefront},
        },
        manifest::LabelInput,
    },
    graph::{
        self,
        protobuf::Model,
        rewrite::{self, InputMap},
        wavefront::{Analysis, Interface, Predictions, analyse},
    },
    runtime::{Engine, Threads},
};

fn exports() -> PathBuf {
    root().join("tests/fixtures/exports")
}

fn load(engine: &dyn Engine, name: &str, exporter: &str) -> Network {
    let file = exports().join(format!("{name}.{exporter}.onnx"));
    let model = graph::parse(&std::fs::read(&file).unwrap()).unwrap();
    Network::load(engine, name, model, contract(name)).unwrap()
}

fn contract(name: &str) -> Contract {
    let (channels, levels, head) = match name {
        "colour" | "viewed" | "embedded" | "channel-by-channel" => (3, 4, Head::Categorical),
        "bernoulli" => (1, 2, Head::Bernoulli),
        _ => (1, 4, Head::Categorical),
    };
    Contract {
        shape: ImageShape::new(channels, 7, 6, levels).unwrap(),
        head,
        map: InputMap::same(1.0 / (levels - 1) as f64, 0.0),
        input: "image".to_owned(),
        output: "logits".to_owned(),
        label: ["conditional", "labelled", "started-by-label"]
            .contains(&name)
            .then(|| LabelInput {
                input: "label".to_owned(),
                classes: 3,
            }),
    }
}

const COMPILED: [&str; 45] = [
    "masked",
    "two-stacks",
    "shifted",
    "dilated",
    "conditional",
    "colour",
    "bernoulli",
    "normalised",
    "viewed",
    "embedded",
    "one-hot",
    "coordinates",
    "assigned",
    "half",
    "deep",
    "attention",
    "snail",
    "transformer",
    "loosely-masked",
    "biased",
    "rotary",
    "strided",
    "resized",
    "along-pixels",
    "joined",
    "shared-keys",
    "labelled",
    "marked",
    "unfolded",
    "stacked",
    "axial",
    "each-pixel",
    "started",
    "started-by-label",
    "summed",
    "recurrent",
    "channel-by-channel",
    "linear-attention",
    "connected",
    "untrained",
    "autoencoder",
    "lines-attended",
    "neighbours-attended",
    "neighbours-low",
    "neighbours-masked",
];

/// Of a network without labels whose predictions are categorical.
fn interface(contract: &Contract) -> Interface<'_> {
    Interface {
        image: "image",
        label: None,
        logits: "logits",
        shape: contract.shape,
        predictions: Predictions::OfChannels(contract.shape.levels()),
    }
}

fn random_levels(shape: ImageShape, seed: u64) -> Vec<u8> {
    let random = Random::new(seed, Stream::Probe, 0);
    (0..shape.dimensions())
        .map(|index| (random.uniform(index as u32) * shape.levels() as f64) as u8)
        .collect()
}

/// Follows images through the program and holds its logits against those of a full pass.
fn assert_reproduces(network: &Network, wavefront: &Wavefront, classes: u32, what: &str) {
    let images: Vec<Vec<u8>> = (0..3).map(|seed| random_levels(network.shape(), seed)).collect();
    let given: Vec<Given<'_>> = images
        .iter()
        .zip(0..)
        .map(|(levels, number)| Given {
            levels,
            label: number % classes.max(1),
        })
        .collect();
    let expected = network.logits(&given, Threads::One).unwrap();
    let mut walks: Vec<_> = given
        .iter()
        .map(|given| wavefront.start(given.levels.to_vec(), given.label))
        .collect();
    let mut seen = 0;
    // The last image joins late, so that images at different steps share runs.
    let (last, first) = walks.split_last_mut().unwrap();
    let mut compare = |known: &Known<'_>| {
        seen += 1;
        let (row, index) = (known.walk, known.index);
        for (fast, full) in known.values.iter().zip(expected.at(row, index)) {
            assert!(
                (fast - full).abs() <= 1e-4 * full.abs().max(1.0),
                "{what}, image {row}, dimension {index}: {fast} and {full}"
            );
        }
        known.level
    };
    let mut first: Vec<_> = first.iter_mut().collect();
    wavefront.advance(&mut first, 3, &mut compare).unwrap();
    first.push(last);
    wavefront.advance(&mut first, wavefront.steps(), &mut compare).unwrap();
    assert_eq!(seen, 3 * network.shape().dimensions(), "{what}");
    assert!(walks.iter().all(|walk| wavefront.is_finished(walk)));
}

#[test]
fn exports_of_both_exporters_compile_and_reproduce_the_logits() {
    let engine: Arc<dyn Engine> = engine();
    for name in COMPILED {
        for exporter in ["dynamo", "torchscript"] {
            let network = load(&*engine, name, exporter);
            let Compilation::Wavefront(wavefront) = network.compilation() else {
                panic!("{name} ({exporter}) is drawn {}", network.compilation());
            };
            assert_reproduces(&network, wavefront, 3, &format!("{name} ({exporter})"));
            assert_draws_as_the_naive_loop(&network, wavefront, 2, 11);
        }
    }
}

#[test]
fn what_is_not_a_stencil_is_told_in_the_words_of_its_author() {
    let engine: Arc<dyn Engine> = engine();
    let (name, reason, layer) = ("group-normalised", "normalisation over places", "norm");
    for exporter in ["dynamo", "torchscript"] {
        let network = load(&*engine, name, exporter);
        let Compilation::Unknown(found) = network.compilation() else {
            panic!("{name} ({exporter}) is drawn {}", network.compilation());
        };
        assert!(found.starts_with(reason), "{found}");
        // The remarks that tell the newer exporter's modules are not in these files.
        let is_told = exporter == "torchscript";
        assert!(!is_told || found.contains(&format!("layer {layer:?}")), "{found}");
    }
}

/// Predictions are made of the pixels so far only where weights let through no others.
#[test]
fn layers_over_all_pixels_are_drawn_along_wavefronts_only_where_their_zeros_prove_it() {
    let engine: Arc<dyn Engine> = engine();
    let contract = contract("connected");
    let interface = interface(&contract);
    let mut model = simplified(&*engine, "connected", "torchscript");
    assert!(matches!(analyse(&model, &interface).unwrap(), Analysis::Compiled(_)));
    let weights = model.graph.as_mut().unwrap().initializers.iter_mut();
    let mut opened = 0;
    for tensor in weights.filter(|tensor| tensor.byte_size() == Some(4 * (7 * 6) * (7 * 6))) {
        let mut values = tensor.raw_data.as_deref().unwrap().to_vec();
        for value in values.chunks_exact_mut(4).filter(|value| **value == [0; 4]) {
            value.copy_from_slice(&0.1f32.to_le_bytes());
            opened += 1;
        }
        tensor.raw_data = Some(values.into());
    }
    assert!(opened > 0);
    let found = match analyse(&model, &interface).unwrap() {
        Analysis::Unknown(found) => found.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(
        found.starts_with("a fully connected layer over places: layer \"first\""),
        "{found}"
    );
}

/// A pixel must not attend to what its own level is part of. One attention of this network sees the pixels before,
/// whose levels it may know; let to see the pixel itself, it leaks.
#[test]
fn attention_to_the_pixel_itself_is_a_leak_where_its_level_is_in_it() {
    let engine: Arc<dyn Engine> = engine();
    let mut model = simplified(&*engine, "snail", "dynamo");
    let pixels = 7 * 6;
    let masks = model.graph.as_mut().unwrap().initializers.iter_mut();
    let masks = masks.filter(|tensor| tensor.byte_size() == Some(pixels * pixels));
    let mut opened = 0;
    for mask in masks {
        let mut hidden = mask.raw_data.as_deref().unwrap().to_vec();
        for pixel in 0..pixels {
            opened += usize::from(std::mem::take(&mut hidden[pixel * pixels + pixel]));
        }
        mask.raw_data = Some(hidden.into());
    }
    assert_eq!(opened % pixels, 0);
    assert!(opened > 0);
    let contract = contract("snail");
    let interface = interface(&contract);
    let leak = analyse(&model, &interface).unwrap_err();
    assert_eq!((leak.rows_down, leak.columns_right, leak.seen_channel), (0, 0, 0));
    assert!(leak.layer.contains("outer") || leak.layer.contains("MatMul"), "{leak}");
}

/// What masks leave nothing of is not read, but they are taken by their word: one neighbour behind that they let
/// through, at one place, is a leak.
#[test]
fn a_neighbour_behind_that_a_mask_lets_through_is_a_leak() {
    let engine: Arc<dyn Engine> = engine();
    let contract = contract("neighbours-masked");
    let interface = interface(&contract);
    // Truth values for 9 neighbours, of which the sixth is to the right; factors for those of 2 planes at 42 places.
    let (right, places) = (5, 7 * 6);
    let first_mask = 4 * 2 * 9 * places;
    for exporter in ["dynamo", "torchscript"] {
        for (name, bytes, opened) in [
            ("neighbours-attended", 9, right..right + 1),
            (
                "neighbours-masked",
                first_mask,
                4 * (right * places + 20)..4 * (right * places + 21),
            ),
        ] {
            let mut model = simplified(&*engine, name, exporter);
            assert!(matches!(analyse(&model, &interface).unwrap(), Analysis::Compiled(_)));
            let masks = model.graph.as_mut().unwrap().initializers.iter_mut();
            let mut count = 0;
            for mask in masks.filter(|tensor| tensor.byte_size() == Some(bytes)) {
                let mut values = mask.raw_data.as_deref().unwrap().to_vec();
                let shown: &[u8] = if bytes == 9 { &[0] } else { &1f32.to_le_bytes() };
                values[opened.clone()].copy_from_slice(shown);
                mask.raw_data = Some(values.into());
                count += 1;
            }
            assert_eq!(count, 1, "{name} ({exporter})");
            let leak = analyse(&model, &interface).unwrap_err();
            assert!(
                leak.rows_down == 0 && leak.columns_right >= 0,
                "{name} ({exporter}): {leak}"
            );
        }
    }
}

/// A softmax of scores that are all alike heeds all places, however low they are.
#[test]
fn low_masks_hide_nothing_where_nothing_is_seen() {
    let engine: Arc<dyn Engine> = engine();
    let contract = contract("neighbours-low");
    let interface = interface(&contract);
    let places = 7 * 6;
    for exporter in ["dynamo", "torchscript"] {
        let mut model = simplified(&*engine, "neighbours-low", exporter);
        let masks = model.graph.as_mut().unwrap().initializers.iter_mut();
        let mut count = 0;
        for mask in masks.filter(|tensor| tensor.byte_size() == Some(9 * places)) {
            let mut hidden = mask.raw_data.as_deref().unwrap().to_vec();
            // The first pixel has no other to see than itself.
            hidden[4 * places..5 * places].fill(1);
            mask.raw_data = Some(hidden.into());
            count += 1;
        }
        assert_eq!(count, 1, "{exporter}");
        let leak = analyse(&model, &interface).unwrap_err();
        assert_eq!((leak.rows_down, leak.seen_channel), (1, 0), "{exporter}: {leak}");
    }
}

/// Proofs are about all images. That a number is low enough for a mask is not one.
#[test]
fn causality_is_not_proven_from_a_mask_that_is_merely_low() {
    let engine: Arc<dyn Engine> = engine();
    for name in [
        "attention",
        "snail",
        "transformer",
        "biased",
        "rotary",
        "loosely-masked",
        "neighbours-attended",
        "neighbours-low",
    ] {
        let network = load(&*engine, name, "dynamo");
        let told = network.compilation().to_string();
        let is_merely_low = ["loosely-masked", "neighbours-low"].contains(&name);
        assert_eq!(network.compilation().is_proven(), !is_merely_low, "{told}");
        assert_eq!(told.contains("taken for granted"), is_merely_low, "{told}");
    }
}

#[test]
fn what_rows_above_tell_is_computed_a_row_at_once_where_rows_follow_one_another() {
    let engine: Arc<dyn Engine> = engine();
    let block = Block {
        kernel: 3,
        dilation: 1,
        activation: Activation::Gate,
        residual: true,
    };
    for (width, at_once) in [(4, true), (40, false)] {
        let sketch = Sketch {
            seed: 5,
            channels: 3,
            height: 4,
            width,
            levels: 3,
            hidden: 4,
            first: 5,
            blocks: vec![block.clone(); 3],
            classes: 3,
            places: true,
            entry: Entry::Coordinates,
            two_stacks: true,
            mixture: true,
            leak: None,
        };
        let network = Network::load(&*engine, "two stacks", sketch.model(), sketch.contract()).unwrap();
        let Compilation::Wavefront(wavefront) = network.compilation() else {
            panic!("{width} columns are drawn {}", network.compilation());
        };
        let cost = wavefront.cost();
        assert_eq!(cost.row_multiply_adds > 0, at_once, "{width}: {cost:?}");
        assert_eq!(cost.lag >= width as u64, at_once, "{width}: {cost:?}");
        assert!(cost.row_multiply_adds < cost.multiply_adds, "{width}: {cost:?}");
        assert_reproduces(&network, wavefront, 3, &format!("{width} columns"));
        assert_draws_as_the_naive_loop(&network, wavefront, 2, 11);
    }
}

fn sketches() -> impl Strategy<Value = Sketch> {
    let activation = prop::sample::select(vec![
        Activation::Relu,
        Activation::Tanh,
        Activation::Elu,
        Activation::Softplus,
        Activation::Gate,
    ]);
    let block = (
        prop::sample::select(vec![1, 3, 5]),
        1usize..4,
        activation,
        any::<bool>(),
    );
    let block = block.prop_map(|(kernel, dilation, activation, residual)| Block {
        kernel,
        dilation,
        activation,
        residual,
    });
    (
        (
            any::<u64>(),
            prop::sample::select(vec![1usize, 3]),
            2usize..9,
            2usize..9,
            2usize..6,
        ),
        prop::sample::select(vec![3usize, 5, 7]),
        prop::collection::vec(block, 0..4),
        prop::sample::select(vec![0usize, 3]),
        (any::<bool>(), any::<bool>(), any::<bool>()),
        prop::sample::select(vec![Entry::Plain, Entry::Viewed, Entry::Coordinates, Entry::Embedded]),
    )
        .prop_map(
            |((seed, channels, height, width, levels), first, blocks, classes, flags, entry)| Sketch {
                seed,
                channels,
                height,
                width,
                levels,
                hidden: 4,
                first,
                blocks,
                classes,
                places: flags.0,
                entry,
                two_stacks: flags.1,
                mixture: flags.2,
                leak: None,
            },
        )
}

fn assert_draws_as_the_naive_loop(network: &Network, wavefront: &Wavefront, label: u32, seed: u64) {
    let mut scratch = Scratch::default();
    let random = Random::new(seed, Stream::Level, 0);
    let mut walk = wavefront.start(vec![0; network.shape().dimensions()], label);
    let mut settle = |known: &Known<'_>| {
        let uniform = random.uniform(known.index as u32);
        network.prediction(known).draw(1.0, uniform, &mut scratch)
    };
    wavefront
        .advance(&mut [&mut walk], wavefront.steps(), &mut settle)
        .unwrap();
    assert_eq!(wavefront.finish(walk), naive(network, label, &random));
}

/// One full pass a dimension: what drawing means.
fn naive(network: &Network, label: u32, random: &Random) -> Vec<u8> {
    let shape = network.shape();
    let (mut levels, mut scratch) = (vec![0u8; shape.dimensions()], Scratch::default());
    for place in 0..shape.dimensions() {
        let given = Given { levels: &levels, label };
        let logits = network.logits(&[given], Threads::One).unwrap();
        let index = shape.index_of(place);
        levels[index] = logits.predict(0, index, &levels, |prediction| {
            prediction.draw(1.0, random.uniform(index as u32), &mut scratch)
        });
    }
    levels
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn random_networks_are_reproduced_and_drawn_from_as_the_naive_loop_does(sketch in sketches()) {
        let engine: Arc<dyn Engine> = engine();
        let network =
            Network::load(&*engine, "random", sketch.model(), sketch.contract()).unwrap();
        let Compilation::Wavefront(wavefront) = network.compilation() else {
            panic!("{sketch:?} is drawn {}", network.compilation());
        };
        let classes = sketch.classes as u32;
        assert_reproduces(&network, wavefront, classes, &format!("{sketch:?}"));
        assert_draws_as_the_naive_loop(&network, wavefront, classes.saturating_sub(1), sketch.seed);
    }

    #[test]
    fn a_single_forbidden_weight_is_refused_and_its_layer_named(
        sketch in sketches(),
        at in any::<prop::sample::Index>(),
    ) {
        // A kernel of one place has no forbidden weight if there is one channel.
        let open: Vec<usize> = (0..=sketch.blocks.len())
            .filter(|&layer| {
                layer == 0 || (sketch.channels > 1 && !sketch.mixture) || sketch.blocks[layer - 1].kernel > 1
            })
            .collect();
        let leak = open[at.index(open.len())];
        let sketch = Sketch { leak: Some(leak), ..sketch };
        let engine: Arc<dyn Engine> = engine();
        let loaded = Network::load(&*engine, "random", sketch.model(), sketch.contract());
        match loaded {
            Err(NetworkError::Leak(leak)) => prop_assert!(leak.layer.contains("Conv"), "{leak}"),
            other => panic!("{sketch:?} was not refused: {other:?}"),
        }
    }
}

/// The export as the analysis sees it.
fn simplified(engine: &dyn Engine, name: &str, exporter: &str) -> Model {
    let file = exports().join(format!("{name}.{exporter}.onnx"));
    let model = graph::parse(&std::fs::read(&file).unwrap()).unwrap();
    let one = rewrite::for_one(&model).unwrap();
    let bytes = engine.simplify(name, &graph::serialize(&one)).unwrap();
    graph::parse(&bytes).unwrap()
}

/// Damages a graph in one place.
fn damage(model: &mut Model, kind: u8, at: usize, other: usize) {
    let graph = model.graph.as_mut().unwrap();
    let count = graph.nodes.len();
    let source = graph.nodes[other % count].outputs.first().cloned();
    let node = &mut graph.nodes[at % count];
    let inputs = node.inputs.len().max(1);
    match kind % 7 {
        0 => drop(node.inputs.pop()),
        1 => node.inputs = vec![source.unwrap_or_default(); inputs],
        2 => node.attributes.clear(),
        3 => {
            for attribute in &mut node.attributes {
                attribute.i = attribute.i.map(|value| value + other as i64 % 5 - 2);
                for value in &mut attribute.ints {
                    *value += other as i64 % 5 - 2;
                }
            }
        }
        4 => node.op_type = Some(["Concat", "Reshape", "Split", "Conv", "Gather", "Expand"][other % 6].to_owned()),
        5 => node.outputs.clear(),
        _ if graph.initializers.is_empty() => {}
        _ => {
            let count = graph.initializers.len();
            let tensor = &mut graph.initializers[at % count];
            if other.is_multiple_of(2) {
                tensor.dims.reverse();
            } else {
                tensor.dims.insert(0, 1);
            }
        }
    }
}

/// Every graph of [`COMPILED`] as the analysis sees it.
static GRAPHS: LazyLock<Vec<(&str, Model)>> = LazyLock::new(|| {
    let engine = engine();
    let exported = |name| ["dynamo", "torchscript"].map(|exporter| (name, simplified(&*engine, name, exporter)));
    COMPILED.into_iter().flat_map(exported).collect()
});

/// Whether it leaks, compiles or is not understood does not matter here.
fn analyse_damaged(name: &str, model: &Model) {
    let contract = contract(name);
    let mut interface = Interface {
        label: contract.label.as_ref().map(|label| label.input.as_str()),
        ..interface(&contract)
    };
    if name == "bernoulli" {
        interface.predictions = Predictions::OfChannels(1);
    }
    drop(analyse(model, &interface));
}

/// What is left may have factors of unlike lengths.
#[test]
fn no_node_without_its_last_input_makes_the_analysis_panic() {
    for (name, model) in &*GRAPHS {
        for at in 0..model.graph.as_ref().unwrap().nodes.len() {
            let mut model = model.clone();
            damage(&mut model, 0, at, 0);
            analyse_damaged(name, &model);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_damaged_graph_makes_the_analysis_panic(
        which in any::<prop::sample::Index>(),
        damages in prop::collection::vec((any::<u8>(), any::<u16>(), any::<u16>()), 1..4),
    ) {
        let (name, model) = &GRAPHS[which.index(GRAPHS.len())];
        let mut model = model.clone();
        for (kind, at, other) in damages {
            damage(&mut model, kind, usize::from(at), usize::from(other));
        }
        analyse_damaged(name, &model);
    }
}
