//! How well a model names labels, and whether its confidence is deserved.

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
