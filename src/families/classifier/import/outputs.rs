//! Which outputs of a classifier's graph are which: the numbers of its labels, and its features.

use crate::{
    families::import::Mismatch,
    graph::{protobuf::Graph, surgery},
    import::{
        Problem,
        export::Element,
        interview::Interview,
        reading::{Given, Reading},
    },
};

/// Outputs that are a row of numbers for each image. Whole numbers are refused: each is that of a label.
pub(super) fn rows(reading: &Reading) -> Result<Vec<&Given>, Problem> {
    let is_row = |given: &&Given| {
        let sizes = given.sizes.as_deref();
        sizes.is_some_and(|sizes| matches!(sizes, [] | [_] | [_, 1, 1]))
    };
    let (rows, chosen_labels): (Vec<&Given>, Vec<&Given>) = reading
        .gives
        .iter()
        .filter(is_row)
        .partition(|given| given.port.element == Element::Real);
    match (&rows[..], &chosen_labels[..]) {
        ([], [label, ..]) => Err(number_of_a_label(&reading.file, label)),
        _ => Ok(rows),
    }
}

/// What is wrong with an output that is the choice of a label.
pub(super) fn number_of_a_label(file: &str, given: &Given) -> Problem {
    Problem::new(
        file,
        format!(
            "{:?} is the number of a label, and not how likely each label is",
            given.port.name
        ),
        "export what its argmax chooses from",
    )
}

/// The output of labels among rows of numbers: the one that is named, or called like it, or the shortest.
pub(super) fn chosen<'a>(
    reading: &Reading,
    rows: &[&'a Given],
    interview: &mut Interview,
) -> Result<Option<&'a Given>, Mismatch> {
    if let Some(name) = interview.given("output") {
        let found = rows.iter().find(|given| given.port.name == name);
        let names: Vec<&str> = rows.iter().map(|given| given.port.name.as_str()).collect();
        return found.copied().map(Some).ok_or_else(|| {
            let what = format!("{name:?} is no row of numbers of {}", reading.file);
            Problem::new("--declare output", what, format!("say one of {}", names.join(", "))).into()
        });
    }
    let called = |given: &&&Given| {
        let name = given.port.name.to_lowercase();
        ["logit", "prob", "class", "label", "softmax", "score"]
            .iter()
            .any(|word| name.contains(word))
    };
    let shortest = || rows.iter().min_by_key(|given| (given.numbers(), given.place));
    Ok(rows.iter().find(called).or_else(shortest).copied())
}

/// Features: another output that is called so, or what the last layer makes the numbers of labels of.
pub(super) fn features_of(
    reading: &Reading,
    logits: &Given,
    interview: &mut Interview,
) -> Option<(String, i32, usize)> {
    let wanted = interview.given("features");
    if wanted.as_deref() == Some("none") {
        return None;
    }
    let named = |given: &&Given| {
        let name = given.port.name.to_lowercase();
        match &wanted {
            Some(wanted) => given.port.name == *wanted,
            None => ["feature", "embed", "pool", "hidden", "penultimate"]
                .iter()
                .any(|word| name.contains(word)),
        }
    };
    let mut others = reading
        .gives
        .iter()
        .filter(|given| given.place != logits.place && given.numbers() > 0);
    if let Some(given) = others.find(named) {
        return Some((given.port.name.clone(), given.port.onnx_type, given.numbers()));
    }
    let (name, size) = last_layer(reading.graph(), &logits.port.name)?;
    Some((name, 1, size))
}

/// What the last linear layer before an output reads, and how many numbers that is.
fn last_layer(graph: &Graph, output: &str) -> Option<(String, usize)> {
    let mut value = output.to_owned();
    loop {
        let node = surgery::producer(graph, &value)?;
        let held = |name: &String| graph.initializers.iter().find(|tensor| tensor.name() == name);
        let input = node.inputs.first()?;
        // What a linear classifier reads is the image itself.
        surgery::producer(graph, input)?;
        match node.op_type() {
            "Gemm" => {
                let weight = held(node.inputs.get(1)?)?;
                let axis = usize::from(node.int("transB", 0) != 0);
                return Some((input.clone(), usize::try_from(*weight.dims.get(axis)?).ok()?));
            }
            "MatMul" => {
                let weight = held(node.inputs.get(1)?)?;
                return Some((input.clone(), usize::try_from(*weight.dims.first()?).ok()?));
            }
            "Softmax" | "LogSoftmax" | "Sigmoid" | "Add" | "Identity" | "Reshape" | "Flatten" | "Squeeze" | "Cast" => {
                value.clone_from(input);
            }
            _ => return None,
        }
    }
}
