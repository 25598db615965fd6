use super::*;
use crate::{
    domain::image::ImageShape,
    graph::{
        protobuf::{Graph, OperatorSet, ValueInfo},
        wavefront::Predictions,
    },
};

const SIDE: usize = 8;

fn model(nodes: Vec<Node>, initializers: Vec<Tensor>) -> Model {
    Model {
        graph: Some(Graph {
            nodes,
            initializers,
            outputs: vec![ValueInfo::default()],
            ..Graph::default()
        }),
        opset_imports: vec![OperatorSet {
            version: Some(17),
            ..OperatorSet::default()
        }],
        ..Model::default()
    }
}

fn interface(channels: usize) -> Interface<'static> {
    Interface {
        image: "image",
        label: None,
        logits: "logits",
        shape: ImageShape::new(channels, SIDE, SIDE, 2).unwrap(),
        predictions: Predictions::OfChannels(1),
    }
}

fn kernel(name: &str, dims: [i64; 4], weights: &[f32]) -> Tensor {
    Tensor::of_reals(name, &dims, weights)
}

/// Down to half the size and up again. Each kernel of two rows and columns sees what is above and to the left; `shift`
/// moves all down by rows before, so that a picture of half the size sees rows above its own only.
fn strided(shift: i64, last: [f32; 4]) -> Model {
    let nodes = vec![
        Node::new("Pad", &["image", "shift"], "padded"),
        Node::new("Slice", &["padded", "from", "to", "rows"], "shifted"),
        Node::new("Conv", &["shifted", "down"], "half")
            .with_ints("strides", &[2, 2])
            .with_ints("kernel_shape", &[2, 2]),
        Node::new("Elu", &["half"], "active"),
        Node::new("ConvTranspose", &["active", "up"], "whole")
            .with_ints("strides", &[2, 2])
            .with_ints("kernel_shape", &[2, 2]),
        Node::new("Add", &["whole", "one"], "logits"),
    ];
    let weights = vec![
        Tensor::of_ints("shift", &[0, 0, shift, 0, 0, 0, 0, 0]),
        Tensor::of_ints("from", &[0]),
        Tensor::of_ints("to", &[-shift.max(-(SIDE as i64))]),
        Tensor::of_ints("rows", &[2]),
        kernel("down", [2, 1, 2, 2], &[1.0; 8]),
        kernel("up", [2, 1, 2, 2], &[last, [0.0; 4]].concat()),
        Tensor::of_scalar("one", 1.0),
    ];
    model(nodes, weights)
}

#[test]
fn a_strided_network_is_causal_if_all_of_its_windows_are() {
    let interface = interface(1);
    // A block of two by two sees the two rows before it, or one of them and its own first one.
    assert!(is_causal(&strided(2, [1.0; 4]), &interface));
    assert!(!is_causal(&strided(1, [1.0; 4]), &interface));
    // What sees too much is not connected.
    assert!(is_causal(&strided(1, [0.0; 4]), &interface));
    // Only the lower row of each block may see the upper one, but of that all columns.
    assert!(is_causal(&strided(1, [0.0, 0.0, 1.0, 1.0]), &interface));
    assert!(!is_causal(&strided(1, [0.0, 1.0, 1.0, 1.0]), &interface));
}

/// What the only output of a node sees of an image of two channels and eight by eight pixels.
fn seen(node: Node, constants: Vec<Tensor>) -> Option<Dependence> {
    let model = model(vec![node], constants);
    Some((*of_predictions(&model, &interface(2))?).clone())
}

/// The place of a dimension in its order.
fn place(channel: usize, row: usize, column: usize) -> i32 {
    ((row * SIDE + column) * 2 + channel) as i32
}

#[test]
fn what_is_computed_beside_the_picture_is_not_overlooked() {
    let pooled = Node::new("ReduceMax", &["image"], "bias")
        .with_ints("axes", &[0, 2, 3])
        .with_int("keepdims", 0);
    let convolution = |bias: &str| {
        let node = Node::new("Conv", &["image", "k", bias], "logits");
        let constants = vec![
            kernel("k", [2, 2, 1, 1], &[0.0; 4]),
            Tensor::of_channels("none", &[0.0; 2]),
        ];
        of_predictions(&model(vec![pooled.clone(), node], constants), &interface(2))
    };
    assert_eq!(convolution("bias"), None);
    assert!(convolution("none").unwrap().last.iter().all(|&last| last == NOTHING));
}

#[test]
fn what_asks_for_too_much_or_does_not_fit_is_given_up() {
    let node = |operator: &str, inputs: &[&str]| Node::new(operator, inputs, "logits");
    let four = || kernel("k", [3, 2, 1, 1], &[1.0; 6]);
    for huge in [i64::MAX, i64::MIN, 1 << 40] {
        let pads = Tensor::of_ints("pads", &[0, 0, 0, huge, 0, 0, huge, 0]);
        assert_eq!(seen(node("Pad", &["image", "pads"]), vec![pads]), None);
        let shape = Tensor::of_ints("shape", &[huge, 2, 8, 8]);
        assert_eq!(seen(node("Expand", &["image", "shape"]), vec![shape.clone()]), None);
        assert_eq!(seen(node("Reshape", &["image", "shape"]), vec![shape]), None);
        for attribute in ["pads", "strides", "dilations"] {
            for operator in ["Conv", "ConvTranspose"] {
                let sizes: &[i64] = if attribute == "pads" { &[huge; 4] } else { &[huge; 2] };
                let large = node(operator, &["image", "k"]).with_ints(attribute, sizes);
                let wide = kernel("k", [2, 2, 2, 2], &[1.0; 16]);
                let _ = seen(large, vec![wide]);
            }
        }
        let ends = vec![
            Tensor::of_ints("from", &[huge]),
            Tensor::of_ints("to", &[huge]),
            Tensor::of_ints("axes", &[2]),
            Tensor::of_ints("steps", &[-1]),
        ];
        assert_eq!(
            seen(node("Slice", &["image", "from", "to", "axes", "steps"]), ends),
            None
        );
        let split = Tensor::of_ints("split", &[huge, huge]);
        assert_eq!(
            seen(node("Split", &["image", "split"]).with_int("axis", 1), vec![split]),
            None
        );
        assert_eq!(
            seen(node("DepthToSpace", &["image"]).with_int("blocksize", huge), vec![]),
            None
        );
    }
    // Three outputs of two groups.
    assert_eq!(
        seen(node("Conv", &["image", "k"]).with_int("group", 2), vec![four()]),
        None
    );
    assert_eq!(
        seen(node("Conv", &["image", "k"]).with_int("group", 0), vec![four()]),
        None
    );
}

#[test]
fn operators_that_move_numbers_move_what_they_see() {
    let node = |operator: &str, inputs: &[&str]| Node::new(operator, inputs, "logits");
    let back = [
        Tensor::of_ints("from", &[-1]),
        Tensor::of_ints("to", &[i64::MIN]),
        Tensor::of_ints("axes", &[3]),
        Tensor::of_ints("steps", &[-3]),
    ];
    let sliced = seen(node("Slice", &["image", "from", "to", "axes", "steps"]), back.to_vec()).unwrap();
    assert_eq!(sliced.dims, [1, 2, 8, 3]);
    assert_eq!(sliced.last[..3], [place(0, 0, 7), place(0, 0, 4), place(0, 0, 1)]);
    let turned = seen(node("Transpose", &["image"]).with_ints("perm", &[0, 2, 3, 1]), vec![]).unwrap();
    assert_eq!(turned.dims, [1, 8, 8, 2]);
    assert!(turned.last.iter().copied().eq(0..128));
    let apart = seen(node("SpaceToDepth", &["image"]).with_int("blocksize", 4), vec![]).unwrap();
    assert_eq!(apart.dims, [1, 32, 2, 2]);
    assert_eq!(apart.last[4 * 3 + 1], place(1, 0, 5));
    let picked = seen(
        node("Gather", &["image", "second"]).with_int("axis", 1),
        vec![Tensor::of_ints("second", &[1])],
    );
    assert_eq!(picked.unwrap().last[9], place(1, 1, 1));
    let open = vec![Tensor::of_ints("shape", &[0, -1, 4])];
    assert_eq!(
        seen(node("Reshape", &["image", "shape"]), open).unwrap().dims,
        [1, 32, 4]
    );
    assert_eq!(seen(node("Sliced", &["image"]), vec![]), None);
}

#[test]
fn operators_that_mix_numbers_see_the_last_of_them() {
    let node = |operator: &str, inputs: &[&str]| Node::new(operator, inputs, "logits");
    let pooled = node("MaxPool", &["image"])
        .with_ints("kernel_shape", &[3, 3])
        .with_ints("strides", &[2, 2])
        .with_ints("pads", &[1, 1, 1, 1]);
    let pooled = seen(pooled, vec![]).unwrap();
    assert_eq!(pooled.dims, [1, 2, 4, 4]);
    assert_eq!(pooled.last[..2], [place(0, 1, 1), place(0, 1, 3)]);
    let soft = seen(node("Softmax", &["image"]).with_int("axis", 1), vec![]).unwrap();
    assert_eq!(soft.last[5], place(1, 0, 5));
    let all = seen(node("ReduceMean", &["image"]).with_int("keepdims", 0), vec![]).unwrap();
    assert_eq!((all.dims.len(), all.last[0]), (0, 127));
    // Groups keep channels apart.
    let depthwise = node("Conv", &["image", "k"]).with_int("group", 2);
    let depthwise = seen(depthwise, vec![kernel("k", [2, 1, 1, 2], &[1.0, 0.0, 0.0, 1.0])]).unwrap();
    assert_eq!(depthwise.dims, [1, 2, 8, 7]);
    assert_eq!(
        (depthwise.last[0], depthwise.last[56]),
        (place(0, 0, 0), place(1, 0, 1))
    );
    let matrix = Tensor::of_reals("m", &[8, 1], &[0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    let product = seen(node("MatMul", &["image", "m"]), vec![matrix]).unwrap();
    assert_eq!((product.dims.len(), product.last[1]), (4, place(0, 1, 2)));
    let mask = Tensor::of_reals("mask", &[2, 1, 1], &[1.0, 0.0]);
    let masked = seen(node("Mul", &["mask", "image"]), vec![mask]).unwrap();
    assert_eq!((masked.last[3], masked.last[64]), (place(0, 0, 3), NOTHING));
}
