//! Conformal p-values: a false-alarm rate that holds for any model, if inliers are exchangeable with the calibration
//! images (Vovk, Gammerman and Shafer 2005; Bates et al. 2023 for outlier detection).

use super::binomial::binomial_cdf;

/// Scores of inliers that the model was not trained on, in ascending order.
#[derive(Debug, Clone)]
pub struct Calibration {
    scores: Vec<f64>,
}

/// Why a calibration or a request to it is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// No scores.
    #[error("a calibration needs at least one score")]
    Empty,
    /// A score that is not a number.
    #[error("calibration score {index} is {value}: every score must be finite")]
    NotFinite {
        /// Position in the file.
        index: usize,
        /// The score.
        value: f64,
    },
    /// The rate is not a probability.
    #[error("a false-alarm rate of {0} is not possible: it must lie above 0 and below 1")]
    Rate(f64),
    /// Too few scores for the rate: nothing could ever be rejected.
    #[error(
        "a false-alarm rate of {rate} needs at least {needed} calibration scores, but there are {available}: the \
         smallest rate they support is {smallest:.3e}"
    )]
    TooFew {
        /// The rate asked for.
        rate: f64,
        /// Scores that it needs.
        needed: usize,
        /// Scores there are.
        available: usize,
        /// The smallest rate that the scores support.
        smallest: f64,
    },
    /// The confidence is not a probability.
    #[error("a confidence of {0} is not possible: it must lie above 0 and below 1")]
    Confidence(f64),
    /// Too few scores for the rate with confidence.
    #[error(
        "a false-alarm rate of {rate} with confidence {confidence} needs at least {needed} calibration scores, but \
         there are {available}"
    )]
    TooFewForConfidence {
        /// The rate asked for.
        rate: f64,
        /// The confidence asked for.
        confidence: f64,
        /// Scores that they need.
        needed: usize,
        /// Scores there are.
        available: usize,
    },
}

/// The largest k with P(Bin(n, α) ≤ k − 1) ≤ 1 − confidence; 0 if there is none.
pub fn certified_rank(n: usize, rate: f64, confidence: f64) -> usize {
    let delta = 1.0 - confidence;
    let holds = |k: usize| binomial_cdf(k as u64 - 1, n as u64, rate) <= delta;
    // The probability grows with k, so that the last k that holds is found by bisection.
    let (mut good, mut bad) = (0, n + 1);
    while bad - good > 1 {
        let middle = good.midpoint(bad);
        if holds(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    good
}

/// Which of some images to reject so that among those rejected an expected share of at most `rate` are inliers: with
/// p₍₁₎ ≤ … ≤ p₍ₘ₎ the k smallest p-values, where k is the largest with p₍ₖ₎ ≤ k · rate / m (Benjamini and Hochberg
/// 1995; for conformal p-values, which share their calibration scores, Bates et al. 2023).
pub fn false_discovery_rejections(p_values: &[f64], rate: f64) -> Vec<bool> {
    let mut sorted = p_values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let m = sorted.len() as f64;
    let threshold = sorted
        .iter()
        .enumerate()
        .rev()
        .find(|&(place, &p)| p <= (place + 1) as f64 * rate / m)
        .map(|(_, &p)| p);
    p_values
        .iter()
        .map(|&p| threshold.is_some_and(|threshold| p <= threshold))
        .collect()
}

impl Calibration {
    /// Takes scores in any order.
    pub fn new(mut scores: Vec<f64>) -> Result<Self, CalibrationError> {
        if scores.is_empty() {
            return Err(CalibrationError::Empty);
        }
        if let Some(index) = scores.iter().position(|s| !s.is_finite()) {
            return Err(CalibrationError::NotFinite {
                index,
                value: scores[index],
            });
        }
        scores.sort_by(f64::total_cmp);
        Ok(Self { scores })
    }

    /// Calibration scores.
    pub fn size(&self) -> usize {
        self.scores.len()
    }

    /// The two-sided conformal p-value of a score: min(1, 2 min(p₋, p₊)) with p₋ = (1 + #{sᵢ ≤ s})/(n + 1) and
    /// p₊ = (1 + #{sᵢ ≥ s})/(n + 1). For inliers P(p ≤ α) ≤ α. A score that is not a number is as strange as can be.
    pub fn two_sided_p_value(&self, score: f64) -> f64 {
        let n = self.scores.len();
        if score.is_nan() {
            return self.smallest_p_value();
        }
        let below = self.scores.partition_point(|&s| s < score);
        let up_to = self.scores.partition_point(|&s| s <= score);
        let tail = up_to.min(n - below);
        (2.0 * (1 + tail) as f64 / (n + 1) as f64).min(1.0)
    }

    /// Whether the scores can support the rate with p-values of [`Self::two_sided_p_value`]: `rate` must be at least
    /// the smallest that there can be. For those of [`Self::upper_p_value`] see [`Self::threshold`].
    pub fn supports_two_sided(&self, rate: f64) -> Result<(), CalibrationError> {
        if !(rate > 0.0 && rate < 1.0) {
            return Err(CalibrationError::Rate(rate));
        }
        let smallest = self.smallest_p_value();
        if rate < smallest {
            return Err(CalibrationError::TooFew {
                rate,
                needed: (2.0 / rate).ceil() as usize - 1,
                available: self.size(),
                smallest,
            });
        }
        Ok(())
    }

    /// The scores in ascending order.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// The conformal p-value of a score of which only large values are strange: (1 + #{sᵢ ≥ s})/(n + 1). For inliers
    /// P(p ≤ α) ≤ α. A score that is not a number is as strange as can be.
    pub fn upper_p_value(&self, score: f64) -> f64 {
        let n = self.scores.len();
        // NaN is below nothing, so none of the scores counts.
        let at_least = if score.is_nan() {
            0
        } else {
            n - self.scores.partition_point(|&s| s < score)
        };
        (1 + at_least) as f64 / (n + 1) as f64
    }

    /// The largest p-value that is to be rejected for a false-alarm rate, with p-values of [`Self::upper_p_value`].
    ///
    /// Without `confidence` it is the rate itself, and the promise is one on average over calibrations. With
    /// `confidence` 1 − δ it is k/(n + 1) with the largest k such that P(Bin(n, α) ≤ k − 1) ≤ δ: then the true rate of
    /// this very calibration, which is distributed as Beta(k, n + 1 − k), is at most α with probability 1 − δ (Vovk
    /// 2012; Bates et al. 2023).
    pub fn threshold(&self, rate: f64, confidence: Option<f64>) -> Result<f64, CalibrationError> {
        if !(rate > 0.0 && rate < 1.0) {
            return Err(CalibrationError::Rate(rate));
        }
        let n = self.size();
        let Some(confidence) = confidence else {
            let smallest = 1.0 / (n + 1) as f64;
            if rate < smallest {
                return Err(CalibrationError::TooFew {
                    rate,
                    needed: (1.0 / rate).ceil() as usize - 1,
                    available: n,
                    smallest,
                });
            }
            return Ok(rate);
        };
        if !(confidence > 0.0 && confidence < 1.0) {
            return Err(CalibrationError::Confidence(confidence));
        }
        match certified_rank(n, rate, confidence) {
            0 => Err(CalibrationError::TooFewForConfidence {
                rate,
                confidence,
                // (1 − α)ⁿ ≤ δ.
                needed: ((1.0 - confidence).ln() / (-rate).ln_1p()).ceil() as usize,
                available: n,
            }),
            k => Ok(k as f64 / (n + 1) as f64),
        }
    }

    /// The smallest p-value of [`Self::upper_p_value`], and so the smallest false-alarm rate, that the scores support.
    pub fn smallest_upper_p_value(&self) -> f64 {
        1.0 / (self.scores.len() + 1) as f64
    }

    /// The smallest p-value, and so the smallest false-alarm rate, that the scores support.
    pub fn smallest_p_value(&self) -> f64 {
        (2.0 / (self.size() + 1) as f64).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ends_are_strange_and_the_middle_is_not() {
        let calibration = Calibration::new((0..999).map(f64::from).collect()).unwrap();
        assert_eq!(calibration.two_sided_p_value(-1.0), 0.002);
        assert_eq!(calibration.two_sided_p_value(1e9), 0.002);
        assert_eq!(calibration.two_sided_p_value(f64::NAN), 0.002);
        assert_eq!(calibration.two_sided_p_value(f64::NEG_INFINITY), 0.002);
        assert_eq!(calibration.two_sided_p_value(499.0), 1.0);
        assert!(calibration.supports_two_sided(0.002).is_ok());
        assert!(matches!(
            calibration.supports_two_sided(0.001),
            Err(CalibrationError::TooFew { needed: 1999, .. })
        ));
        assert!(matches!(
            calibration.supports_two_sided(1.0),
            Err(CalibrationError::Rate(_))
        ));
    }

    #[test]
    fn certified_thresholds_are_those_of_the_exact_binomial() {
        // The example of 5,000 scores at 1 % with 95 % confidence.
        assert_eq!(certified_rank(5000, 0.01, 0.95), 39);
        for (n, rate, confidence) in [(100, 0.1, 0.9), (350, 0.02, 0.95), (59, 0.05, 0.95), (3000, 0.5, 0.99)] {
            let k = certified_rank(n, rate, confidence);
            // Sums by a recurrence of their own: P(Bin(n, p) = j) row by row of Pascal's triangle.
            let mut row = vec![1.0];
            for _ in 0..n {
                let mut next = vec![0.0; row.len() + 1];
                for (j, p) in row.iter().enumerate() {
                    next[j] += p * (1.0 - rate);
                    next[j + 1] += p * rate;
                }
                row = next;
            }
            let below = |k: usize| row[..k].iter().sum::<f64>();
            assert!(k == 0 || below(k) <= 1.0 - confidence + 1e-12, "{n} {rate}: {k}");
            assert!(below(k + 1) > 1.0 - confidence, "{n} {rate}: {k}");
        }
    }

    #[test]
    fn what_the_scores_cannot_support_is_refused_with_the_size_needed() {
        let calibration = |n: usize| Calibration::new((0..n).map(|i| i as f64).collect()).unwrap();
        assert_eq!(calibration(99).threshold(0.01, None), Ok(0.01));
        let refusal = |n: usize, rate, confidence| calibration(n).threshold(rate, confidence).unwrap_err();
        let CalibrationError::TooFew { needed, .. } = refusal(98, 0.01, None) else {
            panic!("another error");
        };
        assert_eq!(needed, 99);
        let CalibrationError::TooFewForConfidence { needed, .. } = refusal(200, 0.01, Some(0.95)) else {
            panic!("another error");
        };
        assert_eq!(needed, 299);
        assert_eq!(calibration(299).threshold(0.01, Some(0.95)), Ok(1.0 / 300.0));
        assert!(calibration(298).threshold(0.01, Some(0.95)).is_err());
        assert!(matches!(refusal(10, 0.0, None), CalibrationError::Rate(_)));
        assert!(matches!(refusal(10, 0.5, Some(1.0)), CalibrationError::Confidence(_)));
    }

    #[test]
    fn larger_scores_have_smaller_p_values_and_ties_share_theirs() {
        let calibration = Calibration::new(vec![1.0, 2.0, 2.0, 2.0, 3.0]).unwrap();
        let p = |score| calibration.upper_p_value(score) * 6.0;
        assert_eq!((p(0.0), p(1.0), p(2.0), p(2.5), p(9.0)), (6.0, 6.0, 5.0, 2.0, 1.0));
        assert_eq!(p(f64::NAN), 1.0);
    }

    #[test]
    fn discoveries_are_those_of_benjamini_and_hochberg() {
        // The fifteen p-values of the paper's own example: the four smallest are rejected at 5 %.
        let p = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528,
            0.7590, 1.0,
        ];
        let rejected = false_discovery_rejections(&p, 0.05);
        assert_eq!(rejected.iter().filter(|&&r| r).count(), 4);
        assert!(rejected[..4].iter().all(|&r| r));
        assert_eq!(false_discovery_rejections(&[], 0.1), Vec::<bool>::new());
        // A later p-value can carry an earlier one that fails its own bound.
        assert_eq!(false_discovery_rejections(&[0.06, 0.06], 0.06), [true, true]);
    }

    proptest! {
        /// Leave each of n + 1 exchangeable scores out in turn: at most α (n + 1) of them may get p ≤ α. This is the
        /// finite-sample guarantee itself, checked exactly, ties included.
        #[test]
        fn p_values_of_inliers_are_super_uniform(
            scores in prop::collection::vec(-20i32..20, 2..60),
            alpha in 0.01f64..0.99,
        ) {
            let rejected = (0..scores.len())
                .filter(|&i| {
                    let rest = scores.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, &s)| f64::from(s)).collect();
                    Calibration::new(rest).unwrap().two_sided_p_value(f64::from(scores[i])) <= alpha
                })
                .count();
            prop_assert!(rejected as f64 <= alpha * scores.len() as f64 + 1e-9);
        }

        /// The same for one side.
        #[test]
        fn upper_p_values_of_inliers_are_super_uniform(
            scores in prop::collection::vec(-20i32..20, 2..60),
            alpha in 0.01f64..0.99,
        ) {
            let rejected = (0..scores.len())
                .filter(|&i| {
                    let rest = scores.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, &s)| f64::from(s)).collect();
                    Calibration::new(rest).unwrap().upper_p_value(f64::from(scores[i])) <= alpha
                })
                .count();
            prop_assert!(rejected as f64 <= alpha * scores.len() as f64 + 1e-9);
        }

        #[test]
        fn the_order_of_calibration_scores_does_not_matter(
            mut scores in prop::collection::vec(-1e3f64..1e3, 1..50),
            score in -1e3f64..1e3,
        ) {
            let forward = Calibration::new(scores.clone()).unwrap().two_sided_p_value(score);
            scores.reverse();
            prop_assert_eq!(forward, Calibration::new(scores).unwrap().two_sided_p_value(score));
        }
    }
}
