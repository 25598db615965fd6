//! Which graphs are classifiers: those that give a number for each label of an image.

use crate::{
    detection::evidence::log_posterior,
    domain::image::Image,
    families::import::{
        Certainty, Golden, Levels, Mismatch, Plan, alone, labels_of, levels_count, levels_of, of_images,
        picture_of_image,
    },
    graph::{convert::Step, protobuf::Graph, surgery},
    import::{
        Problem,
        canonical::{Canonical, Op},
        export::Element,
        interview::Interview,
        output_activation::{self, OutputActivation},
        reading::{Given, Reading},
        trial_images,
    },
};

/// Log-odds beyond this for whatever image are none.
const CERTAIN: f32 = 40.0;

/// What the numbers of labels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Units {
    Logits,
    Probabilities,
    /// The log-odds of the second of two labels.
    LogOdds,
    /// The probability of the second of two labels.
    Probability,
}

pub(super) fn import<'a>(brought: &'a [Reading], interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
    let reading = alone(brought)?;
    let other = |reason: &str| Err(Mismatch::Other(reason.to_owned()));
    let Some((taken, form)) = reading.image() else {
        return other("it takes images");
    };
    if reading.label().is_some() {
        return other("it gives labels, and takes none");
    }
    let is_row = |given: &&Given| {
        let sizes = given.sizes.as_deref().unwrap_or_default();
        matches!(sizes, [] | [_] | [_, 1, 1]) && given.sizes.is_some()
    };
    // A whole number is that of a label, and says nothing of how likely it is.
    let (rows, chosen_labels): (Vec<&Given>, Vec<&Given>) = reading
        .gives
        .iter()
        .filter(is_row)
        .partition(|given| given.port.element == Element::Real);
    if let ([], [label, ..]) = (&rows[..], &chosen_labels[..]) {
        return Err(number_of_a_label(&reading.file, label).into());
    }
    let Some(given) = chosen(reading, &rows, interview)? else {
        return other("it gives a row of numbers for each image, one for each label");
    };
    let count = given.numbers().max(1);
    let (last, value) = output_activation::last(reading.graph(), &given.port.name);
    let (mut ops, mut notes, mut declared) = (Vec::new(), Vec::new(), Vec::new());
    let file = &reading.file;
    if last == OutputActivation::Sigmoid && count > 1 {
        return Err(Problem::new(
            file,
            format!(
                "{:?} is {count} probabilities, each of its own: labels that do not compete are not classified between",
                given.port.name
            ),
            "export one label at a time, or the network with a softmax",
        )
        .into());
    }
    if last == OutputActivation::Place {
        return Err(number_of_a_label(file, given).into());
    }
    let units = match (last, interview.given("logits").as_deref(), count) {
        (OutputActivation::Sigmoid, _, 1) => {
            notes.push(format!(
                "{file}: its sigmoid is taken off; one number becomes logits of two labels"
            ));
            // Whatever they look like.
            declared.push("logits = \"logits\"".to_owned());
            ops.push(Op::Without(value));
            Units::Probability
        }
        (_, _, 1) => {
            interview.note(&format!(
                "{file}: the one number that it gives of each image is the log-odds of the second of two labels; a \
                 log-likelihood, an energy or the judgement of a critic would be none"
            ));
            Units::LogOdds
        }
        (OutputActivation::Softmax, _, _) => {
            notes.push(format!(
                "{file}: its softmax is taken off, since posteriors are made of logits"
            ));
            // Whatever they look like.
            declared.push("logits = \"logits\"".to_owned());
            ops.push(Op::Without(value));
            Units::Probabilities
        }
        (_, Some("probabilities"), _) => Units::Probabilities,
        (_, Some(_), _) => {
            declared.push("logits = \"logits\"".to_owned());
            Units::Logits
        }
        _ => Units::Logits,
    };
    let is_flat = given.sizes.as_ref().is_some_and(|sizes| sizes.len() == 1);
    if !is_flat {
        // A number for each image without an axis of its own gets one as well.
        ops.push(Op::Flatten);
    }
    if count == 1 {
        ops.push(Op::TwoLogits);
    } else if units == Units::Probabilities && last != OutputActivation::Softmax {
        ops.push(Op::Convert(vec![Step::Log]));
    }
    let labels = count.max(2);
    let is_flow = count == 1 && picture_of_image(reading).is_some();
    if is_flow {
        return Err(Problem::new(
            file,
            format!(
                "it makes of an image a picture of its size and one number ({:?}), as normalising flows do, which are \
                 not served",
                given.port.name
            ),
            "export a network that predicts each pixel of those before it, a VAE, or a classifier alone",
        )
        .into());
    }
    let labelled = labels_of(file, Some(labels), interview)?;
    let levels = levels_of(reading, (taken, form), levels_count(interview)?, false, interview)?;
    if units == Units::LogOdds {
        let rows = of_images(reading, &levels, &trial_images::made_up(levels.shape), &[], given.place)?;
        let numbers: Vec<f32> = rows.iter().flatten().copied().collect();
        let is_sure = |sign: f32| numbers.iter().all(|&number| sign * number > CERTAIN);
        if is_sure(1.0) || is_sure(-1.0) {
            return Err(Problem::new(
                file,
                format!(
                    "the one number that it gives of each image ({:?}, such as {:.1}) is no log-odds of two labels, \
                     and a log-likelihood, an energy or the judgement of a critic is not served",
                    given.port.name, numbers[0]
                ),
                "export what the number is made of: predictions of every pixel, or encoder and decoder",
            )
            .into());
        }
    }
    let mut graph = Canonical::of(reading);
    graph.image("image", taken);
    let mut features = "";
    if let Some((name, onnx_type, size)) = features_of(reading, given, interview) {
        notes.push(format!("{file}: features are {name:?}, {size} numbers for each image"));
        let ops = [Op::Flatten];
        graph.output((&name, onnx_type), "features", &ops, &[size]);
        features = "features = \"features\"\n";
    }
    graph.output((&given.port.name, given.port.onnx_type), "logits", &ops, &[labels]);
    let tables = format!(
        "{}\n[graphs.logits]\nfile = \"model.onnx\"\ninput = \"image\"\noutput = \"logits\"\n{features}{}",
        levels.table(),
        labelled.table
    );
    // Two rows of one size are mean and spread rather than labels.
    let is_alone = rows.iter().filter(|row| row.numbers() == given.numbers()).count() == 1;
    let certainty = if !is_alone {
        Certainty::Possible
    } else if matches!(
        last,
        OutputActivation::Softmax | OutputActivation::LogSoftmax | OutputActivation::Sigmoid
    ) {
        Certainty::Certain
    } else {
        Certainty::Likely
    };
    Ok(Plan {
        certainty,
        shape: levels.shape,
        graphs: vec![("model.onnx", graph.finish())],
        tables,
        declared,
        golden: golden(reading, levels, given.place, units, labels),
        statistic: None,
        notes,
    })
}

/// What is wrong with an output that is the choice of a label.
fn number_of_a_label(file: &str, given: &Given) -> Problem {
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
fn chosen<'a>(reading: &Reading, rows: &[&'a Given], interview: &mut Interview) -> Result<Option<&'a Given>, Mismatch> {
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
fn features_of(reading: &Reading, logits: &Given, interview: &mut Interview) -> Option<(String, i32, usize)> {
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

/// log p(label | image) of every label.
fn golden(reading: &Reading, levels: Levels, place: usize, units: Units, labels: usize) -> Golden<'_> {
    let numbers = move |images: &[Image]| {
        let rows = of_images(reading, &levels, images, &[], place)?;
        let posterior = |row: &Vec<f32>| -> Vec<f64> {
            match units {
                Units::Logits => log_posterior(row),
                Units::LogOdds => log_posterior(&[0.0, row[0]]),
                Units::Probability => {
                    let p = f64::from(row[0]);
                    vec![(1.0 - p).max(1e-7).ln(), p.max(1e-7).ln()]
                }
                Units::Probabilities => {
                    let total: f64 = row.iter().map(|&p| f64::from(p)).sum();
                    row.iter().map(|&p| (f64::from(p) / total).ln()).collect()
                }
            }
        };
        Ok(rows.iter().flat_map(posterior).collect())
    };
    Golden::OfImages {
        labels: Some(labels),
        numbers: Box::new(numbers),
        log_prior: Vec::new(),
    }
}
