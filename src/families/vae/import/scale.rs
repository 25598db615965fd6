//! The scale of a decoder's distribution: of which distribution it is, and what makes its logarithm of it.

use super::is_called;
use crate::{
    families::{
        decoder::Density,
        import::{Mismatch, coded},
    },
    graph::convert::Step,
    import::{
        Problem,
        interview::Interview,
        output_activation::{self, OutputActivation},
        output_range,
        reading::{Given, Reading},
    },
};

/// What makes a log-scale of what a graph gives.
pub(super) struct LogScale {
    /// The operator that is not needed for it.
    pub(super) without: Option<String>,
    /// What is done to the numbers of the export.
    pub(super) steps: Vec<Step>,
    /// What is done in the graph.
    pub(super) written: Vec<Step>,
}

/// An answer that is none of those offered.
pub(super) fn unknown(key: &str, answer: &str, options: &[(&str, &str)]) -> Problem {
    let words: Vec<&str> = options.iter().map(|option| option.0).collect();
    let what = format!("{answer:?} is none of them");
    Problem::new(
        format!("--declare {key}"),
        what,
        format!("say one of {}", words.join(", ")),
    )
}

/// Of which distribution mean and scale are: the name of the scale tells, or somebody does.
pub(super) fn density_of(reading: &Reading, scale: &Given, interview: &mut Interview) -> Result<Density, Mismatch> {
    let options = [
        ("discretized-logistic", "a logistic density over the bin of each level"),
        ("gaussian", "a normal density over it"),
    ];
    let of_name = if is_called(scale, &["std", "sigma", "var"]) {
        Some("gaussian")
    } else if is_called(scale, &["scale"]) {
        Some("discretized-logistic")
    } else {
        None
    };
    let answer = match (interview.given("head"), of_name) {
        (Some(answer), _) => answer,
        (None, Some(name)) => name.to_owned(),
        (None, None) => {
            let text = format!(
                "{}: of which distribution is {:?} the scale?",
                reading.file, scale.port.name
            );
            // A scale that no code changes is that of squared error. Of another, both are as likely.
            let likely = constant(reading, scale)?.map_or("", |_| "gaussian");
            interview.ask("head", text, &options, likely)
        }
    };
    match answer.as_str() {
        "discretized-logistic" => Ok(Density::Logistic),
        // Until somebody says which.
        "gaussian" | "" => Ok(Density::Gaussian),
        other => Err(unknown("head", other, &options).into()),
    }
}

/// The number that a graph gives everywhere, whatever the code.
fn constant(reading: &Reading, given: &Given) -> Result<Option<f32>, Mismatch> {
    let size = reading.code().map_or(0, |(_, size)| size);
    let rows = coded(reading, &[vec![-1.0; size], vec![0.5; size]], &[], given.place)?;
    let mut numbers = rows.iter().flatten().copied();
    let first = numbers.next();
    Ok(first.filter(|&first| numbers.all(|number| number == first)))
}

/// What makes a log-scale of the spread that is given.
pub(super) fn log_scale(
    reading: &Reading,
    given: &Given,
    density: Density,
    interview: &mut Interview,
    declared: &mut Vec<String>,
) -> Result<LogScale, Mismatch> {
    const OPTIONS: [(&str, &str); 4] = [
        ("log-scale", "its logarithm"),
        ("scale", "the scale itself"),
        ("log-variance", "of a Gaussian, log σ²"),
        ("variance", "of a Gaussian, σ²"),
    ];
    let (last, value) = output_activation::last(reading.graph(), &given.port.name);
    let is_positive = output_range::made(&reading.model, &given.port.name).is_positive();
    let is_variance = density == Density::Gaussian && is_called(given, &["var"]);
    let is_named = is_called(given, &["log", "std", "sigma", "scale", "dev", "var", "lv"]);
    let is_open = density == Density::Gaussian && !is_named && last != OutputActivation::ExpOfHalf;
    let answer = match interview.given("log_scale") {
        None if is_open && constant(reading, given)?.is_none() => {
            let options = if is_positive {
                [OPTIONS[1], OPTIONS[3]]
            } else {
                [OPTIONS[0], OPTIONS[2]]
            };
            let text = format!("{}: what is {:?} of the distribution?", reading.file, given.port.name);
            Some(interview.ask("log_scale", text, &options, "")).filter(|answer| !answer.is_empty())
        }
        answer => answer,
    };
    if matches!(answer.as_deref(), Some("scale" | "variance")) && interview.is_insisted("log_scale") {
        // Its logarithm is written, and may be above 0 after all.
        declared.push("log_scale = \"log-scale\"".to_owned());
    }
    let steps = match answer.as_deref() {
        Some("scale") => vec![Step::Log],
        Some("log-scale") => {
            declared.push("log_scale = \"log-scale\"".to_owned());
            vec![]
        }
        Some("variance") if density == Density::Gaussian => vec![Step::Log, Step::Times(0.5)],
        Some("log-variance") if density == Density::Gaussian => {
            // Written as log σ, whatever that looks like.
            declared.push("log_scale = \"log-scale\"".to_owned());
            vec![Step::Times(0.5)]
        }
        Some(other) => return Err(unknown("log_scale", other, &OPTIONS).into()),
        // One that is the same everywhere is written down as it is; a logarithm above 0 would be wider than all levels.
        None if !is_positive && !is_variance && constant(reading, given)?.is_some_and(|scale| scale > 0.0) => {
            declared.push("log_scale = \"log-scale\"".to_owned());
            vec![Step::Log]
        }
        None => match (is_positive, is_variance && last != OutputActivation::ExpOfHalf) {
            (true, true) => vec![Step::Log, Step::Times(0.5)],
            (true, false) => vec![Step::Log],
            (false, true) => vec![Step::Times(0.5)],
            (false, false) => vec![],
        },
    };
    // Where a logarithm would undo an exponential, neither is computed.
    if last == OutputActivation::Exp && steps.first() == Some(&Step::Log) {
        let written = steps[1..].to_vec();
        return Ok(LogScale {
            without: Some(value),
            steps,
            written,
        });
    }
    Ok(LogScale {
        without: None,
        written: steps.clone(),
        steps,
    })
}
