//! Predictions of flat images, which every trained density expects to go on as they are.

/// Brightnesses that are tried, as shares of the highest level.
pub(in crate::families) const SHARES: [f64; 9] = [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0];
/// How far predictions are from those of a mistake at most.
const CLOSE: f64 = 0.06;
/// Mistakes: what is predicted of a share g is a + b g, as far as there are levels. Nothing that is learnt of other
/// images looks like that, since it draws all predictions to some in the middle.
const MISTAKES: [(f64, f64, &str); 4] = [
    (
        0.5,
        0.5,
        "as if it took images, or gave means of mixtures, in other units: from -1 to 1 where 0 to 1 are given, or the \
         reverse",
    ),
    (-1.0, 2.0, "as if it took images from 0 to 1, and got them from -1 to 1"),
    (
        -0.5,
        1.0,
        "as if it took images from 0 to 1, and got them from -0.5 to 0.5",
    ),
    (
        0.5,
        1.0,
        "as if it took images from -0.5 to 0.5, and got them from 0 to 1",
    ),
];

/// Looks at what is predicted of flat images: pairs of their brightness and of the mean that is predicted, both as
/// shares of the highest level. Answers in which units it looks as if they were taken, if that is not how they are
/// given.
pub(in crate::families) fn flat(predicted: &[(f64, f64)]) -> Option<&'static str> {
    let found = MISTAKES.iter().find(|(start, slope, _)| {
        let mut pairs = predicted.iter();
        pairs.all(|(share, own)| (own - (start + slope * share).clamp(0.0, 1.0)).abs() < CLOSE)
    });
    found.map(|(_, _, looks)| *looks)
}

/// Nats by which each flat image is less likely than of a density that knows nothing, before that is told.
const BELOW: f64 = 1.0;

/// Whether no flat image is expected, by the log-probabilities in nats of the levels that go on: what is trained
/// expects some, and what is not is about as good as knowing nothing.
pub(in crate::families) fn are_unexpected(log_probabilities: &[f64], levels: usize) -> bool {
    let nothing = -(levels as f64).ln();
    log_probabilities.iter().all(|own| *own < nothing - BELOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_from_what_is_little_learnt() {
        let looks = |of: &dyn Fn(f64) -> f64| flat(&SHARES.map(|share| (share, of(share))));
        assert_eq!(looks(&|share| share), None);
        assert!(looks(&|share| 0.48 + 0.5 * share).unwrap().contains("from -1 to 1"));
        assert!(
            looks(&|share| (2.0 * share - 1.0).max(0.01))
                .unwrap()
                .contains("from 0 to 1")
        );
        for middle in [0.2, 0.5, 0.8] {
            for learnt in [0.0, 0.25, 0.5, 0.75, 0.9] {
                assert_eq!(
                    looks(&|share| middle + learnt * (share - middle)),
                    None,
                    "{middle} {learnt}"
                );
            }
        }
        assert_eq!(looks(&|share| f64::from(share > 0.3)), None);
    }

    #[test]
    fn one_flat_image_that_is_expected_is_enough() {
        assert!(are_unexpected(&[-7.0; 9], 256));
        assert!(!are_unexpected(&[-6.0; 9], 256));
        assert!(!are_unexpected(&[-7.0, -7.0, -0.1], 256));
    }
}
