//! Compiled programs against full passes, on plain exports of networks that others might have written.

#![allow(clippy::unwrap_used)]

mod common;

use std::{path::PathBuf, sync::Arc};

use common::{engine, root};
use density_server::{
    domain::{
        image::ImageShape,
        random::{Random, Stream},
    },
    graph::{self, rewrite::InputMap},
    network::autoregressive::{Autoregressive, Compilation, Contract, Given, Head, LabelInput},
    runtime::{Engine, Threads},
};

fn exports() -> PathBuf {
    root().join("tests/fixtures/exports")
}

fn load(engine: &dyn Engine, name: &str, exporter: &str) -> Autoregressive {
    let file = exports().join(format!("{name}.{exporter}.onnx"));
    let model = graph::parse(&std::fs::read(&file).unwrap()).unwrap();
    let (channels, levels, head) = match name {
        "colour" => (3, 4, Head::Categorical),
        "bernoulli" => (1, 2, Head::Bernoulli),
        _ => (1, 4, Head::Categorical),
    };
    let contract = Contract {
        shape: ImageShape::new(channels, 7, 6, levels).unwrap(),
        head,
        map: InputMap {
            scale: 1.0 / (levels - 1) as f64,
            offset: 0.0,
        },
        input: "image".to_owned(),
        output: "logits".to_owned(),
        label: (name == "conditional").then(|| LabelInput {
            input: "label".to_owned(),
            classes: 3,
        }),
    };
    Autoregressive::load(engine, name, &model, contract).unwrap()
}

const COMPILED: [&str; 8] = [
    "masked",
    "two-stacks",
    "shifted",
    "dilated",
    "conditional",
    "colour",
    "bernoulli",
    "normalised",
];

fn random_levels(shape: ImageShape, seed: u64) -> Vec<u8> {
    let random = Random::new(seed, Stream::Probe, 0);
    (0..shape.dimensions())
        .map(|index| (random.uniform(index as u32) * shape.levels() as f64) as u8)
        .collect()
}

#[test]
fn exports_of_both_exporters_compile_and_reproduce_the_logits() {
    let engine: Arc<dyn Engine> = engine();
    for name in COMPILED {
        for exporter in ["dynamo", "torchscript"] {
            let network = load(&*engine, name, exporter);
            println!("{name} {exporter}: {}", network.compilation());
            let Compilation::Wavefront(wavefront) = network.compilation() else {
                panic!("{name} ({exporter}) is drawn {}", network.compilation());
            };
            let images: Vec<Vec<u8>> = (0..3).map(|i| random_levels(network.shape(), i)).collect();
            let given: Vec<Given<'_>> = images
                .iter()
                .zip(0..)
                .map(|(levels, label)| Given { levels, label })
                .collect();
            let expected = network.logits(&given, Threads::One).unwrap();
            let mut walks: Vec<_> = given
                .iter()
                .map(|given| wavefront.start(given.levels.to_vec(), given.label))
                .collect();
            let mut seen = 0;
            wavefront
                .advance(
                    &mut walks.iter_mut().collect::<Vec<_>>(),
                    wavefront.steps(),
                    &mut |row, index, level, logits| {
                        seen += 1;
                        for (fast, full) in logits.iter().zip(expected.at(row, index)) {
                            assert!(
                                (fast - full).abs() <= 1e-4 * full.abs().max(1.0),
                                "{name} ({exporter}), dimension {index}: {fast} and {full}"
                            );
                        }
                        level
                    },
                )
                .unwrap();
            assert_eq!(seen, 3 * network.shape().dimensions());
            assert!(walks.iter().all(|walk| wavefront.is_finished(walk)));
        }
    }
}

#[test]
fn what_is_not_a_stencil_is_named() {
    let engine: Arc<dyn Engine> = engine();
    for (name, reason) in [("attention", "MatMul"), ("strided", "stride")] {
        for exporter in ["dynamo", "torchscript"] {
            let network = load(&*engine, name, exporter);
            let Compilation::Unknown(found) = network.compilation() else {
                panic!("{name} ({exporter}) is drawn {}", network.compilation());
            };
            assert!(found.contains(reason), "{found}");
        }
    }
}
