//! `import`: which output of a graph is the one of labels, what is no classifier at all, and what images come to.
//! Graphs are written by the tests, as exporters of other frameworks write them.

#![allow(clippy::unwrap_used, clippy::field_reassign_with_default)]

mod command;
mod common;

use std::{fs, path::Path, process::Output, sync::Arc};

use command::{binary, stderr, text};
use common::{engine, faults::Faults, graphs::model, resources_of};
use density_server::{
    domain::{
        image::{Image, ImageShape},
        random::{Random, Stream},
    },
    families::{
        GateSettings, Registry,
        import::{Answers, Host, Interview, Origin, Question, Request, Tools, import as import_with},
    },
    graph::{
        self,
        protobuf::{ElementType, Graph, Model, Node, Tensor, ValueInfo},
    },
    media::DecodeOptions,
    scheduling::SchedulerConfig,
};

/// ONNX's number of the type of integers of 32 bits.
const INT32: i64 = 6;
/// Features of an image.
const FEATURES: usize = 6;

fn weights(name: &str, dims: &[usize]) -> Tensor {
    let seed = name.bytes().map(u64::from).sum();
    let random = Random::new(seed, Stream::Prior, 0);
    let values: Vec<f32> = (0..dims.iter().product())
        .map(|at: usize| random.normal(at as u32) as f32)
        .collect();
    let dims: Vec<i64> = dims.iter().map(|&size| size as i64).collect();
    Tensor::of_reals(name, &dims, &values)
}

/// A network of images [N, 3, 8, 8]: a convolution of which `f` is the mean [N, 6], and what `nodes` make of that.
/// Matrices `w2`, `w4` and so on make so many numbers of `f`.
fn network(nodes: Vec<Node>, outputs: &[(&str, &[usize])]) -> Model {
    let mut graph = Graph::default();
    graph.nodes = vec![
        Node::new("Conv", &["image", "kernel"], "maps").with_ints("strides", &[2, 2]),
        Node::new("Relu", &["maps"], "positive"),
        Node::new("GlobalAveragePool", &["positive"], "mean"),
        Node::new("Flatten", &["mean"], "f"),
    ];
    graph.nodes.extend(nodes);
    graph.initializers = vec![weights("kernel", &[FEATURES, 3, 3, 3]), Tensor::of_scalar("half", 0.5)];
    for size in [1, 2, 4, 10] {
        graph.initializers.push(weights(&format!("w{size}"), &[FEATURES, size]));
    }
    graph.inputs = vec![ValueInfo::batched("image", ElementType::Float, &[3, 8, 8])];
    let output = |&(name, sizes): &(&str, &[usize])| ValueInfo::batched(name, ElementType::Float, sizes);
    graph.outputs = outputs.iter().map(output).collect();
    model(graph)
}

fn import(repository: &Path, model: &Model, more: &[&str]) -> Output {
    let file = repository.join("m.onnx");
    fs::write(&file, graph::serialize(model)).unwrap();
    let repository = repository.join("repository");
    fs::create_dir_all(&repository).unwrap();
    binary()
        .env("DENSITY_REPOSITORY", repository)
        .args(["import", text(&file), "--name", "m"])
        .args(more)
        .output()
        .unwrap()
}

/// What is said of a version that is made, of images from 0 to 1.
fn made(model: &Model, more: &[&str]) -> String {
    imported(model, &[&["--input", "0..1"], more].concat())
}

/// What is said of a version that is made.
fn imported(model: &Model, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = import(folder.path(), model, more);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What is said where none is.
fn refused(model: &Model, more: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = import(folder.path(), model, more);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(fs::read_dir(folder.path().join("repository")).unwrap().count(), 0);
    stderr(&output)
}

fn matmul(size: usize, output: &str) -> Node {
    Node::new("MatMul", &["f", &format!("w{size}")], output)
}

#[test]
fn logits_and_their_probabilities_are_a_classifier_and_no_posterior_of_a_code() {
    for kind in ["Softmax", "LogSoftmax"] {
        for outputs in [["a", "b"], ["b", "a"]] {
            let nodes = vec![matmul(10, "a"), Node::new(kind, &["a"], "b")];
            let model = network(nodes, &outputs.map(|name| (name, &[10][..])));
            let report = made(&model, &[]);
            assert!(report.contains("classifier of 3×8×8"), "{kind}: {report}");
            assert!(report.contains("features are \"f\""), "{kind}: {report}");
        }
    }
    // Made warmer in between.
    let nodes = vec![
        matmul(4, "a"),
        Node::new("Mul", &["a", "half"], "warm"),
        Node::new("Softmax", &["warm"], "b"),
    ];
    let report = made(&network(nodes, &[("a", &[4]), ("b", &[4])]), &[]);
    assert!(report.contains("its softmax is taken off"), "{report}");
}

#[test]
fn of_two_heads_somebody_says_which() {
    let nodes = vec![
        matmul(10, "a"),
        Node::new("Softmax", &["a"], "shape"),
        matmul(4, "b"),
        Node::new("Softmax", &["b"], "colour"),
    ];
    let model = network(nodes, &[("shape", &[10]), ("colour", &[4])]);
    let said = refused(&model, &["--yes"]);
    for words in [
        "which of its outputs",
        "output=shape",
        "output=colour",
        "not taken by --yes",
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
    for (name, last) in [("shape", "0 to 9"), ("colour", "0 to 3")] {
        let report = made(&model, &["--declare", &format!("output={name}")]);
        assert!(report.contains(last), "{report}");
    }
}

#[test]
fn one_number_is_a_log_odds_only_where_its_name_or_somebody_says_so() {
    let model = |name: &str| network(vec![matmul(1, name)], &[(name, &[1])]);
    let said = refused(&model("age"), &["--yes"]);
    for words in [
        "(\"age\")",
        "logits=logits",
        "logits=probabilities",
        "not taken by --yes",
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
    for more in [
        &["--family", "classifier"][..],
        &["--yes", "--declare", "logits=logits"],
    ] {
        let report = made(&model("age"), more);
        assert!(report.contains("classifier of"), "{report}");
    }
    assert!(made(&model("logit"), &["--yes"]).contains("classifier of"));
    // A probability that no sigmoid ends, such as the mean of two networks.
    let nodes = vec![
        matmul(1, "a"),
        Node::new("Sigmoid", &["a"], "p"),
        Node::new("Sqrt", &["p"], "q"),
        Node::new("Add", &["p", "q"], "both"),
        Node::new("Mul", &["both", "half"], "y"),
    ];
    let mean = network(nodes, &[("y", &[1])]);
    assert!(refused(&mean, &["--yes"]).contains("not taken by --yes"));
    let report = made(&mean, &["--yes", "--declare", "logits=probabilities"]);
    assert!(report.contains("classifier of"), "{report}");
}

#[test]
fn how_sure_a_choice_is_tells_nothing_of_labels() {
    let nodes = vec![
        matmul(10, "a"),
        Node::new("Softmax", &["a"], "p"),
        Node::new("ReduceMax", &["p", "axis"], "confidence").with_int("keepdims", 0),
        Node::new("ArgMax", &["p"], "label")
            .with_int("axis", 1)
            .with_int("keepdims", 0),
    ];
    let mut model = network(nodes, &[("confidence", &[])]);
    let graph = model.graph.as_mut().unwrap();
    graph.initializers.push(Tensor::of_ints("axis", &[1]));
    graph.outputs.push(ValueInfo::batched("label", ElementType::Int64, &[]));
    assert!(refused(&model, &["--yes"]).contains("the number of a label"));
}

#[test]
fn what_ends_as_features_do_is_an_encoder() {
    let row = |node: Node| network(vec![matmul(10, "a"), node], &[("y", &[10])]);
    let norm = row(Node::new("LpNormalization", &["a"], "y"));
    let squashed = row(Node::new("Tanh", &["a"], "y"));
    let named = network(vec![matmul(10, "image_embeds")], &[("image_embeds", &[10])]);
    for model in [norm, squashed, named] {
        assert!(refused(&model, &[]).contains("features, whatever for, likely"));
        let report = made(&model, &["--yes"]);
        assert!(report.contains("encoder of 3×8×8"), "{report}");
    }
    // The smallest of several maps is no row of labels.
    let maps = network(vec![], &[("maps", &[FEATURES, 3, 3]), ("mean", &[FEATURES, 1, 1])]);
    let report = made(&maps, &["--yes"]);
    assert!(report.contains("encoder of 3×8×8"), "{report}");
}

#[test]
fn rows_are_logits_where_a_name_or_somebody_says_so() {
    // The output, the node, the weights: any of them may be called like labels.
    let named = |output: &str, node: &str, weights: &str| {
        let mut model = network(vec![matmul(10, "a")], &[(output, &[10])]);
        let graph = model.graph.as_mut().unwrap();
        let mut own = graph.initializers.last().unwrap().clone();
        own.name = Some(weights.to_owned());
        graph.initializers.push(own);
        let last = graph.nodes.last_mut().unwrap();
        *last = Node::new("MatMul", &["f", weights], "a");
        last.name = Some(node.to_owned());
        graph.nodes.push(Node::new("Identity", &["a"], output));
        model
    };
    for (output, node, weights) in [
        ("output", "", "fc.weight"),
        ("191", "/classifier/classifier.1/MatMul", "onnx::MatMul_212"),
        ("output", "", "head.fc.weight"),
        ("dense_1", "", "kernel_0"),
        ("class_logits", "", "w"),
    ] {
        let report = made(&named(output, node, weights), &["--yes"]);
        assert!(
            report.contains("classifier of 3×8×8"),
            "{output} {node} {weights}: {report}"
        );
        assert!(
            report.contains("because of the name") && report.contains("several can be right"),
            "{report}"
        );
    }
    for (output, node, weights) in [
        ("output", "/net/net.7/MatMul", "net.7.weight"),
        ("pred_boxes", "", "fc.weight"),
        ("output", "/pose_head/MatMul", "pose_head.weight"),
    ] {
        let model = named(output, node, weights);
        let said = refused(&model, &["--yes"]);
        for words in [
            "logits of 10 labels, or features",
            "--family classifier",
            "--family encoder",
            "not taken by --yes",
        ] {
            assert!(said.contains(words), "{words} in {said}");
        }
        for (more, family) in [
            (&["--family", "classifier"][..], "classifier of"),
            (&["--family", "encoder"], "encoder of"),
            (&["--labels", "a,b,c,d,e,f,g,h,i,j"], "classifier of"),
            (&["--declare", "logits=logits"], "classifier of"),
        ] {
            let report = made(&model, &[&["--yes"], more].concat());
            assert!(report.contains(family), "{more:?}: {report}");
        }
    }
}

#[test]
fn maps_as_fine_as_the_image_are_asked_about() {
    let mut graph = Graph::default();
    graph.nodes = vec![Node::new("Conv", &["image", "kernel"], "maps").with_ints("pads", &[1, 1, 1, 1])];
    graph.inputs = vec![ValueInfo::batched("image", ElementType::Float, &[3, 8, 8])];
    for (channels, words) in [(5, "5 numbers for each pixel"), (1, "a number for each pixel")] {
        let mut graph = graph.clone();
        graph.initializers = vec![weights("kernel", &[channels, 3, 3, 3])];
        graph.outputs = vec![ValueInfo::batched("maps", ElementType::Float, &[channels, 8, 8])];
        let model = model(graph);
        let said = refused(&model, &["--yes"]);
        for words in [
            words,
            "part an image into objects or estimate depths",
            "--family encoder",
            "not taken by --yes",
        ] {
            assert!(said.contains(words), "{words} in {said}");
        }
        let report = made(&model, &["--yes", "--family", "encoder"]);
        assert!(report.contains("encoder of 3×8×8"), "{report}");
    }
}

#[test]
fn the_most_likely_few_and_what_the_runtime_lacks_are_told() {
    let top = |outputs: &[&str]| {
        let mut top = Node::new("TopK", &["a", "three"], "values");
        top.outputs.push("places".to_owned());
        let mut model = network(vec![matmul(10, "a"), top], &[]);
        let graph = model.graph.as_mut().unwrap();
        graph.initializers.push(Tensor::of_ints("three", &[3]));
        let output = |name: &&str| {
            let element = if *name == "values" {
                ElementType::Float
            } else {
                ElementType::Int64
            };
            ValueInfo::batched(name, element, &[3])
        };
        graph.outputs = outputs.iter().map(output).collect();
        model
    };
    for outputs in [
        &["places"][..],
        &["values"],
        &["values", "places"],
        &["places", "values"],
    ] {
        let said = refused(&top(outputs), &["--yes"]);
        let is = if outputs.len() == 1 && outputs[0] == "places" {
            "the order of labels by their scores (TopK)"
        } else {
            "the largest scores, sorted (TopK)"
        };
        assert!(
            said.contains(is) && said.contains("the scores of all labels"),
            "{outputs:?}: {said}"
        );
    }
    let mut unknown = Node::new("Bucketize", &["a"], "y");
    unknown.name = Some("model/hashing/Bucketize".to_owned());
    let model = network(vec![matmul(10, "a"), unknown], &[("y", &[10])]);
    let said = refused(&model, &["--yes"]);
    for words in [
        "layer \"model/hashing/Bucketize\" is the operator Bucketize,",
        "leave the layer out of the export",
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
}

#[test]
fn probabilities_that_do_not_compete_are_features_at_most() {
    let each = network(
        vec![matmul(10, "a"), Node::new("Sigmoid", &["a"], "y")],
        &[("y", &[10])],
    );
    assert!(refused(&each, &["--yes"]).contains("--family encoder takes the numbers for features"));
    assert!(made(&each, &["--family", "encoder"]).contains("encoder of"));
    // Beside what the most likely of them leaves.
    let nodes = vec![
        matmul(10, "a"),
        Node::new("Softmax", &["a"], "p"),
        Node::new("ReduceMax", &["p", "axis"], "most"),
        Node::new("Sub", &["one", "most"], "rest"),
        Node::new("Concat", &["p", "rest"], "probabilities").with_int("axis", 1),
    ];
    let mut joined = network(nodes, &[("probabilities", &[11])]);
    let graph = joined.graph.as_mut().unwrap();
    graph
        .initializers
        .extend([Tensor::of_ints("axis", &[1]), Tensor::of_scalar("one", 1.0)]);
    let said = refused(&joined, &["--yes"]);
    assert!(said.contains("make its logits of probabilities"), "{said}");
}

/// A generator of pictures [N, 1, 8, 8] from 0 to 1.
fn generator() -> Model {
    let mut graph = Graph::default();
    graph.nodes = vec![
        Node::new("MatMul", &["code", "w"], "a"),
        Node::new("Sigmoid", &["a"], "p"),
        Node::new("Reshape", &["p", "sizes"], "picture"),
    ];
    graph.initializers = vec![weights("w", &[6, 64]), Tensor::of_ints("sizes", &[-1, 1, 8, 8])];
    graph.inputs = vec![ValueInfo::batched("code", ElementType::Float, &[6])];
    graph.outputs = vec![ValueInfo::batched("picture", ElementType::Float, &[1, 8, 8])];
    model(graph)
}

#[test]
fn a_size_that_is_none_is_told_whatever_the_network_takes() {
    let classifier = network(vec![matmul(10, "logits")], &[("logits", &[10])]);
    for model in [generator(), classifier] {
        for size in ["8", "4294967296x4294967296x2"] {
            let report = refused(&model, &["--yes", "--size", size]);
            assert!(report.contains(&format!("{size:?} is no size of images")), "{report}");
        }
    }
}

#[test]
fn what_is_said_of_pictures_wins_over_what_bounds_them() {
    let model = generator();
    for units in ["-1..1", "levels"] {
        let said = format!("pictures={units}");
        let report = imported(&model, &["--yes", "--family", "gan", "--declare", &said]);
        assert!(
            report.contains("between 0 and 1, and they are taken in other units all the same"),
            "{report}"
        );
        assert!(report.contains("drawn from a normal distribution"), "{report}");
    }
    let report = imported(&model, &["--yes", "--family", "gan"]);
    assert!(!report.contains("as was said"), "{report}");
}

#[test]
fn a_density_whose_logits_have_the_sign_turned_is_told() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/imports/grey-copies-signed/model.onnx");
    let model = graph::parse(&fs::read(file).unwrap()).unwrap();
    let warning = "less than if it knew nothing";
    let more = ["--levels", "16", "--input", "-1..1", "--yes"];
    let report = imported(&model, &more);
    assert!(!report.contains(warning), "{report}");
    let ending = |nodes: Vec<Node>| {
        let mut model = model.clone();
        let graph = model.graph.as_mut().unwrap();
        graph.nodes.last_mut().unwrap().outputs[0] = "logits".to_owned();
        graph.initializers.push(Tensor::of_scalar("cap", 30.0));
        graph.nodes.extend(nodes);
        imported(&model, &more)
    };
    let report = ending(vec![Node::new("Neg", &["logits"], "output")]);
    assert!(report.contains(warning), "{report}");
    // Capped as some train it.
    let capped = vec![
        Node::new("Div", &["logits", "cap"], "share"),
        Node::new("Tanh", &["share"], "near"),
        Node::new("Mul", &["near", "cap"], "output"),
    ];
    let report = ending(capped);
    assert!(!report.contains(warning), "{report}");
}

/// A classifier that first takes `mean` from `of`.
fn centred(of: &str, mean: &str) -> Model {
    let mut model = network(vec![matmul(10, "logits")], &[("logits", &[10])]);
    let nodes = &mut model.graph.as_mut().unwrap().nodes;
    nodes[0].inputs[0] = "centred".to_owned();
    nodes.insert(0, Node::new("Sub", &[of, mean], "centred"));
    model
}

#[test]
fn a_network_that_takes_a_mean_of_levels_from_its_input_takes_levels() {
    let mut model = centred("swapped", "means");
    let graph = model.graph.as_mut().unwrap();
    graph.nodes.insert(
        0,
        Node::new("Gather", &["image", "order"], "swapped").with_int("axis", 1),
    );
    let means = Tensor::of_reals("means", &[1, 3, 1, 1], &[103.9, 116.8, 123.7]);
    graph.initializers.extend([Tensor::of_ints("order", &[2, 1, 0]), means]);
    let report = imported(&model, &["--yes"]);
    assert!(report.contains("by 123.7000 itself, so it takes levels"), "{report}");
}

#[test]
fn constants_that_an_exporter_lost_are_told_from_pictures() {
    let mut model = centred("image", "Sub/y:0");
    let graph = model.graph.as_mut().unwrap();
    graph
        .inputs
        .push(ValueInfo::fixed("Sub/y:0", ElementType::Float, &[1, 3, 1, 1]));
    let said = refused(&model, &["--yes"]);
    assert!(said.contains("\"Sub/y:0\" beside its image"), "{said}");
    assert!(said.contains("--saved-model"), "{said}");
}

/// Gives the likely answers one at a time, and looks at how many graphs have been loaded by then.
struct Patient {
    faults: Arc<Faults>,
    answered: Vec<usize>,
    proving: Option<usize>,
}

impl Host for Patient {
    fn answer(&mut self, questions: &[Question]) -> Option<Answers> {
        self.answered.push(self.faults.loads());
        let Question { key, likely, .. } = questions.first()?;
        Some(Answers {
            answers: vec![(key.clone(), likely.clone())],
            are_assumed: false,
        })
    }

    fn images(&mut self, _: &Path, _: ImageShape) -> Result<Vec<Image>, String> {
        Err("there are none".to_owned())
    }

    fn say(&mut self, _: &str) {}

    fn begin(&mut self, work: &str) {
        if work.starts_with("proving") {
            self.proving.get_or_insert(self.faults.loads());
        }
    }
}

#[test]
fn a_graph_is_read_once_however_often_questions_are_asked() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.onnx");
    let nodes = vec![matmul(10, "logits")];
    fs::write(&file, graph::serialize(&network(nodes, &[("logits", &[10])]))).unwrap();
    let faults = Arc::new(Faults::default());
    let registry = Registry::standard();
    let tools = Tools {
        registry: &registry,
        resources: &resources_of(faults.engine(engine()), SchedulerConfig::default()),
        gate: GateSettings::default(),
    };
    let request = Request {
        files: vec![file],
        name: "m".to_owned(),
        repository: folder.path().join("repository"),
        golden: None,
        calibrate: None,
        trained_on: None,
        preprocessing: DecodeOptions::default(),
        origin: Origin::default(),
    };
    let mut host = Patient {
        faults,
        answered: Vec::new(),
        proving: None,
    };
    import_with(&tools, &request, Interview::default(), &mut host).unwrap();
    assert!(!host.answered.is_empty());
    assert!(
        host.answered.iter().all(|&loads| Some(loads) == host.proving),
        "{:?}",
        (host.answered, host.proving)
    );
}

/// Pixels in a row as Keras writes them: embedded by integers of 32 bits that may count from the end, cut along two
/// axes at once, convolved as a picture of one row, and normalised by a pooling over channels.
#[test]
fn pixels_in_a_row_as_keras_has_them_are_drawn_along_wavefronts() {
    let ints = |name: &str, values: &[i64]| Tensor::of_ints(name, values);
    let mut graph = Graph::default();
    graph.nodes = vec![
        Node::new("Reshape", &["image", "row"], "row_of_pixels"),
        Node::new("Mul", &["row_of_pixels", "three"], "scaled"),
        Node::new("Round", &["scaled"], "rounded"),
        Node::new("Cast", &["rounded"], "tokens").with_int("to", INT32),
        Node::new("Cast", &["four_or_none"], "of_levels").with_int("to", INT32),
        Node::new("Slice", &["of_levels", "none", "one"], "four"),
        Node::new("Slice", &["of_levels", "one", "two"], "zero"),
        Node::new("Less", &["tokens", "zero"], "from_end"),
        Node::new("Add", &["tokens", "four"], "counted"),
        Node::new("Where", &["from_end", "counted", "tokens"], "levels"),
        Node::new("Gather", &["table", "levels"], "embedded"),
        Node::new("Squeeze", &["embedded", "two"], "pixels"),
        Node::new("Slice", &["pixels", "starts", "ends", "axes"], "cut"),
        Node::new("Pad", &["cut", "pads"], "padded"),
        Node::new("Unsqueeze", &["padded", "one"], "picture"),
        Node::new("Transpose", &["picture"], "turned").with_ints("perm", &[0, 3, 1, 2]),
        Node::new("Conv", &["turned", "kernel"], "convolved").with_ints("dilations", &[1, 2]),
        Node::new("Squeeze", &["convolved", "two"], "rows"),
        Node::new("Transpose", &["rows"], "last").with_ints("perm", &[0, 2, 1]),
        Node::new("Unsqueeze", &["last", "minus"], "deep"),
        Node::new("GlobalAveragePool", &["deep"], "pooled"),
        Node::new("Squeeze", &["pooled", "minus"], "mean"),
        Node::new("Sub", &["last", "mean"], "centred"),
        Node::new("Relu", &["centred"], "positive"),
        Node::new("MatMul", &["positive", "matrix"], "predicted"),
        Node::new("Reshape", &["predicted", "grid"], "logits"),
    ];
    graph.initializers = vec![
        ints("row", &[-1, 64, 1]),
        ints("starts", &[0, 0]),
        ints("ends", &[i64::MAX, -1]),
        ints("axes", &[0, 1]),
        ints("pads", &[0, 3, 0, 0, 0, 0]),
        ints("none", &[0]),
        ints("one", &[1]),
        ints("two", &[2]),
        ints("minus", &[-1]),
        ints("four_or_none", &[4, 0]),
        Tensor::of_scalar("three", 3.0),
        weights("table", &[4, 6]),
        ints("grid", &[-1, 8, 8, 4]),
        weights("kernel", &[6, 6, 1, 2]),
        weights("matrix", &[6, 4]),
    ];
    graph.inputs = vec![ValueInfo::batched("image", ElementType::Float, &[8, 8, 1])];
    graph.outputs = vec![ValueInfo::batched("logits", ElementType::Float, &[8, 8, 4])];
    let report = made(&model(graph), &["--yes"]);
    assert!(report.contains("pixelcnn of 1×8×8"), "{report}");
    assert!(report.contains("along wavefronts"), "{report}");
}
