//! Conformal p-values: a false-alarm rate that holds for any model, if inliers are exchangeable with the calibration images
//! (Vovk, Gammerman and Shafer 2005; Bates et al. 2023 for outlier detection).

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
        "a false-alarm rate of {rate} needs at least {needed} calibration scores, but there are {available}: the smallest rate \
         they support is {smallest:.3e}"
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

    /// Whether the scores can support the rate: `rate` must be at least the smallest p-value there can be.
    pub fn supports(&self, rate: f64) -> Result<(), CalibrationError> {
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
        assert!(calibration.supports(0.002).is_ok());
        assert!(matches!(
            calibration.supports(0.001),
            Err(CalibrationError::TooFew { needed: 1999, .. })
        ));
        assert!(matches!(
            calibration.supports(1.0),
            Err(CalibrationError::Rate(_))
        ));
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
