//! How well a model names labels, and whether its confidence is deserved.

use std::cmp::Reverse;

use serde::Serialize;

use super::{figures::Figures, measured::Measured};
use crate::domain::{
    bayes::most_probable,
    binomial::wilson_interval,
    reliability::{Reliability, reliability},
    summary::Summary,
};

/// Bins of the reliability diagram.
const BINS: usize = 15;

/// Labels that a picture or a table of all pairs has room for.
const MOST_LABELS_OF_A_TABLE: usize = 40;

/// p(y|x) beside the labels that images have.
#[derive(Debug, Serialize)]
pub struct ClassificationReport {
    /// Images.
    pub images: usize,
    /// Labels in the order of their numbers.
    pub labels: Vec<String>,
    /// Images whose label is the most probable one.
    pub right: usize,
    /// Share of images whose label is the most probable one.
    pub accuracy: f64,
    /// Wilson's at 95 %.
    pub accuracy_interval: [f64; 2],
    /// Of the label that an image has; images whose label got probability zero are left out and counted.
    pub log_posterior_nats: Option<Figures>,
    /// Images whose label got probability zero.
    pub zero_probability: usize,
    /// Mean distance of confidence and accuracy.
    pub expected_calibration_error: f64,
    /// Bins of equal width.
    pub reliability: Vec<ReliabilityBin>,
    /// Images by the label that they have (row) and the label that they got (column).
    pub confusion: Vec<Vec<usize>>,
}

/// Answers of similar confidence.
#[derive(Debug, Serialize)]
pub struct ReliabilityBin {
    /// Answers.
    pub images: usize,
    /// Of these.
    pub mean_confidence: f64,
    /// Of these.
    pub accuracy: f64,
}

impl ClassificationReport {
    /// `None` if nothing was classified or the images have no labels.
    pub fn of(measured: &Measured) -> Option<Self> {
        let labels = measured.labels.as_deref()?;
        if measured.log_posteriors.is_empty() {
            return None;
        }
        let names = measured.label_names.clone();
        let mut confusion = vec![vec![0; names.len()]; names.len()];
        let mut answers = Vec::with_capacity(labels.len());
        let mut of_label = Vec::with_capacity(labels.len());
        for (posterior, &label) in measured.log_posteriors.iter().zip(labels) {
            let answer = most_probable(posterior);
            confusion[label][answer] += 1;
            answers.push((posterior[answer].exp(), answer == label));
            of_label.push(posterior[label]);
        }
        let (images, right) = (answers.len(), answers.iter().filter(|(_, is)| *is).count());
        let (low, high) = wilson_interval(right as u64, images as u64);
        let summary = Summary::of(&of_label);
        let Reliability {
            bins,
            expected_calibration_error,
        } = reliability(&answers, BINS);
        Some(Self {
            images,
            labels: names,
            right,
            accuracy: right as f64 / images as f64,
            accuracy_interval: [low, high],
            zero_probability: summary.as_ref().map_or(images, |summary| summary.left_out),
            log_posterior_nats: summary.as_ref().map(Figures::of),
            expected_calibration_error,
            reliability: bins
                .into_iter()
                .map(|bin| ReliabilityBin {
                    images: bin.count,
                    mean_confidence: bin.confidence,
                    accuracy: bin.accuracy,
                })
                .collect(),
            confusion,
        })
    }

    /// Whether all pairs of labels can be shown.
    pub fn has_few_labels(&self) -> bool {
        self.labels.len() <= MOST_LABELS_OF_A_TABLE
    }

    /// The pairs of labels that are confused most often, for a report on more labels than a table of all has room for:
    /// the label of the images, the one that they got, and how many images.
    pub fn most_confused(&self) -> Vec<[String; 3]> {
        let mut pairs: Vec<(usize, usize, usize)> = Vec::new();
        for (label, row) in self.confusion.iter().enumerate() {
            let wrong = row
                .iter()
                .enumerate()
                .filter(|&(answer, &count)| answer != label && count > 0);
            pairs.extend(wrong.map(|(answer, &count)| (count, label, answer)));
        }
        // Among equals those of lower numbers come first.
        pairs.sort_by_key(|&(count, label, answer)| (Reverse(count), label, answer));
        pairs.truncate(MOST_LABELS_OF_A_TABLE);
        let name = |label: usize| self.labels[label].clone();
        let told = |(count, label, answer): (usize, usize, usize)| [name(label), name(answer), count.to_string()];
        pairs.into_iter().map(told).collect()
    }

    /// What must be said of labels of probability zero, if there are any.
    pub fn warning(&self) -> Option<String> {
        (self.zero_probability > 0).then(|| {
            format!(
                "{} of {} images have a label to which the model gives probability zero, so that the mean of log \
                 p(y|x) over all is −∞; the figures are of the others",
                self.zero_probability, self.images
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(log_posteriors: Vec<Vec<f64>>, labels: Vec<usize>) -> Measured {
        Measured {
            label_names: ["a", "b"].map(str::to_owned).to_vec(),
            labels: Some(labels),
            log_posteriors,
            ..Measured::default()
        }
    }

    #[test]
    fn of_many_labels_those_are_told_that_are_confused_most() {
        let names: Vec<String> = (0..100).map(|label| format!("l{label}")).collect();
        let sure_of = |label: usize| {
            (0..100)
                .map(|own| if own == label { 0.0 } else { f64::NEG_INFINITY })
                .collect()
        };
        let measured = Measured {
            label_names: names,
            labels: Some(vec![7, 7, 5, 9, 1, 1]),
            log_posteriors: [8, 8, 6, 9, 1, 0].map(sure_of).to_vec(),
            ..Measured::default()
        };
        let report = ClassificationReport::of(&measured).unwrap();
        assert!(!report.has_few_labels());
        let told = [["l7", "l8", "2"], ["l1", "l0", "1"], ["l5", "l6", "1"]];
        assert_eq!(report.most_confused(), told);
    }

    #[test]
    fn a_small_case_by_hand() {
        let (sure, half) = (vec![0.9_f64.ln(), 0.1_f64.ln()], vec![0.5_f64.ln(); 2]);
        let measured = measured(vec![sure.clone(), sure, half], vec![0, 1, 1]);
        let report = ClassificationReport::of(&measured).unwrap();
        assert_eq!(report.confusion, [[1, 0], [2, 0]]);
        assert!((report.accuracy - 1.0 / 3.0).abs() < 1e-15);
        // |2 · 0.9 − 1| in one bin and |0.5 − 0| in the other, over three images.
        assert!((report.expected_calibration_error - (0.8 + 0.5) / 3.0).abs() < 1e-12);
        let mean = (0.9_f64.ln() + 0.1_f64.ln() + 0.5_f64.ln()) / 3.0;
        assert!((report.log_posterior_nats.as_ref().unwrap().mean - mean).abs() < 1e-12);
    }

    #[test]
    fn a_label_of_probability_zero_is_said_and_not_averaged() {
        let certain = vec![0.0, f64::NEG_INFINITY];
        let measured = measured(vec![certain.clone(), certain], vec![0, 1]);
        let report = ClassificationReport::of(&measured).unwrap();
        assert_eq!(report.zero_probability, 1);
        assert_eq!(report.log_posterior_nats.as_ref().unwrap().mean, 0.0);
        assert!(report.warning().unwrap().contains("1 of 2 images have a label"));
    }
}
