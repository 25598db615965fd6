//! Logits that look like something else: by what they sum to, by the range that they lie in, and by the last operators
//! that made them.

use super::{ENOUGH, Suspicion};
use crate::import::{output_activation::OutputActivation, output_range::Made};

/// Dimensions or images from which on it tells something that a sum is the same for all of them.
const FEW: usize = 4;

/// Logits that cannot be farther apart than this tell next to nothing of levels or labels.
const NARROW: f64 = 4.0;

/// Looks at predictions: `outcomes` logits of each dimension or image, one after the other, and how they are made.
pub(in crate::families) fn predictions(values: &[f32], outcomes: usize, made: Made) -> Option<Suspicion> {
    let squashed = squashed(made);
    match logits(values, outcomes) {
        // Weights that are each other's opposite, as two labels that are learnt from nothing have them.
        Some(Suspicion::OtherLogarithms) if outcomes == 2 && made.source == OutputActivation::Linear => squashed,
        // What is left of 1 by probabilities, for one, has a sum in common as well.
        Some(Suspicion::Probabilities) if !made.is_scaled && squashed.is_some() => squashed,
        found => found.or(squashed),
    }
}

/// Looks at how logits are made.
fn squashed(made: Made) -> Option<Suspicion> {
    let Made { least, most, .. } = made;
    let is_sigmoid = matches!(made.source, OutputActivation::Sigmoid | OutputActivation::Softplus);
    let is_squashed = match made.source {
        // As it is, it is told by what it sums to.
        OutputActivation::Softmax if made.is_unchanged => false,
        _ if made.is_of_probabilities => true,
        // Its logarithm is a logit, unless it is that of something with a term added.
        OutputActivation::Softmax if made.is_logarithm => most - least <= NARROW,
        OutputActivation::Softmax | OutputActivation::Place => true,
        _ => most - least <= NARROW || made.is_positive() || (most <= 0.0 && is_sigmoid),
    };
    is_squashed.then_some(Suspicion::Squashed)
}

/// Looks at predictions: `outcomes` logits of each dimension or image, one after the other.
pub(in crate::families) fn logits(values: &[f32], outcomes: usize) -> Option<Suspicion> {
    // A sum of probabilities is rounded.
    let inside = |value: &f32| (0.0..=1.0 + 1e-5).contains(value);
    // Equal logits tell nothing.
    let varied = values.iter().any(|value| *value != values[0]);
    let all_inside = values.iter().all(inside);
    if !varied || outcomes == 1 {
        return (varied && all_inside).then_some(Suspicion::Probabilities);
    }
    let sums = |of: &dyn Fn(f64) -> f64| -> Vec<f64> {
        let rows = values.chunks(outcomes);
        rows.map(|own| own.iter().map(|&value| of(value.into())).sum())
            .collect()
    };
    let are = |sums: &[f64], sum: f64, share: f64| sums.iter().all(|own| (own - sum).abs() < share * sum.abs());
    // Whether what a function makes of them sums to the same for each dimension while its terms do not stay the same,
    // which chance does not bring about.
    let spread = |of: &dyn Fn(f64) -> f64| {
        let of_outcome = |outcome: usize| {
            let terms = values
                .iter()
                .skip(outcome)
                .step_by(outcomes)
                .map(|&value| of(value.into()));
            let (least, most) = terms.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), term| {
                (least.min(term), most.max(term))
            });
            most - least
        };
        (0..outcomes).map(of_outcome).fold(0.0, f64::max)
    };
    let sums_alike = |of: &dyn Fn(f64) -> f64| {
        let sums = sums(of);
        sums.len() >= FEW && are(&sums, sums[0], 1e-3) && spread(of) > 0.05 * sums[0]
    };
    // Divided by the largest of each, or brought to the range from 0 to 1.
    let is_scaled = all_inside
        && values.len() > outcomes
        && values.chunks(outcomes).all(|own| {
            let largest = own.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            (largest - 1.0).abs() <= 1e-6
        });
    if is_scaled && !are(&sums(&|value| value), 1.0, 1e-3) {
        return Some(Suspicion::Shares);
    }
    let is_any = values.iter().all(|&value| value >= 0.0) && sums_alike(&|value| value);
    if is_any || (all_inside && are(&sums(&|value| value), 1.0, 1e-3)) {
        return Some(Suspicion::Probabilities);
    }
    // What is the same everywhere tells nothing either.
    let first = &values[..outcomes.min(values.len())];
    let are_many = values.len() >= ENOUGH * outcomes && values.chunks(outcomes).any(|own| own != first);
    if are_many && all_inside {
        return Some(Suspicion::Shares);
    }
    // Logarithms of probabilities are logits.
    if are(&sums(&f64::exp), 1.0, 1e-3) {
        return None;
    }
    let others: [&dyn Fn(f64) -> f64; 6] = [
        &|value| (-value).exp(),
        &f64::exp2,
        &|value| (-value).exp2(),
        &|value| 10f64.powf(value),
        &|value| 10f64.powf(-value),
        // Log-odds of each.
        &|value| 1.0 / (1.0 + (-value).exp()),
    ];
    let is_other = |of: &&dyn Fn(f64) -> f64| {
        let sums = sums(*of);
        // Terms that vanish leave a sum of 1 to a logit that is 0.
        (are(&sums, 1.0, 1e-5) && spread(*of) > 1e-3) || (are(&sums, 1.0, 1e-3) && sums_alike(*of))
    };
    others.iter().any(is_other).then_some(Suspicion::OtherLogarithms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_told_from_logits() {
        assert_eq!(logits(&[0.25, 0.75, 0.5, 0.5], 2), Some(Suspicion::Probabilities));
        assert_eq!(logits(&[0.25, 0.5, 0.5, 0.5], 2), None);
        assert_eq!(logits(&[0.25, 0.5, 0.9], 1), Some(Suspicion::Probabilities));
        assert_eq!(logits(&[-0.25, 0.5, 0.9], 1), None);
        assert_eq!(logits(&[f32::NAN, 0.5], 1), None);
        // Of more dimensions than chance would make alike.
        let of_each = |of: &dyn Fn(f32) -> f32| -> Vec<f32> {
            let shares = (0..32).map(|i| 0.1 + 0.025 * i as f32);
            shares.flat_map(|share| [of(share), of(1.0 - share)]).collect()
        };
        assert_eq!(logits(&of_each(&|p| 100.0 * p), 2), Some(Suspicion::Probabilities));
        assert_eq!(logits(&of_each(&|p| p * p), 2), Some(Suspicion::Shares));
        assert_eq!(logits(&of_each(&f32::ln), 2), None);
        assert_eq!(logits(&of_each(&|p| -p.ln()), 2), Some(Suspicion::OtherLogarithms));
        assert_eq!(logits(&of_each(&f32::log2), 2), Some(Suspicion::OtherLogarithms));
        assert_eq!(
            logits(&of_each(&|p| (p / (1.0 - p)).ln()), 2),
            Some(Suspicion::OtherLogarithms)
        );
        assert_eq!(logits(&of_each(&|p| 3.0 * p.ln()), 2), None);
        assert_eq!(logits(&[1.0, 0.0, 0.4, 0.2, 0.0, 1.0], 3), Some(Suspicion::Shares));
        // A handful of images tells it, too, if they are told apart; else only if sums are exact.
        let few = |of: &dyn Fn(f64) -> f64, spread: f64| -> Vec<f32> {
            let shares = (0..4).map(|i| 0.3 + spread * f64::from(i));
            shares
                .flat_map(|share| [of(share) as f32, of(1.0 - share) as f32])
                .collect()
        };
        assert_eq!(logits(&few(&|p| 100.0 * p, 0.1), 2), Some(Suspicion::Probabilities));
        assert_eq!(logits(&few(&|p| -p.ln(), 0.1), 2), Some(Suspicion::OtherLogarithms));
        assert_eq!(logits(&few(&|p| -p.ln() + 1e-4, 1e-4), 2), None);
        assert_eq!(logits(&few(&|p| 1.0 + p, 1e-4), 2), None);
        assert_eq!(logits(&[0.0, 18.0, 0.0, 20.0], 2), None);
        // Logarithms of probabilities are logits, and a constant tells nothing.
        assert_eq!(logits(&[0.25f32.ln(), 0.75f32.ln()], 2), None);
        assert_eq!(logits(&[0.5, 0.5], 2), None);
        assert_eq!(logits(&[0.0, 0.0], 1), None);
    }

    #[test]
    fn logits_are_doubted_by_how_they_are_made() {
        let any = Made {
            source: OutputActivation::Other,
            is_unchanged: false,
            is_logarithm: false,
            is_rectified: false,
            is_scaled: false,
            is_of_probabilities: false,
            least: f64::NEG_INFINITY,
            most: f64::INFINITY,
        };
        let of = |source, is_logarithm, (least, most)| {
            predictions(
                &[-1.0, 2.0, 3.0],
                3,
                Made {
                    source,
                    is_logarithm,
                    least,
                    most,
                    ..any
                },
            )
        };
        let (none, everything) = ((f64::NEG_INFINITY, 0.0), (f64::NEG_INFINITY, f64::INFINITY));
        for sound in [
            of(OutputActivation::Other, false, everything),
            of(OutputActivation::Other, false, (-20.0, 20.0)),
            of(OutputActivation::Other, false, none),
            of(OutputActivation::Softmax, true, none),
            of(OutputActivation::LogSoftmax, false, none),
        ] {
            assert_eq!(sound, None);
        }
        for wrong in [
            of(OutputActivation::Softmax, false, (-50.0, 50.0)),
            of(OutputActivation::Softmax, true, (0.0, 0.7)),
            of(OutputActivation::Sigmoid, true, none),
            of(OutputActivation::Softplus, false, none),
            of(OutputActivation::Place, false, everything),
            of(OutputActivation::Other, false, (-1.0, 1.0)),
            of(OutputActivation::Other, false, (0.0, f64::INFINITY)),
        ] {
            assert_eq!(wrong, Some(Suspicion::Squashed));
        }
        // What is cut off at 0 was trained like that.
        let rectified = |least| Made {
            is_rectified: true,
            least,
            ..any
        };
        assert_eq!(predictions(&[1.0, 2.0, 3.0], 3, rectified(0.0)), None);
        let surprise = Made {
            is_of_probabilities: true,
            ..any
        };
        assert_eq!(predictions(&[-0.1, -0.2, -0.3], 3, surprise), Some(Suspicion::Squashed));
        let strengths = predictions(&[1.0, 2.0, 3.0], 3, rectified(1.0));
        assert_eq!(strengths, Some(Suspicion::Squashed));
        // Two labels that are learnt from nothing have opposite weights.
        let opposite = [0.3, -0.3, 1.0, -1.0, -0.2, 0.2, 0.7, -0.7];
        let source = |source| Made { source, ..any };
        assert_eq!(predictions(&opposite, 2, source(OutputActivation::Linear)), None);
        let of_each = predictions(&opposite, 2, source(OutputActivation::Other));
        assert_eq!(of_each, Some(Suspicion::OtherLogarithms));
    }
}
