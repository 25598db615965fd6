//! Classification: which label an image has, and what speaks for each.

use async_trait::async_trait;

use super::{Call, PerImage, Refusal};
use crate::domain::{bayes, image::Image};

/// A model that tells labels apart.
#[async_trait]
pub trait Classifies: Send + Sync {
    /// What it says about the label of each image.
    async fn classify(
        &self,
        images: Vec<Image>,
        ask: &ClassifyAsk,
        call: &Call,
    ) -> Result<PerImage<Classification>, Refusal>;

    /// Whether it can find reasons to give no label.
    fn has_doubts(&self) -> bool {
        false
    }
}

/// What is asked of a classification.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClassifyAsk {
    /// Whether what each dimension says about each label is wanted.
    pub map: bool,
    /// The share of ordinary images that each reason to give no label may reject: above 0, below 1. Refused by models
    /// without such reasons.
    pub false_alarm_rate: Option<f64>,
}

impl ClassifyAsk {
    /// 1 %.
    pub const DEFAULT_FALSE_ALARM_RATE: f64 = 0.01;
}

/// What a model says about the label of one image; lists are in order of label.
#[derive(Debug, Clone)]
pub struct Classification {
    /// log p(y | x): of a distribution over labels; never NaN.
    pub log_posterior: Vec<f64>,
    /// log p(x | y) in nats, of models that have it. May be −∞; never NaN.
    pub log_likelihoods: Option<Vec<f64>>,
    /// log p(x) in nats, of models that have it. May be −∞; never NaN.
    pub log_evidence: Option<f64>,
    /// For each label what each dimension says about it, if it was asked for and the model can tell: nats, positive for
    /// the label, in channel, row, column order. See [`crate::domain::bayes`].
    pub maps: Option<Vec<Vec<f32>>>,
    /// Reasons to give no label, of models that have them.
    pub doubts: Option<Doubts>,
}

/// Two reasons to give an image no label, each with its own calibration.
#[derive(Debug, Clone, PartialEq)]
pub struct Doubts {
    /// The share of ordinary images that each may reject.
    pub false_alarm_rate: f64,
    /// The image lies between labels: the value is −log max p(y | x), in nats.
    pub ambiguity: Doubt,
    /// The image is like nothing that the labels mean: the value is what the judge of novelty goes by, a detector's
    /// strangeness or the density's log p(x).
    pub novelty: Doubt,
}

/// One reason to give no label.
#[derive(Debug, Clone, PartialEq)]
pub struct Doubt {
    /// What it is judged by.
    pub value: f64,
    /// How often an ordinary image is as far out.
    pub p_value: f64,
    /// Whether it rejects.
    pub reject: bool,
}

/// What a model with doubts makes of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It has its most probable label.
    Accept,
    /// It is none of these. That weighs more than ambiguity: between which labels it lies means nothing then.
    NoneOfThese,
    /// It lies between labels.
    Ambiguous,
}

impl Doubts {
    /// What they come to.
    pub fn decision(&self) -> Decision {
        match (self.novelty.reject, self.ambiguity.reject) {
            (true, _) => Decision::NoneOfThese,
            (false, true) => Decision::Ambiguous,
            (false, false) => Decision::Accept,
        }
    }
}

impl Decision {
    /// The name used in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::NoneOfThese => "none_of_these",
            Self::Ambiguous => "ambiguous",
        }
    }
}

impl Classification {
    /// The number of the most probable label; of equally probable ones the first.
    pub fn label(&self) -> usize {
        bayes::most_probable(&self.log_posterior)
    }

    /// p(y | x) in order of label.
    pub fn probabilities(&self) -> Vec<f64> {
        self.log_posterior.iter().map(|log| log.exp()).collect()
    }
}
