//! Labels: what they are called, how probable each is beforehand, and what a request conditions on.

use serde::Deserialize;

use super::{Model, Refusal, refusal::clip_list};
use crate::domain::{
    bayes::{self, Prior},
    random::{Random, Stream},
};

/// The labels of a conditional model or of a classifier.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// Their names, in the order of their numbers.
    pub names: Vec<String>,
    /// p(label), in the same order.
    pub prior: Vec<f64>,
}

/// What a request asks of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The model is not conditioned on labels: p(x).
    None,
    /// p(x | y) of this label.
    Label(u32),
    /// The model is conditioned on labels and none was named: p(x) = Σ p(x | y) p(y).
    Open(Prior),
}

impl Model {
    /// What a request with this label, or without one, asks of the model. A label is given by its name or its number.
    pub fn condition(&self, label: Option<&str>) -> Result<Condition, Refusal> {
        match (self.labels.as_ref().filter(|_| self.card.conditional), label) {
            (None, None) => Ok(Condition::None),
            (Some(labels), None) => Ok(Condition::Open(Prior::new(&labels.prior))),
            (None, Some(_)) => Err(Refusal::option("label", "this model is not conditioned on labels")),
            (Some(labels), Some(label)) => number_of(&labels.names, label).map(Condition::Label),
        }
    }

    /// The names of the labels of some images, for an answer; none without labels.
    pub fn names_of(&self, labels: &[u32]) -> Vec<String> {
        let names = self.label_names();
        labels
            .iter()
            .filter_map(|&label| names.get(label as usize).cloned())
            .collect()
    }
}

impl Condition {
    /// The labels of `n` images to be drawn: the one that was named, or each image's own from the prior, so that images
    /// come from p(x); 0 without labels.
    pub fn draw(&self, n: u32, seed: u64) -> Vec<u32> {
        match self {
            Self::None => vec![0; n as usize],
            Self::Label(label) => vec![*label; n as usize],
            Self::Open(prior) => draw(prior.log(), n, seed),
        }
    }
}

/// Labels of `n` images from a distribution, given by its logarithms. The random number of an image depends on its
/// place alone.
pub fn draw(log_probabilities: &[f64], n: u32, seed: u64) -> Vec<u32> {
    (0..n)
        .map(|index| {
            let uniform = Random::new(seed, Stream::Label, u64::from(index)).uniform(0);
            bayes::draw(log_probabilities, uniform) as u32
        })
        .collect()
}

/// The number of a label that a request names, or gives as a number.
fn number_of(names: &[String], label: &str) -> Result<u32, Refusal> {
    let by_name = names.iter().position(|name| name == label);
    let by_number = || label.parse().ok().filter(|&number| number < names.len());
    by_name.or_else(by_number).map(|index| index as u32).ok_or_else(|| {
        Refusal::option(
            "label",
            format!(
                "there is no such label; ask for a number below {} or one of: {}",
                names.len(),
                clip_list(names)
            ),
        )
    })
}
