//! How often inliers are rejected at some rates, beside what the calibration promises of it.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{
    domain::{binomial::beta_binomial_sum_interval, conformal::certified_rank},
    model::detect::Verdict,
};

/// Confidence of certified thresholds.
const CONFIDENCE: f64 = 0.95;

/// The share of measurements that a prediction holds.
const PREDICTED: f64 = 0.95;

/// Rates, and with which confidence.
const ASKED: [(f64, Option<f64>); 4] = [
    (0.01, Some(CONFIDENCE)),
    (0.05, Some(CONFIDENCE)),
    (0.01, None),
    (0.05, None),
];

/// A threshold, and how often it rejected inliers.
#[derive(Debug, Serialize)]
pub struct FalseAlarms {
    /// What is promised.
    pub rate: f64,
    /// With the confidence of the certificate; without it the rate holds on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// p-values up to it are rejected; none where every label has a threshold of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Inliers that are.
    pub rejected: usize,
    /// Their share.
    pub measured_rate: f64,
    /// Where 95 % of such measurements lie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted: Option<[f64; 2]>,
    /// The same of the inliers of each label, where labels calibrate one by one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<OfLabel>,
}

/// How often inliers of one label were rejected.
#[derive(Debug, Serialize)]
pub struct OfLabel {
    /// The label that the network gives them.
    pub label: String,
    /// How many they are.
    pub inliers: usize,
    /// Those that are rejected.
    pub rejected: usize,
    /// Their share.
    pub measured_rate: f64,
    /// Where 95 % of such measurements lie.
    pub predicted: [f64; 2],
}

impl FalseAlarms {
    /// At every rate that the calibration supports what became of the inliers. The p-value of a density alone looks at
    /// both sides, for which no threshold with confidence is known here: it is not `certified`.
    pub(super) fn of(inliers: &[Verdict], certified: bool) -> Vec<Self> {
        let asked = ASKED
            .into_iter()
            .filter(|(_, confidence)| certified || confidence.is_none());
        let measured = asked.filter_map(|asked| Self::at(inliers, asked, certified));
        measured.collect()
    }

    fn at(verdicts: &[Verdict], (rate, confidence): (f64, Option<f64>), certified: bool) -> Option<Self> {
        let mut groups: BTreeMap<Option<&str>, Vec<&Verdict>> = BTreeMap::new();
        for verdict in verdicts {
            groups
                .entry(verdict.calibration.label.as_deref())
                .or_default()
                .push(verdict);
        }
        let share = |(low, high): (u64, u64), of: usize| [low, high].map(|count| count as f64 / of as f64);
        let (mut parts, mut labels, mut rejected) = (Vec::new(), Vec::new(), 0);
        let mut threshold = None;
        for (label, own) in groups {
            let size = own.first()?.calibration.size;
            let (scores, k) = ((size + 1) as f64, rank(size, rate, confidence));
            if k == 0 {
                return None;
            }
            let own_threshold = threshold_of(size, rate, confidence);
            let count = own.iter().filter(|verdict| verdict.p_value <= own_threshold).count();
            threshold = Some(own_threshold);
            let part = (own.len() as u64, k as f64, scores - k as f64);
            if let Some(label) = label {
                labels.push(OfLabel {
                    label: label.to_owned(),
                    inliers: own.len(),
                    rejected: count,
                    measured_rate: count as f64 / own.len() as f64,
                    predicted: share(beta_binomial_sum_interval(&[part], PREDICTED), own.len()),
                });
            }
            parts.push(part);
            rejected += count;
        }
        let predicted = certified.then(|| share(beta_binomial_sum_interval(&parts, PREDICTED), verdicts.len()));
        Some(Self {
            rate,
            confidence,
            threshold: threshold.filter(|_| labels.is_empty() || confidence.is_none()),
            rejected,
            measured_rate: rejected as f64 / verdicts.len() as f64,
            predicted,
            labels,
        })
    }

    /// Which of some verdicts reject at this rate.
    pub(super) fn rejected<'a>(&self, verdicts: &'a [Verdict]) -> impl Iterator<Item = bool> + use<'a> {
        let (rate, confidence) = (self.rate, self.confidence);
        // Of calibrations there are few, of verdicts many.
        let mut thresholds: BTreeMap<usize, f64> = BTreeMap::new();
        verdicts.iter().map(move |verdict| {
            let size = verdict.calibration.size;
            let threshold = thresholds
                .entry(size)
                .or_insert_with(|| threshold_of(size, rate, confidence));
            verdict.p_value <= *threshold
        })
    }

    /// Whether what was measured is not what was predicted.
    pub fn is_outside(&self) -> bool {
        self.predicted
            .is_some_and(|predicted| is_outside(self.measured_rate, predicted))
    }

    /// Labels of whose inliers another share is rejected than was predicted: of twenty it is one on average.
    pub fn labels_outside(&self) -> usize {
        let outside = |own: &&OfLabel| is_outside(own.measured_rate, own.predicted);
        self.labels.iter().filter(outside).count()
    }
}

fn is_outside(measured: f64, [low, high]: [f64; 2]) -> bool {
    !(low..=high).contains(&measured)
}

/// Of `size` calibration scores the rank from above whose p-value is the largest that is rejected; 0 if there is none.
fn rank(size: usize, rate: f64, confidence: Option<f64>) -> usize {
    match confidence {
        Some(confidence) => certified_rank(size, rate, confidence),
        None => (rate * (size + 1) as f64 + 1e-9) as usize,
    }
}

fn threshold_of(size: usize, rate: f64, confidence: Option<f64>) -> f64 {
    match confidence {
        Some(_) => rank(size, rate, confidence) as f64 / (size + 1) as f64,
        None => rate,
    }
}
