//! Which outputs of a classifier's graph are which: the numbers of its labels, and its features.

use crate::{
    families::import::{Mismatch, picture_of_image},
    graph::{protobuf::Graph, surgery},
    import::{
        Problem,
        export::Element,
        features,
        interview::Interview,
        output_activation::{self, OutputActivation as Activation},
        output_range,
        reading::{Given, Reading},
    },
};

/// Outputs that are a row of numbers for each image. Whole numbers are refused: each is that of a label. So is one
/// number beside them, which tells how sure the choice is.
pub(super) fn rows(reading: &Reading) -> Result<Vec<&Given>, Problem> {
    let sizes = |given: &Given| given.sizes.clone().unwrap_or_default();
    // The smallest of several maps is one of them.
    let has_maps = reading
        .gives
        .iter()
        .any(|given| matches!(sizes(given)[..], [_, height, width] if height * width > 1));
    let is_row = |given: &&Given| {
        given.sizes.is_some()
            && match sizes(given)[..] {
                [] | [_] => true,
                [_, 1, 1] => !has_maps,
                _ => false,
            }
    };
    let (rows, chosen_labels): (Vec<&Given>, Vec<&Given>) = reading
        .gives
        .iter()
        .filter(is_row)
        .partition(|given| given.port.element == Element::Real);
    match &chosen_labels[..] {
        [label, ..] if rows.iter().all(|given| given.numbers() <= 1) => Err(choice_of_labels(reading, label)),
        _ => Ok(rows),
    }
}

/// What is wrong with an output that is the choice of a label, or of a few.
pub(super) fn choice_of_labels(reading: &Reading, given: &Given) -> Problem {
    let graph = reading.graph();
    let (_, value) = output_activation::last(graph, &given.port.name);
    let top = surgery::producer(graph, &value).filter(|node| node.op_type() == "TopK");
    let (is, cure) = match top {
        Some(top) if top.outputs.first() == Some(&value) => (
            "the largest scores, sorted (TopK), which do not say of which label each is",
            "export what TopK sorts: the scores of all labels",
        ),
        Some(_) => (
            "the order of labels by their scores (TopK), and not how likely each label is",
            "export what TopK sorts: the scores of all labels",
        ),
        None => (
            "the number of a label, and not how likely each label is",
            "export what its argmax chooses from",
        ),
    };
    Problem::new(&reading.file, format!("{:?} is {is}", given.port.name), cure)
}

/// What is said of one number beside a picture of the image.
pub(super) fn no_flow(file: &str, given: &Given) -> Problem {
    Problem::new(
        file,
        format!(
            "it makes of an image a picture of its size and {} ({:?}), as normalising flows do, which are not served",
            if given.numbers() > 1 {
                "one number for each of it"
            } else {
                "one number"
            },
            given.port.name
        ),
        "export a network that predicts each pixel of those before it, a VAE, or a classifier alone",
    )
}

/// The output of labels among rows of numbers: the one that is named, the one that can only be it, or a question.
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
    let mut heads = heads(reading, rows);
    if heads.iter().any(|given| is_called(given, LABELS)) {
        heads.retain(|given| is_called(given, LABELS));
    }
    if let Some(picture) = picture_of_image(reading) {
        let is_one = |own: &&&Given| own.numbers() <= 1 && own.place != picture.place;
        let of_each = match heads[..] {
            [first, last] if [first, last].iter().all(|own| own.numbers() == picture.numbers()) => Some(last),
            _ => None,
        };
        if let Some(determinant) = heads.iter().find(is_one).copied().or(of_each) {
            return Err(no_flow(&reading.file, determinant).into());
        }
    }
    let (Some(&first), false) = (heads.first(), heads.len() == 1) else {
        return Ok(heads.first().copied());
    };
    let meanings: Vec<String> = heads
        .iter()
        .map(|given| format!("{} numbers for each image", given.numbers().max(1)))
        .collect();
    let names = heads.iter().map(|given| given.port.name.as_str());
    let options: Vec<(&str, &str)> = names.zip(meanings.iter().map(String::as_str)).collect();
    let text = format!(
        "{}: which of its outputs are the numbers of labels? The others are not served",
        reading.file
    );
    let answer = interview.ask("output", text, &options, "");
    Ok(heads
        .into_iter()
        .find(|given| given.port.name == answer)
        .or(Some(first)))
}

/// Parts of names that numbers of labels have.
const LABELS: &[&str] = &["logit", "prob", "class", "label", "softmax", "score"];

fn is_called(given: &Given, parts: &[&str]) -> bool {
    let name = given.port.name.to_lowercase();
    parts.iter().any(|part| name.contains(part))
}

/// Rows that end as numbers of labels do, each once: of logits and what is computed of them, such as probabilities, the
/// latter. All rows that are no features where none ends like that.
fn heads<'a>(reading: &Reading, rows: &[&'a Given]) -> Vec<&'a Given> {
    let is_last = |given: &Given| {
        let source = output_range::made(&reading.model, &given.port.name).source;
        source == Activation::Linear || is_probable(source)
    };
    let own = rows.iter().copied().filter(|given| !features::is_called(given));
    let own: Vec<&Given> = own.collect();
    let of_labels: Vec<&Given> = own.iter().copied().filter(|given| is_last(given)).collect();
    if of_labels.is_empty() {
        return if own.is_empty() { rows.to_vec() } else { own };
    }
    let is_told = |given: &&Given| {
        let mut others = of_labels.iter().filter(|other| other.place != given.place);
        others.any(|other| {
            is_of(reading, other, given) || (other.place < given.place && are_twins(reading, other, given))
        })
    };
    of_labels.iter().copied().filter(|given| !is_told(given)).collect()
}

/// Whether an output is computed of another one.
fn is_of(reading: &Reading, one: &Given, other: &Given) -> bool {
    surgery::is_computed_of(reading.graph(), &one.port.name, &other.port.name)
}

/// Whether outputs are probabilities of the same numbers, such as probabilities and their logarithms.
fn are_twins(reading: &Reading, one: &Given, other: &Given) -> bool {
    let graph = reading.graph();
    let base = |given: &Given| {
        let (activation, value) = output_activation::last(graph, &given.port.name);
        let under = || surgery::producer(graph, &value)?.inputs.first().cloned();
        is_probable(activation).then(under).flatten()
    };
    base(one).is_some() && base(one) == base(other)
}

/// Whether no other output is of the same size, but for what is computed of the same.
pub(super) fn is_alone(reading: &Reading, rows: &[&Given], given: &Given) -> bool {
    let is_other = |row: &&&Given| {
        let is_related = is_of(reading, row, given) || is_of(reading, given, row) || are_twins(reading, row, given);
        row.place != given.place && row.numbers() == given.numbers() && !is_related
    };
    !rows.iter().any(|row| is_other(&row))
}

/// Whether numbers are probabilities, or their logarithms.
fn is_probable(activation: Activation) -> bool {
    matches!(
        activation,
        Activation::Softmax | Activation::LogSoftmax | Activation::Sigmoid
    )
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
    let named = |given: &&Given| match &wanted {
        Some(wanted) => given.port.name == *wanted,
        None => features::is_called(given),
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
