//! What an exported encoder gives of the posterior over codes.

use std::collections::HashSet;

use super::{applied, is_called};
use crate::{
    domain::image::Image,
    families::{
        gate::units::SPREADS,
        import::{Levels, Mismatch, of_images},
        vae::network,
    },
    graph::{convert::Step, protobuf::Graph, weights},
    import::{
        Problem,
        canonical::{Canonical, Op},
        interview::Interview,
        output_activation::{self, OutputActivation},
        output_range,
        reading::{Given, Reading},
        split,
    },
};

/// An output, and which of its numbers.
type Place<'a> = (&'a Given, Option<(usize, usize)>);

/// An encoder that was understood.
#[derive(Debug)]
pub(super) struct Posterior<'a> {
    reading: &'a Reading,
    mean: Place<'a>,
    spread: Place<'a>,
    size: usize,
    /// What makes log σ² of the numbers of the export.
    steps: Vec<Step>,
    /// What makes it in the graph that is written.
    ops: Vec<Op>,
    /// Lines of `[declared]`.
    pub(super) declared: Vec<String>,
}

impl<'a> Posterior<'a> {
    /// The posterior over codes of `size` numbers, if an encoder gives one.
    pub(super) fn of(reading: &'a Reading, size: usize, interview: &mut Interview) -> Result<Option<Self>, Mismatch> {
        let Some((mean, spread)) = places(reading, size, interview) else {
            return Ok(None);
        };
        let mut declared = Vec::new();
        let (steps, ops) = log_variance(reading, spread.0, interview, &mut declared)?;
        Ok(Some(Self {
            reading,
            mean,
            spread,
            size,
            steps,
            ops,
            declared,
        }))
    }

    /// Why mean and spread may be two heads of a classifier, if one has more layers of its own than the other, as the
    /// main head has beside an auxiliary one.
    pub(super) fn doubt(&self) -> Option<String> {
        let (mean, spread) = (&self.mean.0.port.name, &self.spread.0.port.name);
        let [first, second] = [mean, spread].map(|name| layers_before(self.reading.graph(), name));
        let own = |all: &HashSet<usize>, others: &HashSet<usize>| all.difference(others).count();
        (own(&first, &second) != own(&second, &first)).then(|| {
            format!(
                "Its two rows of {} numbers for each image ({mean:?} and {spread:?}) may be mean and spread of a code, \
                 or logits of a classifier and of its auxiliary head, since one is made by more layers than the \
                 other, and no name tells. Say --family vae if they are of a code; of a classifier, export what it \
                 gives in the end alone",
                self.size
            )
        })
    }

    /// Size of the code.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The outputs of `graph`.
    pub(super) fn write(&self, graph: &mut Canonical) {
        for (name, (given, part), ops) in [
            ("mean", self.mean, &[][..]),
            ("log_variance", self.spread, &self.ops[..]),
        ] {
            let (mut own, rest): (Vec<Op>, Vec<Op>) = ops.iter().cloned().partition(|op| matches!(op, Op::Without(_)));
            own.push(Op::Flatten);
            own.extend(part.map(|(start, end)| Op::Part { start, end }));
            own.extend(rest);
            graph.output((&given.port.name, given.port.onnx_type), name, &own, &[self.size]);
        }
    }

    /// What the graph gives of images, by running it as it was exported.
    pub(super) fn run(&self, levels: &Levels, images: &[Image]) -> Result<Vec<network::Posterior>, Problem> {
        let of = |(given, part): Place<'_>| -> Result<Vec<Vec<f32>>, Problem> {
            let rows = of_images(self.reading, levels, images, &[], given.place)?;
            Ok(match part {
                Some((start, end)) => rows.into_iter().map(|row| row[start..end].to_vec()).collect(),
                None => rows,
            })
        };
        let both = of(self.mean)?.into_iter().zip(of(self.spread)?);
        let posterior = |(mean, spread): (Vec<f32>, Vec<f32>)| network::Posterior {
            mean,
            log_variance: spread.into_iter().map(|value| applied(&self.steps, value)).collect(),
        };
        Ok(both.map(posterior).collect())
    }
}

/// Layers with weights that a value is made by, each by its place in the graph.
fn layers_before(graph: &Graph, value: &str) -> HashSet<usize> {
    let mut wanted = HashSet::from([value]);
    let mut layers = HashSet::new();
    for (place, node) in graph.nodes.iter().enumerate().rev() {
        if !node.outputs.iter().any(|output| wanted.contains(output.as_str())) {
            continue;
        }
        if weights::LINEAR.contains(&node.op_type()) {
            layers.insert(place);
        }
        wanted.extend(node.inputs.iter().map(String::as_str));
    }
    layers
}

/// The size of the code of an encoder without its decoder: that of two rows, of which one is called like a spread.
pub(super) fn size_alone(reading: &Reading, is_wanted: bool) -> Option<(usize, bool)> {
    let is_row = |given: &&Given| {
        let (last, _) = output_activation::last(reading.graph(), &given.port.name);
        // Probabilities are neither a mean nor a spread.
        let is_probable = matches!(last, OutputActivation::Softmax | OutputActivation::LogSoftmax);
        !is_probable && given.sizes.as_ref().is_some_and(|sizes| !sizes.is_empty()) && given.numbers() > 0
    };
    let rows: Vec<&Given> = reading.gives.iter().filter(is_row).collect();
    let alike = rows.iter().find_map(|first| {
        let own: Vec<&&Given> = rows.iter().filter(|other| other.numbers() == first.numbers()).collect();
        let is_named = own.iter().any(|given| is_called(given, SPREAD));
        // Mean and variance of one number may as well be those of an age.
        (own.len() >= 2).then_some((first.numbers(), is_named && first.numbers() > 1))
    });
    let joined = || {
        let [only] = rows[..] else { return None };
        (is_wanted && only.numbers().is_multiple_of(2)).then_some((only.numbers() / 2, false))
    };
    alike.or_else(joined)
}

/// Words in names of spreads.
const SPREAD: &[&str] = &["var", "std", "sigma", "scale", "deviation"];

/// The outputs of an encoder that are the posterior.
fn places<'a>(encoder: &'a Reading, size: usize, interview: &mut Interview) -> Option<(Place<'a>, Place<'a>)> {
    // A draw from the posterior is needed by nobody: the server draws itself.
    let is_draw = |given: &&Given| ["z", "sample", "latent", "code"].contains(&given.port.name.to_lowercase().as_str());
    let own: Vec<&Given> = encoder.gives.iter().filter(|given| given.numbers() == size).collect();
    let rest: Vec<&Given> = own.iter().copied().filter(|given| !is_draw(given)).collect();
    let own = if rest.len() >= 2 { rest } else { own };
    if let [first, second, ..] = own[..] {
        let is_spread = |given: &Given| is_called(given, SPREAD);
        let (mean, spread) = if is_spread(first) && !is_spread(second) {
            (second, first)
        } else {
            (first, second)
        };
        return Some(((mean, None), (spread, None)));
    }
    let both = encoder.gives.iter().find(|given| given.numbers() == 2 * size)?;
    let likely = if is_spread_first(&both.port.name) {
        "mean-last"
    } else {
        "mean-first"
    };
    let order = interview.ask(
        "posterior",
        format!(
            "{}: which half of {:?} is the mean of the posterior?",
            encoder.file, both.port.name
        ),
        &[("mean-first", "the first"), ("mean-last", "the second")],
        likely,
    );
    let (mean, spread) = if order == "mean-last" {
        ((size, 2 * size), (0, size))
    } else {
        ((0, size), (size, 2 * size))
    };
    Some(((both, Some(mean)), (both, Some(spread))))
}

/// Whether a name of both tells the spread before the mean: `logvar_mu`.
fn is_spread_first(name: &str) -> bool {
    let name = name.to_lowercase();
    let place = |words: &[&str]| words.iter().filter_map(|word| name.find(word)).min();
    match (place(SPREAD), place(&["mu", "mean", "loc"])) {
        (Some(spread), Some(mean)) => spread < mean,
        _ => false,
    }
}

/// What makes log σ² of what the encoder gives: of its numbers, and in its graph.
fn log_variance(
    encoder: &Reading,
    given: &Given,
    interview: &mut Interview,
    declared: &mut Vec<String>,
) -> Result<(Vec<Step>, Vec<Op>), Mismatch> {
    let (last, value) = output_activation::last(encoder.graph(), &given.port.name);
    let is_log = is_called(given, &["log", "lv"]);
    let of_name = if is_called(given, &["var"]) {
        Some(if is_log { "log-variance" } else { "variance" })
    } else if is_called(given, &["std", "sigma", "scale", "dev"]) {
        Some(if is_log { "log-deviation" } else { "deviation" })
    } else {
        None
    };
    let is_positive = output_range::made(&encoder.model, &given.port.name).is_positive();
    // A name that contradicts the operators says nothing.
    let of_name = of_name.filter(|name| is_positive != name.starts_with("log"));
    let likely = of_name.unwrap_or(if is_positive { "deviation" } else { "log-variance" });
    let is_multiplied = given.port.name == split::DEVIATION;
    let what = match interview.given("log_variance") {
        // What the graph multiplies noise by is the deviation, whatever anybody says.
        _ if is_multiplied => "deviation".to_owned(),
        Some(answer) => {
            if answer == "log-variance" && interview.is_insisted("log_variance") {
                declared.push("log_variance = \"log-variance\"".to_owned());
            }
            answer
        }
        None if last == OutputActivation::ExpOfHalf => "deviation".to_owned(),
        None if of_name.is_some() => likely.to_owned(),
        None => {
            let text = format!(
                "{}: what is {:?}, the spread of the posterior?",
                encoder.file, given.port.name
            );
            interview.ask("log_variance", text, &SPREADS, likely)
        }
    };
    if is_multiplied {
        // Read off the graph, so that it is known, whatever it looks like.
        declared.push("log_variance = \"log-variance\"".to_owned());
    }
    let steps = match what.as_str() {
        "log-variance" => vec![],
        "variance" => vec![Step::Log],
        "log-deviation" => vec![Step::Times(2.0)],
        "deviation" => vec![Step::Log, Step::Times(2.0)],
        other => {
            let words: Vec<&str> = SPREADS.iter().map(|option| option.0).collect();
            let wrong = format!("{other:?} is none of the spreads");
            let cure = format!("say one of {}", words.join(", "));
            return Err(Problem::new("--declare log_variance", wrong, cure).into());
        }
    };
    // Where a logarithm would undo an exponential, neither is computed.
    let mut ops = Vec::new();
    let mut written = &steps[..];
    if last == OutputActivation::Exp && steps.first() == Some(&Step::Log) {
        ops.push(Op::Without(value));
        written = &steps[1..];
    }
    if !written.is_empty() {
        ops.push(Op::Convert(written.to_vec()));
    }
    Ok((steps, ops))
}
