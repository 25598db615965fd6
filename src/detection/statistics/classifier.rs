//! Statistics of classifiers: whether any label is claimed, and whether one of them alone.

use super::{Part, Requirement, Statistic, Values};
use crate::domain::likelihood;

/// −log Σₗ exp(fₗ) over the classifier's logits f (Liu et al. 2020): high where no label is claimed. Its zero is the
/// network's own, because adding a number to all logits changes no probability. A pass of the classifier.
pub const CLASSIFIER_ENERGY: Statistic = Statistic {
    name: "classifier_energy",
    unit: "nats",
    requirements: &[Requirement::Classifier],
    part: Part::Exceeds,
    values: Values::Number(|seen| seen.evidence.logits.as_deref().map(energy)),
};

/// −log maxₗ p(l | x) under the classifier, which composites call by this name, too. It puts images in the order of 1 −
/// maxₗ p(l | x) (Hendrycks and Gimpel 2017), but is exact where that is lost beside 1. The same pass.
pub const CLASSIFIER_AMBIGUITY: Statistic = Statistic {
    name: "classifier_ambiguity",
    unit: "nats",
    requirements: &[Requirement::Classifier],
    part: Part::Exceeds,
    values: Values::Number(|seen| seen.evidence.logits.as_deref().map(ambiguity)),
};

/// −log Σ exp(f) over logits f; NaN if one is.
fn energy(logits: &[f32]) -> f64 {
    let logits: Vec<f64> = logits.iter().copied().map(f64::from).collect();
    if logits.iter().any(|logit| logit.is_nan()) {
        return f64::NAN;
    }
    -likelihood::log_sum_exp(&logits)
}

/// −log of the largest probability of a label: log(1 + Σ exp(fₗ − max f)) over the labels beside one of the largest
/// logit, so that what little the others have is not rounded away. NaN if a logit is, or if the largest is infinite.
fn ambiguity(logits: &[f32]) -> f64 {
    let largest = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
    let Some(largest) = largest.filter(|&largest| logits[largest].is_finite()) else {
        return f64::NAN;
    };
    let max = f64::from(logits[largest]);
    let others = logits.iter().enumerate().filter(|(l, _)| *l != largest);
    others
        .map(|(_, &logit)| (f64::from(logit) - max).exp())
        .sum::<f64>()
        .ln_1p()
}
