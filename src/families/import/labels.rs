//! Names and prior of labels.

use std::fmt::Write;

use super::Mismatch;
use crate::{
    families::manifest::text::quoted,
    import::{
        Problem,
        canonical::Canonical,
        interview::Interview,
        reading::{Reading, Takes},
    },
};

/// Labels and their table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Labelled {
    /// How many there are.
    pub(crate) count: usize,
    /// log p(label).
    pub(crate) log_prior: Vec<f64>,
    /// `[labels]`.
    pub(crate) table: String,
}

/// The labels that a graph is given, if it is given some.
pub(crate) fn labels_given(reading: &Reading, interview: &mut Interview) -> Result<Option<Labelled>, Mismatch> {
    let label = reading.label();
    let labelled = label.map(|label| {
        let count = match label.takes {
            Takes::OneHot(count) => Some(count),
            Takes::Label(count) => count,
            _ => None,
        };
        labels_of(&reading.file, count, interview)
    });
    labelled.transpose()
}

/// Gives a graph the label that its export takes, if that takes one. Answers the line of the manifest that names it.
pub(crate) fn take_label(graph: &mut Canonical, reading: &Reading, labelled: Option<&Labelled>) -> &'static str {
    match (reading.label(), labelled) {
        (Some(taken), Some(labelled)) => {
            graph.label("label", taken, labelled.count);
            "label = \"label\"\n"
        }
        _ => "",
    }
}

/// Names of `count` labels, or of as many as are named; a prior that is the same for all unless it is given.
pub(crate) fn labels_of(place: &str, count: Option<usize>, interview: &mut Interview) -> Result<Labelled, Mismatch> {
    let cure = "name each label once, in the order of the network: --labels NAME,…";
    let problem = |what: String| Mismatch::from(Problem::new(place, what, cure));
    let named = interview.given("labels").map(|text| {
        let separator = if text.contains('\n') { '\n' } else { ',' };
        let names = text.split(separator).map(str::trim).filter(|name| !name.is_empty());
        names.map(str::to_owned).collect::<Vec<String>>()
    });
    let names = match (named, count) {
        (Some(names), Some(count)) if names.len() != count => {
            return Err(problem(format!(
                "{} names are given for its {count} labels",
                names.len()
            )));
        }
        (Some(names), _) => names,
        (None, Some(count)) => {
            interview.note(&format!(
                "labels are called 0 to {}: --labels NAME,… names them",
                count.saturating_sub(1)
            ));
            (0..count).map(|number| number.to_string()).collect()
        }
        (None, None) => {
            return Err(problem(
                "it takes labels, and nothing in it tells how many there are".to_owned(),
            ));
        }
    };
    if names.len() < 2 {
        return Err(problem(format!(
            "it has {} label, and there must be two or more",
            names.len()
        )));
    }
    let prior = match interview.given("prior") {
        Some(text) => {
            let shares: Vec<f64> = text.split(',').filter_map(|part| part.trim().parse().ok()).collect();
            if shares.len() != names.len() || shares.iter().any(|&share| share.is_nan() || share <= 0.0) {
                let what = format!("{text:?} is not {} positive numbers", names.len());
                return Err(Problem::new("--prior", what, "give one for each label, in their order").into());
            }
            let sum: f64 = shares.iter().sum();
            shares.into_iter().map(|share| share / sum).collect()
        }
        None => {
            interview.note("labels are taken as equally frequent: --prior SHARE,… says otherwise");
            vec![1.0 / names.len() as f64; names.len()]
        }
    };
    let mut table = String::from("\n[labels]\nnames = [");
    for name in &names {
        // Writing to a string cannot fail.
        let _ = write!(table, "{}, ", quoted(name));
    }
    table += "]\nprior = [";
    for share in &prior {
        let _ = write!(table, "{share:?}, ");
    }
    table += "]\n";
    Ok(Labelled {
        count: names.len(),
        log_prior: prior.iter().map(|share: &f64| share.ln()).collect(),
        table,
    })
}
