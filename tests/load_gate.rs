//! What the load gate refuses, and that the rest keeps serving.

#![allow(clippy::unwrap_used)]

mod common;

use std::{fs, path::Path};

use common::{
    engine, fixtures, load, model, models_of, root,
    versions::{floats, model as graph_of},
};
use density_server::{
    domain::image::ImageShape,
    families::{
        GateError, NetworkError,
        classifier::network::{Contract, Network},
        image_graph::ImageInput,
    },
    graph::{
        self,
        protobuf::{Attribute, Node, Tensor},
        rewrite::InputMap,
    },
    model::{Kind, catalogue::Catalogue},
    runtime::{Input, Program, Threads, Values},
};
use sha2::{Digest, Sha256};

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

/// A copy of a fixture's version with its manifest changed.
fn changed(name: &str, from: &str, to: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixtures().join(name).join("1"), folder.path());
    let manifest = folder.path().join("model.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let new = text.replace(from, to);
    assert_ne!(text, new, "{from:?} is not in the manifest of {name}");
    fs::write(manifest, new).unwrap();
    folder
}

fn refused(folder: &Path, name: &str) -> GateError {
    load(folder, name).unwrap_err()
}

#[test]
fn a_leaking_graph_is_refused_by_the_place_of_its_leak() {
    let folder = |name: &str| root().join("tests/fixtures/refused").join(name).join("1");
    // A stencil is seen through: the layer is named.
    let error = refused(&folder("leaking-pixelcnn"), "leaking-pixelcnn");
    let GateError::Network {
        cause: NetworkError::Leak(leak),
        ..
    } = &error
    else {
        panic!("{error}");
    };
    assert!(leak.to_string().starts_with("layer \"first\" (Conv) lets"), "{leak}");
    assert!(error.to_string().contains("the same pixel"), "{error}");
    // Attention is not: its leak shows when pixels are changed.
    let error = refused(&folder("leaking-attention"), "leaking-attention");
    assert!(matches!(error, GateError::Leak { .. }), "{error}");
    assert!(error.to_string().contains("not causal"), "{error}");
}

#[test]
fn a_changed_file_is_refused_by_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    copy(&fixtures().join("tiny-pixelcnn/1"), folder.path());
    let graph = folder.path().join("model.onnx");
    let mut bytes = fs::read(&graph).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&graph, bytes).unwrap();
    let error = refused(folder.path(), "tiny-pixelcnn");
    assert!(matches!(&error, GateError::Hash { file, .. } if file == "model.onnx"));
}

#[test]
fn a_missing_file_and_a_missing_manifest_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = refused(folder.path(), "tiny-pixelcnn");
    assert!(matches!(&error, GateError::Read { file, .. } if file == "model.toml"));
    copy(&fixtures().join("tiny-pixelcnn/1"), folder.path());
    fs::remove_file(folder.path().join("golden_scores.npy")).unwrap();
    let error = refused(folder.path(), "tiny-pixelcnn");
    assert!(matches!(&error, GateError::Read { file, .. } if file == "golden_scores.npy"));
}

#[test]
fn a_graph_that_breaks_its_contract_is_refused_with_what_it_has() {
    for (from, to, wanted) in [
        (
            "output = \"logits\"",
            "output = \"scores\"",
            "no output \"scores\"; it has: logits",
        ),
        ("input = \"image\"", "input = \"picture\"", "no input \"picture\""),
        ("height = 6", "height = 7", "[N, 7, 5]"),
        ("levels = 4", "levels = 5", "must have shape"),
    ] {
        let folder = changed("tiny-pixelcnn", from, to);
        let error = refused(folder.path(), "tiny-pixelcnn").to_string();
        // A wrong size may show first in the golden images, which come before the graph.
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn a_step_that_reads_ahead_or_other_than_its_graph_is_refused() {
    for (from, to, wanted) in [
        ("[0, -1]]", "[0, 1]]", "recurrence.window: [0, 1] leaks"),
        (
            "neighbours = [[0, -1], ",
            "neighbours = [[0, 0], ",
            "recurrence.neighbours: [0, 0] leaks: it is the pixel itself",
        ),
        (
            "neighbours = [[0, -1], ",
            "neighbours = [",
            "\"states\" must have shape [batch, 2, 4], not [?, 3, 4]",
        ),
        (
            "state_size = 4",
            "state_size = 5",
            "must have shape [batch, 3, 5], not [?, 3, 4]",
        ),
        ("row = \"row\"", "row = \"line\"", "no input \"line\""),
        (
            "column = \"column\"",
            "column = \"row\"",
            "\"row\" is named as two inputs",
        ),
        (
            "output = \"logits\"",
            "output = \"scores\"",
            "no output \"scores\"; it has: state, logits",
        ),
    ] {
        let folder = changed("tiny-pixelrnn", from, to);
        let error = refused(folder.path(), "tiny-pixelrnn").to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn neighbours_in_another_order_do_not_reproduce_the_golden_scores() {
    let (from, to) = ("[[0, -1], [-1, 0],", "[[-1, 0], [0, -1],");
    let folder = changed("tiny-pixelrnn", from, to);
    let error = refused(folder.path(), "tiny-pixelrnn");
    assert!(matches!(error, GateError::Golden { .. }), "{error}");
}

#[test]
fn a_graph_that_does_not_reproduce_its_golden_scores_is_refused() {
    // A scale that is off by a tenth feeds the network other values than it was trained on.
    let text = fs::read_to_string(fixtures().join("tiny-pixelcnn/1/model.toml")).unwrap();
    let line = text.lines().find(|line| line.starts_with("scale")).unwrap();
    let folder = changed("tiny-pixelcnn", line, "scale = 0.3");
    let error = refused(folder.path(), "tiny-pixelcnn");
    assert!(matches!(error, GateError::Golden { .. }), "{error}");
}

#[test]
fn what_a_family_has_not_is_refused_by_name() {
    for (name, from, to, wanted) in [
        (
            "tiny-gan",
            "[latent]",
            "[input]\nscale = 1.0\noffset = 0.0\n\n[latent]",
            "it takes codes, not images",
        ),
        (
            "tiny-gan",
            "label = \"label\"\n",
            "",
            "[graphs.generator] has no label input",
        ),
        ("tiny-gan", "size = 3", "size = 4", "[N, 4]"),
        (
            "tiny-classifier",
            "[golden]",
            "[likelihood]\nhead = \"categorical\"\n\n[golden]",
            "no explicit density",
        ),
        (
            "tiny-classifier",
            "features = \"features\"",
            "features = \"colours\"",
            "\"colours\" must be there",
        ),
        (
            "tiny-classifier",
            "[labels]",
            "[latent]\nsize = 3\n\n[labels]",
            "a classifier has no [latent]",
        ),
        ("tiny-autoencoder", "size = 3", "size = 4", "must have shape [batch, 4]"),
        (
            "tiny-autoencoder",
            "output = \"latent\"",
            "mean = \"latent\"",
            "unknown field `mean`",
        ),
        (
            "tiny-autoencoder",
            "[provenance]",
            "[calibration]\nscores = \"golden_scores.npy\"\nstatistic = \"log_likelihood\"\ndescription = \
             \"\"\n\n[provenance]",
            "no statistic to calibrate",
        ),
    ] {
        let error = refused(changed(name, from, to).path(), name).to_string();
        assert!(error.contains(wanted), "{name}: {error}");
    }
}

#[test]
fn every_family_has_to_reproduce_its_golden_values() {
    for name in ["tiny-autoencoder", "tiny-classifier"] {
        let text = fs::read_to_string(fixtures().join(name).join("1/model.toml")).unwrap();
        let line = text.lines().find(|line| line.starts_with("scale")).unwrap();
        let error = refused(changed(name, line, "scale = 0.1").path(), name);
        assert!(matches!(error, GateError::Golden { .. }), "{name}: {error}");
    }
    // A generator that is given other labels draws other images.
    let folder = tempfile::tempdir().unwrap();
    copy(&fixtures().join("tiny-gan/1"), folder.path());
    let labels = folder.path().join("golden_labels.npy");
    let mut bytes = fs::read(&labels).unwrap();
    let first = bytes.len() - 64;
    bytes[first] = (bytes[first] + 1) % 3;
    fs::write(&labels, &bytes).unwrap();
    let manifest = folder.path().join("model.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("\"golden_labels.npy\""))
        .unwrap();
    let hash: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let new = format!("\"golden_labels.npy\" = \"{hash}\"");
    fs::write(&manifest, text.replace(line, &new)).unwrap();
    let error = refused(folder.path(), "tiny-gan");
    assert!(matches!(error, GateError::Golden { .. }), "{error}");
}

#[test]
fn a_version_that_fails_leaves_the_one_before_it_serving() {
    let repository = tempfile::tempdir().unwrap();
    let model_folder = repository.path().join("tiny-pixelcnn");
    copy(&fixtures().join("tiny-pixelcnn/1"), &model_folder.join("1"));
    let models = models_of(repository.path());
    let before = model(&models, "tiny-pixelcnn");

    copy(&fixtures().join("tiny-pixelcnn/1"), &model_folder.join("2"));
    fs::write(model_folder.join("2/model.onnx"), b"not a graph").unwrap();
    models.scan().unwrap();
    let after = model(&models, "tiny-pixelcnn");
    assert_eq!(after.version, 1);
    assert!(
        std::sync::Arc::ptr_eq(&before, &after),
        "version 1 was not loaded again"
    );
    let error = models.model("tiny-pixelcnn", Some(2)).unwrap_err();
    assert_eq!(error.kind(), Kind::NotReady);
    let reason = models.listing("tiny-pixelcnn", Some(2)).unwrap().reason;
    assert!(reason.unwrap().contains("sha256"));

    fs::copy(model_folder.join("1/model.onnx"), model_folder.join("2/model.onnx")).unwrap();
    let manifest = model_folder.join("2/model.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(manifest, format!("{text}\n# mended\n")).unwrap();
    models.scan().unwrap();
    assert_eq!(model(&models, "tiny-pixelcnn").version, 2);

    fs::remove_dir_all(model_folder.join("2")).unwrap();
    models.scan().unwrap();
    assert_eq!(model(&models, "tiny-pixelcnn").version, 1);
    let gone = models.model("tiny-pixelcnn", Some(2)).unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
}

#[test]
fn the_gate_says_what_it_found() {
    let folder = fixtures().join("tiny-rgb-pixelcnn/1");
    let version = load(&folder, "tiny-rgb-pixelcnn").unwrap();
    let names: Vec<_> = version.card.checks.iter().map(|check| &*check.name).collect();
    assert_eq!(
        names,
        [
            "manifest",
            "graphs",
            "company",
            "causality",
            "cropping",
            "sampling",
            "normalisation",
            "golden scores",
            "calibration"
        ]
    );
    assert!(version.card.checks[3].finding.contains("proven from the graph"));
    let cropping = &version.card.checks[4].finding;
    assert!(cropping.starts_with("2 of 3 convolutions"), "{cropping}");
    assert!(version.card.checks[5].finding.contains("lag 3, 13 steps"));
}

/// A dense layer of 64 MiB and the first eight columns of the same alone.
#[test]
fn a_layer_that_is_too_large_to_be_copied_gives_the_numbers_of_a_small_one() {
    const SIDE: usize = 64;
    let (inputs, outputs, few) = (SIDE * SIDE, 4096, 8);
    let shape = ImageShape::new(1, SIDE, SIDE, 256).unwrap();
    let weight = |row: usize, column: usize| ((row * 31 + column * 17) % 101) as f32 / 101.0 - 0.5;
    let network = |columns: usize| {
        let values = (0..inputs).flat_map(|row| (0..columns).map(move |column| weight(row, column)));
        let mut layer = floats("w", &[inputs, columns], Vec::new());
        layer.raw_data = Some(values.flat_map(f32::to_le_bytes).collect());
        let graph = graph_of(
            vec![
                Node::new("Flatten", &["image"], "x"),
                Node::new("MatMul", &["x", "w"], "logits"),
            ],
            vec![layer],
            ("image", &[1, SIDE, SIDE]),
            ("logits", &[columns]),
        );
        let contract = Contract {
            classes: columns,
            input: ImageInput {
                shape,
                map: InputMap::same(1.0 / 255.0, 0.0),
                name: "image".to_owned(),
            },
            output: "logits".to_owned(),
            features: Vec::new(),
        };
        Network::load(&*engine(), "dense", graph, contract).unwrap()
    };
    let images: Vec<Vec<u8>> = (0..3)
        .map(|image| (0..inputs).map(|place| ((place * (image + 3)) % 256) as u8).collect())
        .collect();
    let images: Vec<&[u8]> = images.iter().map(Vec::as_slice).collect();
    let (large, small) = (network(outputs), network(few));
    for threads in [Threads::One, Threads::All] {
        let (all, first) = (
            large.classify(&images, threads).unwrap(),
            small.classify(&images, threads).unwrap(),
        );
        for (all, first) in all.iter().zip(&first) {
            assert_eq!(all.logits.len(), outputs);
            assert!(
                all.logits.iter().zip(&first.logits).all(|(a, b)| (a - b).abs() < 1e-2),
                "{:?}",
                first.logits
            );
        }
    }
}

/// Weights of 64 MiB, and every kind of attribute and constant that such graphs have.
#[test]
fn a_large_graph_gives_the_same_bits_as_a_file_of_it() {
    const CHANNELS: usize = 4096;
    let kernel = || {
        let values = (0..CHANNELS * CHANNELS).map(|place| ((place * 31) % 101) as f32 / 101.0 - 0.5);
        let mut kernel = floats("w", &[CHANNELS, CHANNELS, 1, 1], Vec::new());
        kernel.raw_data = Some(values.flat_map(f32::to_le_bytes).collect());
        kernel
    };
    let with = |mut node: Node, name: &str, kind: i32, set: &dyn Fn(&mut Attribute)| {
        let mut attribute = Attribute::default();
        (attribute.name, attribute.kind) = (Some(name.to_owned()), Some(kind));
        set(&mut attribute);
        node.attributes.push(attribute);
        node
    };
    let constant = Node::new("Constant", &[], "row");
    let halves = Node::new("ConstantOfShape", &["sizes"], "halves");
    let spread = Node::new("DepthToSpace", &["leaky"], "spread").with_int("blocksize", 2);
    let nodes = vec![
        Node::new("Conv", &["image", "w"], "x").with_ints("kernel_shape", &[1, 1]),
        with(Node::new("LeakyRelu", &["x"], "leaky"), "alpha", 1, &|own| {
            own.f = Some(0.1)
        }),
        with(spread, "mode", 3, &|own| own.s = Some(b"CRD".to_vec())),
        with(constant, "value", 4, &|own| own.t = Some(Tensor::of_ints("", &[0, -1]))),
        Node::new("Reshape", &["spread", "row"], "flat"),
        Node::new("Shape", &["flat"], "sizes"),
        with(halves, "value", 4, &|own| own.t = Some(floats("", &[1], vec![0.5]))),
        Node::new("Mul", &["flat", "halves"], "logits"),
    ];
    let outputs = ("logits", &[4 * CHANNELS][..]);
    let large = graph_of(nodes, vec![kernel()], ("image", &[CHANNELS, 2, 2]), outputs);
    let engine = engine();
    let file = engine.load("file", graph::serialize(&large)).unwrap();
    let edited = engine.load_model("edited", large).unwrap();
    assert!(format!("{edited:?}").contains("Large"), "{edited:?}");
    for rows in [1, 3] {
        let values: Vec<f32> = (0..rows * CHANNELS * 4)
            .map(|place| (place % 17) as f32 / 17.0)
            .collect();
        let input = Input {
            name: "image",
            shape: &[rows, CHANNELS, 2, 2],
            values: Values::Floats(&values),
        };
        let run = |program: &dyn Program, threads| program.run(&[input], &["logits"], threads).unwrap();
        let expected = run(&*file, Threads::One);
        assert_eq!(expected[0].shape, [rows, 4 * CHANNELS]);
        for threads in [Threads::One, Threads::All] {
            assert!(run(&*edited, threads) == expected, "{rows} rows on {threads:?}");
        }
    }
}
