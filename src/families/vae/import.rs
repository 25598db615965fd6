//! Which graphs are a VAE: an encoder that gives a posterior over codes, and a decoder of a distribution over images.

use crate::{
    domain::{image::Image, likelihood},
    families::import::{
        Certainty, Golden, Levels, Mismatch, Pictures, Plan, coded, levels_count, levels_of, of_images, pair,
        pictures_of, units_of_pictures,
    },
    graph::convert::Step,
    import::{
        Problem,
        canonical::{Canonical, Op},
        interview::Interview,
        reading::{Given, Reading},
        tail::{self, Last},
    },
};

/// What stands for a spread, and what makes its logarithm of it in the wanted power.
#[derive(Debug, Clone)]
struct Spread {
    /// What is done in the graph.
    ops: Vec<Op>,
    /// What is done to the numbers that the export gives.
    steps: Vec<Step>,
}

/// Where mean and spread of the posterior are.
struct Posterior<'a> {
    mean: (&'a Given, Option<(usize, usize)>),
    spread: (&'a Given, Option<(usize, usize)>),
}

pub(super) fn import<'a>(brought: &'a [Reading], interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
    let (encoder, decoder) = pair(brought)?;
    let (Some((taken, form)), Some((code, size))) = (encoder.image(), decoder.code()) else {
        return Err(Mismatch::Other("it takes images and codes".to_owned()));
    };
    let other = |reason: String| Err(Mismatch::Other(reason));
    if decoder.label().is_some() || encoder.label().is_some() {
        return other("it is not given labels".to_owned());
    }
    let Some(posterior) = posterior(encoder, size, interview) else {
        return other(format!(
            "its encoder gives mean and log-variance of a posterior over codes of {size} numbers, in two outputs or in \
             one"
        ));
    };
    let outputs = pictures_of(decoder, Some(form), interview);
    let [first, second] = outputs[..] else {
        return other(format!(
            "its decoder gives mean and log-scale of every dimension, two pictures, and this one gives {}",
            outputs.len()
        ));
    };
    let is_spread = |given: &Given| is_called(given, &["scale", "log", "std", "sigma", "var"]);
    let (mean, scale) = if is_spread(first.0) && !is_spread(second.0) {
        (second, first)
    } else {
        (first, second)
    };
    let count = levels_count(interview)?;
    let (units, declared) = units_of_pictures(decoder, mean.0, count, interview);
    let levels = levels_of(encoder, (taken, form), count, units == (0.5, 0.5), interview)?;
    let pictures = Pictures {
        arrangement: mean.2,
        shape: levels.shape,
        scale: units,
    };
    let mut declared: Vec<String> = declared.into_iter().collect();
    let variance = variance(encoder, posterior.spread.0, interview, &mut declared)?;
    let mut log_scale = log_scale(decoder, scale.0, interview, &mut declared)?;
    if units.0 != 1.0 {
        // In units that go so much further it is so much wider.
        let wider = Step::Plus(units.0.ln());
        log_scale.ops.push(Op::Convert(vec![wider]));
        log_scale.steps.push(wider);
    }
    let mut first = Canonical::of(encoder);
    first.image("image", taken);
    for (name, (given, part), ops) in [
        ("mean", posterior.mean, &[][..]),
        ("log_variance", posterior.spread, &variance.ops[..]),
    ] {
        let mut own: Vec<Op> = ops.iter().filter(|op| matches!(op, Op::Without(_))).cloned().collect();
        own.push(Op::Flatten);
        own.extend(part.map(|(start, end)| Op::Part { start, end }));
        own.extend(ops.iter().filter(|op| !matches!(op, Op::Without(_))).cloned());
        first.output((&given.port.name, given.port.onnx_type), name, &own, &[size]);
    }
    let mut second = Canonical::of(decoder);
    second.code("code", code);
    let sizes = pictures.sizes();
    let name = (mean.0.port.name.as_str(), mean.0.port.onnx_type);
    second.output(name, "mean", &pictures.ops(), &sizes);
    let arranged = [Op::Arrange(scale.2, sizes.clone())];
    let (without, rest): (Vec<Op>, Vec<Op>) = log_scale
        .ops
        .iter()
        .cloned()
        .partition(|op| matches!(op, Op::Without(_)));
    let ops = [without, arranged.to_vec(), rest].concat();
    second.output((&scale.0.port.name, scale.0.port.onnx_type), "log_scale", &ops, &sizes);
    let tables = format!(
        "{}\n[graphs.encoder]\nfile = \"encoder.onnx\"\ninput = \"image\"\nmean = \"mean\"\nlog_variance = \
         \"log_variance\"\n\n[graphs.decoder]\nfile = \"decoder.onnx\"\ninput = \"code\"\nmean = \"mean\"\nlog_scale = \
         \"log_scale\"\n\n[latent]\nsize = {size}\n\n[likelihood]\nhead = \"discretized-logistic\"\n",
        levels.table()
    );
    let shape = levels.shape;
    let golden = Bound {
        encoder,
        decoder,
        levels,
        mean: (posterior.mean.0.place, posterior.mean.1),
        spread: (posterior.spread.0.place, posterior.spread.1),
        variance: variance.steps,
        picture: mean.0.place,
        scale: scale.0.place,
        pictures,
        arrangement: scale.2,
        log_scale: log_scale.steps,
    };
    Ok(Plan {
        certainty: Certainty::Certain,
        shape,
        graphs: vec![("encoder.onnx", first.finish()), ("decoder.onnx", second.finish())],
        tables,
        declared,
        golden: Golden::OfImages {
            labels: None,
            numbers: Box::new(move |images: &[Image]| golden.at_mean(images)),
            log_prior: Vec::new(),
        },
        statistic: Some(super::STATISTIC),
        notes: Vec::new(),
    })
}

fn is_called(given: &Given, words: &[&str]) -> bool {
    let name = given.port.name.to_lowercase();
    words.iter().any(|word| name.contains(word))
}

/// The outputs of an encoder that are the posterior.
fn posterior<'a>(encoder: &'a Reading, size: usize, interview: &mut Interview) -> Option<Posterior<'a>> {
    // A draw from the posterior is needed by nobody: the server draws itself.
    let is_draw = |given: &&Given| ["z", "sample", "latent", "code"].contains(&given.port.name.to_lowercase().as_str());
    let own: Vec<&Given> = encoder.gives.iter().filter(|given| given.numbers() == size).collect();
    let rest: Vec<&Given> = own.iter().copied().filter(|given| !is_draw(given)).collect();
    let own = if rest.len() >= 2 { rest } else { own };
    if let [first, second, ..] = own[..] {
        let is_spread = |given: &Given| is_called(given, &["var", "std", "sigma", "scale"]);
        let (mean, spread) = if is_spread(first) && !is_spread(second) {
            (second, first)
        } else {
            (first, second)
        };
        return Some(Posterior {
            mean: (mean, None),
            spread: (spread, None),
        });
    }
    let both = encoder.gives.iter().find(|given| given.numbers() == 2 * size)?;
    let order = interview.ask(
        "posterior",
        format!(
            "{}: which half of {:?} is the mean of the posterior?",
            encoder.file, both.port.name
        ),
        &[("mean-first", "the first"), ("mean-last", "the second")],
        "mean-first",
    );
    let (mean, spread) = if order == "mean-last" {
        ((size, 2 * size), (0, size))
    } else {
        ((0, size), (size, 2 * size))
    };
    Some(Posterior {
        mean: (both, Some(mean)),
        spread: (both, Some(spread)),
    })
}

/// What the spread of the posterior is.
fn variance(
    encoder: &Reading,
    given: &Given,
    interview: &mut Interview,
    declared: &mut Vec<String>,
) -> Result<Spread, Mismatch> {
    const OPTIONS: [(&str, &str); 4] = [
        ("log-variance", "log σ²"),
        ("variance", "σ²"),
        ("log-deviation", "log σ"),
        ("deviation", "σ"),
    ];
    let (last, value) = tail::last(encoder.graph(), &given.port.name);
    let name = given.port.name.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let is_log = has(&["log", "lv"]);
    let of_name = if has(&["var"]) {
        Some(if is_log { "log-variance" } else { "variance" })
    } else if has(&["std", "sigma", "scale", "dev"]) {
        Some(if is_log { "log-deviation" } else { "deviation" })
    } else {
        None
    };
    let is_positive = matches!(last, Last::Exp | Last::Softplus | Last::ExpOfHalf);
    // A name that contradicts the operators says nothing.
    let of_name = of_name.filter(|name| is_positive != name.starts_with("log"));
    let likely = of_name.unwrap_or(if is_positive { "deviation" } else { "log-variance" });
    let what = match interview.given("log_variance") {
        Some(answer) => {
            if answer == "log-variance" {
                declared.push("log_variance = \"log-variance\"".to_owned());
            }
            answer
        }
        None if last == Last::ExpOfHalf => "deviation".to_owned(),
        None if of_name.is_some() => likely.to_owned(),
        None => {
            let text = format!(
                "{}: what is {:?}, the spread of the posterior?",
                encoder.file, given.port.name
            );
            interview.ask("log_variance", text, &OPTIONS, likely)
        }
    };
    let steps = match what.as_str() {
        "log-variance" => vec![],
        "variance" => vec![Step::Log],
        "log-deviation" => vec![Step::Times(2.0)],
        "deviation" => vec![Step::Log, Step::Times(2.0)],
        other => {
            let words: Vec<&str> = OPTIONS.iter().map(|option| option.0).collect();
            let wrong = format!("{other:?} is none of the spreads");
            return Err(Problem::new(
                "--declare log_variance",
                wrong,
                format!("say one of {}", words.join(", ")),
            )
            .into());
        }
    };
    Ok(logarithm(steps, last, value))
}

/// What the scale of the decoder is.
fn log_scale(
    decoder: &Reading,
    given: &Given,
    interview: &mut Interview,
    declared: &mut Vec<String>,
) -> Result<Spread, Mismatch> {
    let (last, value) = tail::last(decoder.graph(), &given.port.name);
    let steps = match interview.given("log_scale").as_deref() {
        Some("scale") => vec![Step::Log],
        Some("log-scale") => {
            declared.push("log_scale = \"log-scale\"".to_owned());
            vec![]
        }
        Some(other) => {
            let wrong = format!("{other:?} is neither");
            return Err(Problem::new("--declare log_scale", wrong, "say scale or log-scale").into());
        }
        None if matches!(last, Last::Exp | Last::Softplus | Last::ExpOfHalf) => vec![Step::Log],
        None => vec![],
    };
    Ok(logarithm(steps, last, value))
}

/// Where a logarithm would undo an exponential, neither is computed.
fn logarithm(steps: Vec<Step>, last: Last, value: String) -> Spread {
    if last == Last::Exp && steps.first() == Some(&Step::Log) {
        let mut ops = vec![Op::Without(value)];
        if steps.len() > 1 {
            ops.push(Op::Convert(steps[1..].to_vec()));
        }
        return Spread { ops, steps };
    }
    let ops = if steps.is_empty() {
        vec![]
    } else {
        vec![Op::Convert(steps.clone())]
    };
    Spread { ops, steps }
}

/// The number that golden scores are of, by the graphs as they were exported.
struct Bound<'a> {
    encoder: &'a Reading,
    decoder: &'a Reading,
    levels: Levels,
    mean: (usize, Option<(usize, usize)>),
    spread: (usize, Option<(usize, usize)>),
    variance: Vec<Step>,
    picture: usize,
    scale: usize,
    pictures: Pictures,
    arrangement: crate::import::layout::Arrangement,
    log_scale: Vec<Step>,
}

impl Bound<'_> {
    /// log p(x given z = mean of the posterior) − KL.
    fn at_mean(&self, images: &[Image]) -> Result<Vec<f64>, Problem> {
        let part = |rows: Vec<Vec<f32>>, part: Option<(usize, usize)>| -> Vec<Vec<f32>> {
            match part {
                Some((start, end)) => rows.into_iter().map(|row| row[start..end].to_vec()).collect(),
                None => rows,
            }
        };
        let of = |(place, own): (usize, Option<(usize, usize)>)| {
            of_images(self.encoder, &self.levels, images, &[], place).map(|rows| part(rows, own))
        };
        let (means, spreads) = (of(self.mean)?, of(self.spread)?);
        let pictures = coded(self.decoder, &means, &[], self.picture)?;
        let scales = coded(self.decoder, &means, &[], self.scale)?;
        let levels = self.levels.shape.levels();
        Ok((0..images.len())
            .map(|item| {
                let log_variance: Vec<f32> = spreads[item].iter().map(|&v| applied(&self.variance, v)).collect();
                let mean = self.pictures.read(&pictures[item]);
                let scale = self.arrangement.read(&scales[item]);
                let log_likelihood: f64 = images[item]
                    .levels()
                    .iter()
                    .zip(mean.iter().zip(&scale))
                    .map(|(&level, (&mean, &scale))| {
                        likelihood::discretized_logistic(level, levels, mean, applied(&self.log_scale, scale))
                    })
                    .sum();
                log_likelihood - likelihood::kl_to_standard_normal(&means[item], &log_variance)
            })
            .collect())
    }
}

fn applied(steps: &[Step], value: f32) -> f32 {
    steps.iter().fold(value, |value, step| match *step {
        Step::Log => value.ln(),
        Step::LogOdds => (value / (1.0 - value)).ln(),
        Step::Times(factor) => value * factor,
        Step::Plus(term) => value + term,
    })
}
