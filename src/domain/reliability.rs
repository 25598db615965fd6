//! Whether confidence is deserved: of the answers given with a probability of 0.8, are 80 % right?

/// Answers of similar confidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Bin {
    /// Answers.
    pub count: usize,
    /// Mean confidence; 0 if there are no answers.
    pub confidence: f64,
    /// Share of the answers that are right; 0 if there are none.
    pub accuracy: f64,
}

/// A reliability diagram and what it comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Reliability {
    /// Bins of equal width over confidences from 0 to 1; the last includes 1.
    pub bins: Vec<Bin>,
    /// Σ (share of the answers in a bin) · |accuracy − confidence| (Guo et al. 2017); 0 without answers.
    pub expected_calibration_error: f64,
}

/// The reliability of answers, each given as its confidence, the probability of the label that was answered, and
/// whether it is right.
///
/// # Panics
/// If `bins` is 0.
pub fn reliability(answers: &[(f64, bool)], bins: usize) -> Reliability {
    assert!(bins > 0, "there is a bin");
    let mut sums = vec![(0_usize, 0.0, 0.0); bins];
    for &(confidence, is_right) in answers {
        let (count, confidences, right) = &mut sums[bin_of(confidence, bins)];
        *count += 1;
        *confidences += confidence;
        *right += f64::from(u8::from(is_right));
    }
    let gaps: f64 = sums
        .iter()
        .map(|(_, confidences, right)| f64::abs(confidences - right))
        .sum();
    let bins = sums
        .into_iter()
        .map(|(count, confidences, right)| {
            let n = count.max(1) as f64;
            Bin {
                count,
                confidence: confidences / n,
                accuracy: right / n,
            }
        })
        .collect();
    Reliability {
        bins,
        expected_calibration_error: gaps / answers.len().max(1) as f64,
    }
}

fn bin_of(confidence: f64, bins: usize) -> usize {
    ((confidence * bins as f64) as usize).min(bins - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn answers_that_are_right_as_often_as_they_say_have_no_error() {
        let mut answers = vec![(0.75, true); 75];
        answers.extend([(0.75, false); 25]);
        assert!(reliability(&answers, 15).expected_calibration_error < 1e-12);
        assert!(reliability(&[(1.0, true)], 15).expected_calibration_error < 1e-12);
    }

    #[test]
    fn certain_and_wrong_is_the_worst() {
        let diagram = reliability(&[(1.0, false); 3], 15);
        assert_eq!(diagram.expected_calibration_error, 1.0);
        assert_eq!(diagram.bins[14].count, 3);
        assert_eq!(reliability(&[], 15).expected_calibration_error, 0.0);
    }

    #[test]
    fn gaps_of_opposite_sign_in_two_bins_do_not_cancel() {
        let answers = [(0.2, true), (0.9, false)];
        let error = reliability(&answers, 2).expected_calibration_error;
        assert!((error - (0.8 + 0.9) / 2.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn bins_hold_every_answer_and_average_to_the_accuracy(
            answers in prop::collection::vec((0.0..=1.0_f64, any::<bool>()), 1..100),
            bins in 1_usize..20,
        ) {
            let diagram = reliability(&answers, bins);
            prop_assert_eq!(diagram.bins.iter().map(|bin| bin.count).sum::<usize>(), answers.len());
            let right: f64 = diagram.bins.iter().map(|bin| bin.accuracy * bin.count as f64).sum();
            let wanted = answers.iter().filter(|(_, is_right)| *is_right).count();
            prop_assert!((right - wanted as f64).abs() < 1e-9);
            prop_assert!((0.0..=1.0 + 1e-12).contains(&diagram.expected_calibration_error));
            for (place, bin) in diagram.bins.iter().enumerate().filter(|(_, bin)| bin.count > 0) {
                let edges = (place as f64 / bins as f64, (place + 1) as f64 / bins as f64);
                prop_assert!(edges.0 - 1e-9 <= bin.confidence && bin.confidence <= edges.1 + 1e-9);
            }
        }
    }
}
