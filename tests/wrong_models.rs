//! Models that are wrong, hostile or other than they seem, and what the load gate says of each.

#![allow(clippy::unwrap_used, clippy::field_reassign_with_default)]

mod common;

use std::{fs, path::Path, process::Command, time::Duration};

use common::{
    can, load, load_gated, resources,
    versions::{Draft, NAME, Written, floats, gan, model, pixelcnn, weights},
};
use density_server::{
    domain::{assurance::Assurance, image::ImageShape},
    families::{
        GateError, GateSettings,
        autoregressive::network::{Head, Network},
    },
    graph::{
        self,
        protobuf::{Attribute, Entry, Function, Graph, Model, Node, OperatorSet, Tensor, ValueInfo},
    },
    model::Model as Served,
};

fn checked(draft: &Draft) -> Result<Served, GateError> {
    load(&draft.write().folder, NAME)
}

fn refused(draft: &Draft) -> String {
    checked(draft).unwrap_err().to_string()
}

fn warnings(version: &Served) -> Vec<&str> {
    let checks = version.card.checks.iter().filter(|check| check.name == "warning");
    checks.map(|check| check.finding.as_str()).collect()
}

fn grey() -> ImageShape {
    ImageShape::new(1, 6, 5, 4).unwrap()
}

/// A masked convolution of `input` from `channels` channels to logits of `levels`: sees the two pixels to the left.
fn masked(input: &str, output: &str, levels: usize) -> (Node, Tensor) {
    let node = Node::new("Conv", &[input, "w"], output).with_ints("pads", &[0, 2, 0, 0]);
    let mut kernel = weights("w", &[levels, 1, 1, 3], 2.0);
    kernel
        .float_data
        .iter_mut()
        .skip(2)
        .step_by(3)
        .for_each(|weight| *weight = 0.0);
    (node, kernel)
}

/// A causal network, which can be compiled.
fn sound(shape: ImageShape) -> Model {
    let (node, kernel) = masked("image", "logits", shape.levels());
    model(
        vec![node],
        vec![kernel],
        ("image", &[1, shape.height(), shape.width()]),
        ("logits", &[shape.levels(), shape.height(), shape.width()]),
    )
}

/// The same behind nodes that make `seen` of the image.
fn behind(shape: ImageShape, nodes: Vec<Node>, constants: Vec<Tensor>) -> Model {
    let mut model = sound(shape);
    let graph = model.graph.as_mut().unwrap();
    graph.nodes[0].inputs[0] = "seen".to_owned();
    graph.nodes.splice(0..0, nodes);
    graph.initializers.extend(constants);
    model
}

fn of(shape: ImageShape, model: &Model) -> Draft {
    pixelcnn(shape, Head::Categorical, model, model)
}

// ---- files ----

/// The sound network with its weights in `location`, and these as bytes.
fn apart(location: &str) -> (Model, Vec<u8>) {
    let mut model = sound(grey());
    let tensor = &mut model.graph.as_mut().unwrap().initializers[0];
    let values = std::mem::take(&mut tensor.float_data);
    let bytes: Vec<u8> = [0.0; 4].iter().chain(&values).flat_map(|v| v.to_le_bytes()).collect();
    let entry = |key: &str, value: &str| Entry {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    tensor.data_location = Some(1);
    tensor.external_data = vec![entry("location", location), entry("offset", "16")];
    (model, bytes)
}

fn with_weights_apart(location: &str) -> (Draft, Vec<u8>) {
    let (model, bytes) = apart(location);
    (pixelcnn(grey(), Head::Categorical, &model, &sound(grey())), bytes)
}

#[test]
fn weights_beside_a_graph_are_served_and_hashed() {
    let (mut draft, bytes) = with_weights_apart("model.onnx.data");
    draft.files.push(("model.onnx.data".to_owned(), bytes.clone()));
    let listed = checked(&draft).unwrap();
    assert!(warnings(&listed).is_empty(), "{:?}", listed.card.checks);

    // Without a hash in the manifest they are told, and identify the version all the same.
    draft.files.pop();
    draft.unhashed.push(("model.onnx.data".to_owned(), bytes));
    let unlisted = checked(&draft).unwrap();
    assert!(
        warnings(&unlisted)[0].contains("to [sha256]"),
        "{:?}",
        unlisted.card.checks
    );
    assert_eq!(listed.identity, unlisted.identity);
}

#[test]
fn changed_weights_beside_a_graph_are_refused_by_their_hash() {
    let (mut draft, bytes) = with_weights_apart("model.onnx.data");
    draft.files.push(("model.onnx.data".to_owned(), bytes));
    let written = draft.write();
    fs::write(written.folder.join("model.onnx.data"), b"others").unwrap();
    let error = load(&written.folder, NAME).unwrap_err();
    assert!(
        matches!(&error, GateError::Hash { file, .. } if file == "model.onnx.data"),
        "{error}"
    );
}

#[test]
fn a_hash_of_a_file_that_nobody_names_is_refused() {
    let mut draft = of(grey(), &sound(grey()));
    draft.files.push(("other".to_owned(), vec![1, 2, 3]));
    assert!(refused(&draft).contains("\"other\" is named neither in the manifest nor by a graph"));
}

#[test]
fn no_graph_reads_the_files_of_the_machine() {
    for location in ["/etc/passwd", "../secret", "etc/passwd", "..", ""] {
        let (draft, bytes) = with_weights_apart(location);
        let written = draft.write();
        fs::write(written.folder.parent().unwrap().join("secret"), bytes).unwrap();
        let error = load(&written.folder, NAME).unwrap_err().to_string();
        assert!(error.contains("plain name"), "{location:?}: {error}");
    }
}

#[cfg(unix)]
#[test]
fn links_and_pipes_are_refused_at_once() {
    let (mut draft, bytes) = with_weights_apart("beside");
    draft.files.push(("beside".to_owned(), bytes.clone()));
    let refused = |written: &Written| load(&written.folder, NAME).unwrap_err().to_string();
    let written = draft.write();
    let secret = written.folder.parent().unwrap().join("secret");
    fs::write(&secret, &bytes).unwrap();
    fs::remove_file(written.folder.join("beside")).unwrap();
    std::os::unix::fs::symlink(&secret, written.folder.join("beside")).unwrap();
    assert!(refused(&written).contains("a link"));

    let pipe = |path: &Path| {
        let _ = fs::remove_file(path);
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    for file in ["beside", "model.onnx", "model.toml"] {
        let written = draft.write();
        pipe(&written.folder.join(file));
        let error = refused(&written);
        assert!(error.contains("a pipe"), "{file}: {error}");
    }
}

// ---- bounds ----

fn scalar(name: &str, value: i64) -> Tensor {
    let mut tensor = Tensor::of_ints(name, &[value]);
    tensor.dims.clear();
    tensor
}

/// Adds zero to the image, `turns` times; for ever if it does not say.
fn turning(turns: &str) -> Model {
    let mut body = Graph::default();
    let typed = |name: &str, kind: i32| {
        let mut info = ValueInfo::batched(name, graph::protobuf::ElementType::Float, &[]);
        let tensor = info.type_info.as_mut().unwrap().tensor.as_mut().unwrap();
        tensor.element_type = Some(kind);
        // Scalars, but for the image.
        match kind {
            1 => tensor.shape = None,
            _ => tensor.shape.as_mut().unwrap().dims.clear(),
        }
        info
    };
    body.name = Some("body".to_owned());
    body.inputs = vec![typed("turn", 7), typed("go_on", 9), typed("before", 1)];
    body.outputs = vec![typed("goes_on", 9), typed("after", 1)];
    body.nodes = vec![
        Node::new("Identity", &["go_on"], "goes_on"),
        Node::new("Add", &["before", "zero"], "after"),
    ];
    let mut node = Node::new("Loop", &[turns, "", "image"], "seen");
    let mut attribute = Attribute::default();
    attribute.name = Some("body".to_owned());
    attribute.kind = Some(5);
    attribute.graph = Some(Box::new(body));
    node.attributes = vec![attribute];
    behind(
        grey(),
        vec![node],
        vec![scalar("turns", 1 << 62), floats("zero", &[], vec![0.0])],
    )
}

#[test]
fn a_loop_without_end_is_given_up() {
    let counted = pixelcnn(grey(), Head::Categorical, &turning("turns"), &sound(grey()));
    assert!(refused(&counted).contains("turns 4611686018427387904 times"));
    let draft = pixelcnn(grey(), Head::Categorical, &turning(""), &sound(grey()));
    let settings = GateSettings {
        time_limit: Duration::from_millis(500),
        ..GateSettings::default()
    };
    let error = load_gated(&draft.write().folder, NAME, &resources(), settings).unwrap_err();
    assert!(
        error.to_string().contains("was given up: a load may take 0.5 s"),
        "{error}"
    );
}

#[test]
fn functions_that_write_themselves_out_without_end_are_refused() {
    let mut model = sound(grey());
    let function = |level: usize| {
        let callee = format!("f{}", level - 1);
        let call = |input: &str, output: &str| {
            let mut node = Node::new(if level == 0 { "Neg" } else { &callee }, &[input], output);
            node.domain = (level > 0).then(|| "made".to_owned());
            node
        };
        let mut function = Function::default();
        function.name = Some(format!("f{level}"));
        function.domain = Some("made".to_owned());
        function.inputs = vec!["x".to_owned()];
        function.outputs = vec!["y".to_owned()];
        function.nodes = vec![call("x", "h"), call("h", "y")];
        function
    };
    model.functions = (1..=20).map(function).collect();
    let mut domain = OperatorSet::default();
    (domain.domain, domain.version) = (Some("made".to_owned()), Some(1));
    model.opset_imports.push(domain);
    let graph = model.graph.as_mut().unwrap();
    graph.nodes[0].inputs[0] = "seen".to_owned();
    let mut call = Node::new("f20", &["image"], "seen");
    call.domain = Some("made".to_owned());
    graph.nodes.insert(0, call);
    let draft = pixelcnn(grey(), Head::Categorical, &model, &sound(grey()));
    assert!(refused(&draft).contains("1048577 nodes"));
}

// ---- causality ----

/// Logits of `levels` for each channel from the pixel to the left, plus what `seen_by_itself` makes of a channel: 0 is
/// causal.
fn colour(shape: ImageShape, seen_by_itself: [f32; 3]) -> Model {
    let (levels, channels) = (shape.levels(), shape.channels());
    let mut kernel = weights("w", &[levels * channels, channels, 1, 2], 1.0);
    kernel
        .float_data
        .iter_mut()
        .skip(1)
        .step_by(2)
        .for_each(|weight| *weight = 0.0);
    let to_own: Vec<f32> = seen_by_itself.to_vec();
    let mut steps = vec![0.0; levels];
    steps[0] = 1.0;
    let form = [
        -1,
        levels as i64,
        channels as i64,
        shape.height() as i64,
        shape.width() as i64,
    ];
    model(
        vec![
            Node::new("Conv", &["image", "w"], "left").with_ints("pads", &[0, 1, 0, 0]),
            Node::new("Reshape", &["left", "form"], "before"),
            // A softmax over places is no stencil, and nothing is known of a difference; less itself it is nothing.
            Node::new("Softmax", &["image"], "mixed").with_int("axis", 3),
            Node::new("Sub", &["mixed", "mixed"], "none"),
            Node::new("Mul", &["image", "own"], "itself"),
            Node::new("Add", &["itself", "none"], "both"),
            Node::new("Unsqueeze", &["both", "axis"], "lifted"),
            Node::new("Mul", &["lifted", "steps"], "spread"),
            Node::new("Add", &["before", "spread"], "logits"),
        ],
        vec![
            kernel,
            Tensor::of_ints("form", &form),
            Tensor::of_ints("axis", &[1]),
            floats("nothing", &[1], vec![0.0]),
            floats("own", &[1, 3, 1, 1], to_own),
            floats("steps", &[1, levels, 1, 1, 1], steps),
        ],
        ("image", &[channels, shape.height(), shape.width()]),
        ("logits", &[levels, channels, shape.height(), shape.width()]),
    )
}

#[test]
fn a_channel_that_sees_itself_is_named_at_any_size() {
    for size in [16, 32] {
        let shape = ImageShape::new(3, size, size, 4).unwrap();
        let named = |draft: &Draft| {
            let error = refused(draft);
            assert!(error.contains("not causal") && error.contains("channel 1"), "{error}");
        };
        named(&of(shape, &colour(shape, [0.0, 5.0, 0.0])));
        // The same by analysis of the graph.
        let analysed = |own| analysed(colour(shape, own));
        let causal = analysed([0.0; 3]);
        let leaking = analysed([0.0, 5.0, 5.0]);
        named(&pixelcnn(shape, Head::Categorical, &leaking, &causal));
    }
}

/// A network of [`colour`] without the softmax, so that it can be analysed.
fn analysed(mut model: Model) -> Model {
    let graph = model.graph.as_mut().unwrap();
    graph.nodes.retain(|node| node.op_type() != "Softmax");
    let none = graph.nodes.iter_mut().find(|node| node.outputs[0] == "none");
    *none.unwrap() = Node::new("Mul", &["image", "nothing"], "none");
    model
}

/// Logits of two levels through half the size: each block of two by two sees the rows `above` it, and as many of its
/// own as are left of two.
fn strided(shape: ImageShape, above: i64) -> Model {
    let (height, width) = (shape.height(), shape.width());
    model(
        vec![
            Node::new("Pad", &["image", "pads"], "padded"),
            Node::new("Slice", &["padded", "from", "to", "rows"], "moved"),
            Node::new("Conv", &["moved", "down"], "half").with_ints("strides", &[2, 2]),
            Node::new("Tanh", &["half"], "active"),
            Node::new("ConvTranspose", &["active", "up"], "logits").with_ints("strides", &[2, 2]),
        ],
        vec![
            Tensor::of_ints("pads", &[0, 0, above, 0, 0, 0, 0, 0]),
            Tensor::of_ints("from", &[0]),
            Tensor::of_ints("to", &[height as i64]),
            Tensor::of_ints("rows", &[2]),
            weights("down", &[3, 1, 2, 2], 1.0),
            weights("up", &[3, 2, 2, 2], 1.0),
        ],
        ("image", &[1, height, width]),
        ("logits", &[2, height, width]),
    )
}

#[test]
fn strides_are_proven_causal_and_what_leaks_through_them_is_refused() {
    let shape = ImageShape::new(1, 8, 8, 2).unwrap();
    let version = checked(&of(shape, &strided(shape, 2))).unwrap();
    assert_eq!(can::<Network>(&version).assurance(), Assurance::Proven);
    let sampling = version.card.checks.iter().find(|check| check.name == "sampling");
    assert!(sampling.unwrap().finding.contains("along wavefronts"));
    let error = refused(&of(shape, &strided(shape, 1)));
    assert!(error.contains("not causal"), "{error}");
}

#[test]
fn a_product_with_zero_sees_nothing() {
    let shape = ImageShape::new(3, 6, 5, 4).unwrap();
    let version = checked(&of(shape, &analysed(colour(shape, [0.0; 3])))).unwrap();
    assert_eq!(can::<Network>(&version).assurance(), Assurance::Proven);
    let sampling = version.card.checks.iter().find(|check| check.name == "sampling");
    assert!(sampling.unwrap().finding.contains("wavefronts"));
}

/// The same with a part of the sum of all dimensions before.
fn seeing_all_before(mut model: Model, shape: ImageShape) -> Model {
    let graph = model.graph.as_mut().unwrap();
    for node in &mut graph.nodes {
        for output in node.outputs.iter_mut().filter(|output| *output == "logits") {
            "near".clone_into(output);
            node.name = Some("near".to_owned());
        }
    }
    let [channels, height, width] = [shape.channels(), shape.height(), shape.width()].map(|size| size as i64);
    graph.nodes.extend([
        Node::new("Transpose", &["image"], "by pixel").with_ints("perm", &[0, 2, 3, 1]),
        Node::new("Reshape", &["by pixel", "row"], "in order"),
        Node::new("CumSum", &["in order", "along"], "sums").with_int("exclusive", 1),
        Node::new("Mul", &["sums", "little"], "part"),
        Node::new("Reshape", &["part", "places"], "parts by pixel"),
        Node::new("Transpose", &["parts by pixel"], "parts").with_ints("perm", &[0, 3, 1, 2]),
        Node::new("Unsqueeze", &["parts", "axis"], "lifted parts"),
        Node::new("Mul", &["lifted parts", "steps"], "far"),
        Node::new("Add", &["near", "far"], "logits"),
    ]);
    graph.initializers.extend([
        Tensor::of_ints("row", &[-1, height * width * channels]),
        Tensor::of_ints("along", &[1]),
        floats("little", &[1], vec![0.01]),
        Tensor::of_ints("places", &[-1, height, width, channels]),
    ]);
    model
}

#[test]
fn what_was_tried_is_told_and_a_thorough_check_tries_all() {
    let shape = ImageShape::new(3, 24, 24, 4).unwrap();
    let assurance = |model: &Model, thorough| {
        let settings = GateSettings {
            thorough,
            ..GateSettings::default()
        };
        let written = of(shape, model).write();
        let version = load_gated(&written.folder, NAME, &resources(), settings).unwrap();
        can::<Network>(&version).assurance()
    };
    let (near, of) = (colour(shape, [0.0; 3]), 3 * 24 * 24);
    assert_eq!(
        assurance(&near, false),
        Assurance::Tried { places: of, of },
        "it sees only so far"
    );
    let far = seeing_all_before(near, shape);
    assert_eq!(assurance(&far, false), Assurance::Tried { places: 1024, of });
    assert_eq!(assurance(&far, true), Assurance::Tried { places: of, of });
    let version = checked(&self::of(grey(), &sound(grey()))).unwrap();
    let network = can::<Network>(&version);
    assert_eq!(network.assurance(), Assurance::Proven);
    assert_eq!(network.assurance().bound(), "exact");
}

// ---- company and chance ----

#[test]
fn scaling_by_the_extremes_of_the_batch_is_refused() {
    let nodes = vec![
        Node::new("ReduceMax", &["image"], "most").with_int("keepdims", 1),
        Node::new("Add", &["most", "one"], "divisor"),
        Node::new("Div", &["image", "divisor"], "seen"),
    ];
    let one = floats("one", &[1], vec![1.0]);
    let error = refused(&of(grey(), &behind(grey(), nodes, vec![one])));
    assert!(error.contains("depends on the batch"), "{error}");
    assert!(error.contains("depends on its own or later dimensions"), "{error}");
}

#[test]
fn an_image_that_sees_those_before_it_or_those_behind_it_is_refused() {
    let constants = vec![
        Tensor::of_ints("place", &[0]),
        floats("half", &[1], vec![0.5]),
        Tensor::of_scalar("axis", 0.0),
    ];
    for place in [0, -1] {
        let nodes = vec![
            Node::new("Gather", &["image", "place"], "other").with_int("axis", 0),
            Node::new("Mul", &["other", "half"], "part"),
            Node::new("Sub", &["image", "part"], "seen"),
        ];
        let mut constants = constants.clone();
        constants[0] = Tensor::of_ints("place", &[place]);
        let error = refused(&of(grey(), &behind(grey(), nodes, constants)));
        assert!(error.contains("depends on the batch"), "{error}");
    }
    for reverse in [0, 1] {
        let nodes = vec![
            Node::new("Cast", &["axis"], "over").with_int("to", 7),
            Node::new("CumSum", &["image", "over"], "seen").with_int("reverse", reverse),
        ];
        let error = refused(&of(grey(), &behind(grey(), nodes, constants.clone())));
        assert!(error.contains("depends on the batch"), "{error}");
    }
}

#[test]
fn a_level_that_is_ruled_out_hides_no_leak() {
    for ruled_out in [-1e9, f32::NEG_INFINITY] {
        let (node, kernel) = masked("image", "before", 4);
        let mut nodes = vec![
            node,
            // Nothing is known by analysis of a softmax over places.
            Node::new("Softmax", &["image"], "mixed").with_int("axis", 3),
            Node::new("Sub", &["mixed", "mixed"], "none"),
            Node::new("Add", &["before", "none"], "raw"),
            Node::new("Mul", &["image", "first"], "itself"),
            Node::new("Add", &["raw", "itself"], "both"),
        ];
        nodes.push(Node::new("Add", &["both", "ruled"], "logits"));
        let leaking = model(
            nodes,
            vec![
                kernel,
                floats("first", &[1, 4, 1, 1], vec![5.0, 0.0, 0.0, 0.0]),
                floats("ruled", &[1, 4, 1, 1], vec![0.0, 0.0, 0.0, ruled_out]),
            ],
            ("image", &[1, 6, 5]),
            ("logits", &[4, 6, 5]),
        );
        let error = refused(&pixelcnn(grey(), Head::Categorical, &leaking, &sound(grey())));
        assert!(error.contains("not causal"), "{error}");
    }
}

#[test]
fn a_draw_that_no_trial_comes_to_is_refused() {
    let body = |node: Node| {
        let whole = model(vec![node], Vec::new(), ("image", &[1, 6, 5]), ("chosen", &[1, 6, 5]));
        let mut body = whole.graph.unwrap();
        body.inputs.clear();
        body
    };
    let branch = |name: &str, graph: Graph| {
        let mut branch = Attribute::default();
        branch.name = Some(name.to_owned());
        branch.graph = Some(Box::new(graph));
        branch.kind = Some(5);
        branch
    };
    let mut choice = Node::new("If", &["is_bright"], "seen");
    choice.attributes = vec![
        branch("then_branch", body(Node::new("RandomNormalLike", &["image"], "chosen"))),
        branch("else_branch", body(Node::new("Identity", &["image"], "chosen"))),
    ];
    let nodes = vec![
        Node::new("ReduceMin", &["image"], "least").with_int("keepdims", 0),
        Node::new("Greater", &["least", "most"], "is_bright"),
        choice,
    ];
    let most = Tensor::of_scalar("most", 2.5);
    let error = refused(&of(grey(), &behind(grey(), nodes, vec![most])));
    assert!(
        error.contains("draws random numbers") && error.contains("RandomNormalLike"),
        "{error}"
    );
}

#[test]
fn batch_normalisation_in_training_mode_is_refused() {
    let mut node = Node::new(
        "BatchNormalization",
        &["image", "scale", "bias", "mean", "variance"],
        "seen",
    )
    .with_int("training_mode", 1);
    node.outputs.extend(["new_mean".to_owned(), "new_variance".to_owned()]);
    let constants = [("scale", 1.0), ("bias", 0.0), ("mean", 0.0), ("variance", 1.0)];
    let constants = constants.map(|(name, value)| floats(name, &[1], vec![value]));
    // The runtime may also keep its running mean from one run to the next, so that no run is like another.
    let error = checked(&of(grey(), &behind(grey(), vec![node], constants.to_vec()))).unwrap_err();
    assert!(
        matches!(error, GateError::Company { .. } | GateError::Random { .. }),
        "{error}"
    );
}

/// A generator of 2×2 pixels; `nodes` make `seen` of the latents.
fn generator(nodes: Vec<Node>, last: &str) -> Model {
    let form = Tensor::of_ints("form", &[-1, 1, 2, 2]);
    let mut all = nodes;
    all.extend([
        Node::new("Gemm", &["seen", "w"], "flat"),
        Node::new(last, &["flat"], "bent"),
        Node::new("Reshape", &["bent", "form"], "image"),
    ]);
    model(
        all,
        vec![form, weights("w", &[3, 4], 2.0)],
        ("z", &[3]),
        ("image", &[1, 2, 2]),
    )
}

fn tiny() -> ImageShape {
    ImageShape::new(1, 2, 2, 256).unwrap()
}

#[test]
fn a_generator_that_sees_the_batch_is_refused_or_run_one_at_a_time() {
    let mean = Node::new("ReduceMean", &["z", "axis"], "mean").with_int("keepdims", 1);
    let mut model = generator(vec![mean, Node::new("Sub", &["z", "mean"], "off")], "Sigmoid");
    let graph = model.graph.as_mut().unwrap();
    graph.initializers.push(Tensor::of_ints("axis", &[0]));
    graph.nodes.insert(2, Node::new("Add", &["off", "z"], "seen"));
    let draft = gan(tiny(), 3, &model, &model);
    assert!(refused(&draft).contains("depends on the batch"));
    checked(&draft.with("[serving]\nbatch = 1")).unwrap();
}

#[test]
fn a_random_graph_is_refused_unless_declared() {
    let nodes = vec![
        Node::new("RandomNormalLike", &["z"], "noise"),
        Node::new("Add", &["z", "noise"], "seen"),
    ];
    let model = generator(nodes, "Sigmoid");
    let mut draft = gan(tiny(), 3, &model, &model);
    let error = refused(&draft);
    assert!(
        error.contains("is random") && error.contains("RandomNormalLike"),
        "{error}"
    );
    // Its golden images are drawn, too.
    draft.tolerance = 0.999;
    let version = checked(&draft.with("[declared]\nrandom = true")).unwrap();
    assert!(warnings(&version)[0].contains("draws random numbers, as declared"));

    let nodes = vec![
        Node::new("RandomNormalLike", &["image"], "noise"),
        Node::new("Add", &["image", "noise"], "seen"),
    ];
    let error = refused(&of(grey(), &behind(grey(), nodes, Vec::new())));
    assert!(error.contains("is random"), "{error}");
}

// ---- units ----

/// A network of which `last` bends the logits.
fn bent(shape: ImageShape, last: Node, outcomes: &[usize]) -> Model {
    let (node, kernel) = masked("image", "raw", outcomes[0]);
    let sizes = [outcomes[0], shape.height(), shape.width()];
    model(
        vec![node, last],
        vec![kernel],
        ("image", &[1, shape.height(), shape.width()]),
        ("logits", &sizes),
    )
}

#[test]
fn probabilities_are_not_taken_for_logits() {
    let softmax = Node::new("Softmax", &["raw"], "logits").with_int("axis", 1);
    let wrong = bent(grey(), softmax, &[4]);
    let draft = of(grey(), &wrong);
    let error = refused(&draft);
    assert!(error.contains("look like probabilities"), "{error}");
    let version = checked(&draft.clone().with("[declared]\nlogits = \"logits\"")).unwrap();
    assert!(warnings(&version)[0].contains("as declared"));
    // Said to be what they are, they give what the logits give; the mistaken golden scores show.
    let declared = "[declared]\nlogits = \"probabilities\"";
    assert!(refused(&draft.with(declared)).contains("golden scores"));
    let right = bent(grey(), Node::new("Identity", &["raw"], "logits"), &[4]);
    let draft = pixelcnn(grey(), Head::Categorical, &wrong, &right);
    checked(&draft.with(declared)).unwrap();

    let binary = ImageShape::new(1, 6, 5, 2).unwrap();
    let sigmoid = bent(binary, Node::new("Sigmoid", &["raw"], "logits"), &[1]);
    let draft = pixelcnn(binary, Head::Bernoulli, &sigmoid, &sigmoid);
    assert!(refused(&draft).contains("look like probabilities"));
    let right = bent(binary, Node::new("Identity", &["raw"], "logits"), &[1]);
    let draft = pixelcnn(binary, Head::Bernoulli, &sigmoid, &right);
    checked(&draft.with(declared)).unwrap();
}

#[test]
fn pictures_from_minus_one_to_one_are_declared_and_converted() {
    let start = || vec![Node::new("Identity", &["z"], "seen")];
    let tanh = generator(start(), "Tanh");
    let error = refused(&gan(tiny(), 3, &tanh, &tanh));
    assert!(error.contains("pictures = \"-1..1\""), "{error}");
    checked(&gan(tiny(), 3, &tanh, &tanh).with("[declared]\npictures = \"0..1\"")).unwrap();
    // (tanh x + 1) / 2 = σ(2 x).
    let mut twice = generator(vec![Node::new("Add", &["z", "z"], "seen")], "Sigmoid");
    twice.graph.as_mut().unwrap().name = Some("twice".to_owned());
    checked(&gan(tiny(), 3, &tanh, &twice).with("[declared]\npictures = \"-1..1\"")).unwrap();
    let sigmoid = generator(start(), "Sigmoid");
    let version = checked(&gan(tiny(), 3, &sigmoid, &sigmoid)).unwrap();
    assert!(warnings(&version).is_empty(), "{:?}", version.card.checks);
}

#[test]
fn levels_that_are_scaled_twice_are_asked_about() {
    let shape = ImageShape::new(1, 6, 5, 256).unwrap();
    let node = Node::new("Div", &["image", "most"], "seen");
    let most = floats("most", &[], vec![255.0]);
    let draft = of(shape, &behind(shape, vec![node], vec![most]));
    assert!(refused(&draft).contains("scaled twice"));
    checked(&draft.with("[declared]\ninput = \"scaled-twice\"")).unwrap();
}

#[test]
fn lies_about_tolerance_and_weights_are_told() {
    let mut draft = of(grey(), &sound(grey()));
    draft.tolerance = 1e300;
    assert!(refused(&draft).contains("any number would do"));
    draft.tolerance = 5.0;
    draft.parameters = 0;
    let version = checked(&draft).unwrap();
    let told = warnings(&version).join("; ");
    assert!(
        told.contains("proves little") && told.contains("parameters is 0"),
        "{told}"
    );
}

#[test]
fn a_sound_version_is_told_nothing() {
    let version = checked(&of(grey(), &sound(grey()))).unwrap();
    assert!(warnings(&version).is_empty(), "{:?}", version.card.checks);
}
