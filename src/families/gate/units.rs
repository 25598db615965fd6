//! Numbers that look like something else than they are taken for.
//!
//! Nothing in a graph tells a logit from a probability. But the range of numbers does: what looks wrong has to be
//! answered in the manifest, where its author says what it is. Golden scores do not help, since they may have been made
//! with the same mistake.

mod codes;
mod flat;
mod logits;
mod mixture;
mod pictures;

use std::fmt;

pub(in crate::families) use self::{
    codes::width,
    flat::{SHARES, are_unexpected, flat},
    logits::{logits, predictions},
    mixture::mixture,
    pictures::{bounds, pictures},
};
use crate::families::manifest::Declared;

/// What numbers look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::families) enum Suspicion {
    /// Logits that all lie in [0, 1], and sum to 1 over levels or labels where there are several; or that are none
    /// negative and have some other sum in common.
    Probabilities,
    /// Logits of several levels or labels that all lie in [0, 1] and have no sum in common.
    Shares,
    /// Logits that are logarithms of probabilities, but for their sign or their base, or log-odds of each.
    OtherLogarithms,
    /// Logits that the last operators of the graph make of probabilities, or keep in a range in which none lie.
    Squashed,
    /// Weights of mixtures that sum to 1.
    MixtureWeights,
    /// Log-scales of mixtures that are all positive.
    MixtureScales,
    /// Means of mixtures far beyond 1.
    MixtureMeans,
    /// Coefficients of mixtures that went through a hyperbolic tangent.
    MixtureCoefficients,
    /// Pictures that use all of [−1, 1].
    Signed,
    /// Pictures far above 1.
    Levels,
    /// Pictures of which much lies outside [0, 1].
    Outside,
    /// Pictures that the last operators of the graph keep in another range than that of 0 to 1.
    Bounds,
    /// Log-scales that are all positive.
    Scale,
    /// Log-variances that are all positive.
    Spread,
    /// Means that are all negative beside log-variances of both signs.
    Swapped,
    /// Codes of drawn images that lie nearer to the means of their posteriors than log-variances say.
    Wide,
    /// Inputs that are scaled by the manifest and again by the graph.
    ScaledTwice,
}

/// What a spread of codes can be, as `[declared] log_variance` says it.
pub(in crate::families) const SPREADS: [(&str, &str); 4] = [
    ("log-variance", "log σ²"),
    ("variance", "σ²"),
    ("log-deviation", "log σ"),
    ("deviation", "σ"),
];

impl Suspicion {
    /// Whether the manifest says what the numbers are.
    pub(in crate::families) fn is_answered(self, declared: Declared) -> bool {
        match self {
            Self::Probabilities | Self::Shares | Self::OtherLogarithms | Self::Squashed => declared.logits.is_some(),
            Self::Signed | Self::Levels | Self::Outside | Self::Bounds => declared.pictures.is_some(),
            Self::Scale => declared.log_scale.is_some(),
            Self::Spread | Self::Swapped | Self::Wide => declared.log_variance.is_some(),
            Self::MixtureWeights | Self::MixtureScales | Self::MixtureMeans | Self::MixtureCoefficients => {
                declared.mixture.is_some()
            }
            Self::ScaledTwice => declared.input.is_some(),
        }
    }
}

impl Suspicion {
    /// The key of `[declared]` that answers it, what can be said, and what is likely: nothing, if what was meant should
    /// rather be exported otherwise.
    pub(in crate::families) fn answers(self) -> (&'static str, &'static [(&'static str, &'static str)], &'static str) {
        const PICTURES: [(&str, &str); 3] = [
            ("0..1", "as they are, the rest cut off"),
            ("-1..1", "as a hyperbolic tangent gives them"),
            ("levels", "levels"),
        ];
        match self {
            Self::Probabilities => (
                "logits",
                &[
                    ("probabilities", "they are probabilities"),
                    ("logits", "they are logits after all"),
                ],
                "probabilities",
            ),
            Self::Shares | Self::OtherLogarithms | Self::Squashed => {
                ("logits", &[("logits", "they are logits after all")], "")
            }
            Self::Signed => ("pictures", &PICTURES, "-1..1"),
            Self::Levels => ("pictures", &PICTURES, "levels"),
            Self::Outside | Self::Bounds => ("pictures", &PICTURES, ""),
            Self::Scale => (
                "log_scale",
                &[
                    ("scale", "they are scales"),
                    ("log-scale", "they are logarithms after all"),
                ],
                "scale",
            ),
            Self::Spread => ("log_variance", &SPREADS, "variance"),
            Self::Swapped => ("log_variance", &SPREADS, "log-variance"),
            Self::Wide => ("log_variance", &SPREADS, ""),
            Self::MixtureWeights | Self::MixtureScales | Self::MixtureMeans | Self::MixtureCoefficients => (
                "mixture",
                &[("parameters", "they are the parameters of the contract after all")],
                "",
            ),
            Self::ScaledTwice => (
                "input",
                &[
                    ("levels", "it takes levels"),
                    ("scaled-twice", "it was trained like that"),
                ],
                "levels",
            ),
        }
    }
}

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probabilities => {
                "its logits look like probabilities: all lie between 0 and 1, and where there are several they sum to \
                 1, or to the same; say logits = \"probabilities\", or logits = \"logits\" if they are that after all"
            }
            Self::Shares => {
                "its logits all lie between 0 and 1, as those of a sigmoid for each level or label do, or of a softmax \
                 over another axis, which are no logits; export it without them, or say logits = \"logits\" if they \
                 are that after all"
            }
            Self::OtherLogarithms => {
                "its logits are logarithms of probabilities with the sign turned, or to another base than e, or \
                 log-odds of each by itself; export natural logarithms, or say logits = \"logits\" if it was trained \
                 like that"
            }
            Self::Squashed => {
                "the last operators of its graph make its logits of probabilities, or keep them in a range in which \
                 no logits lie: a narrow one, as a hyperbolic tangent does, or one side of 0, as a root, a distance \
                 or an exponential does; export what is before them, or say logits = \"logits\" if it was trained \
                 like that"
            }
            Self::Signed => {
                "its pictures look as if they went from -1 to 1, and are taken as going from 0 to 1; say pictures = \
                 \"-1..1\", or pictures = \"0..1\" if they do and the rest is to be cut off"
            }
            Self::Levels => {
                "its pictures look like levels, and are taken as level / (levels - 1); say pictures = \"levels\", or \
                 pictures = \"0..1\" if the rest is to be cut off"
            }
            Self::Outside => {
                "more than half of the numbers of its pictures lie outside of 0 to 1; say pictures = \"0..1\" if the \
                 rest is to be cut off, else \"-1..1\" or \"levels\"; of what was trained on binary cross-entropy with \
                 logits, export the sigmoid of it, or say head = \"bernoulli\" of a VAE"
            }
            Self::Bounds => {
                "the last operators of its graph keep its pictures in another range than from 0 to 1, so that levels \
                 are left out or cut off: they may be standardised, or be in other units than is said; export them \
                 from 0 to 1, or say pictures = \"0..1\", \"-1..1\" or \"levels\" if that is right after all"
            }
            Self::Scale => {
                "its log-scales look like scales: none is negative, which would be a spread wider than all levels; say \
                 log_scale = \"scale\", or log_scale = \"log-scale\" if they are that after all"
            }
            Self::Spread => {
                "its log-variances look like variances or deviations: none is negative, which would be a code less \
                 certain than without the image; say log_variance = \"variance\", \"deviation\" or \"log-deviation\", \
                 or \"log-variance\" if they are that after all"
            }
            Self::Swapped => {
                "its mean and its log-variance look exchanged: every mean is negative, and log-variances have both \
                 signs; exchange the names of the outputs, or say log_variance = \"log-variance\" if they are right"
            }
            Self::Wide => {
                "its posteriors look wider than they are: codes of images that its decoder draws lie much nearer to \
                 the means that its encoder gives of these than log-variances say; say log_variance = \
                 \"log-deviation\" if it gives log σ, or log_variance = \"log-variance\" if training weighted the KL \
                 term or they are right"
            }
            Self::MixtureWeights => {
                "the weights of its mixtures look like probabilities, since they sum to 1, and are taken as logits; \
                 export what is before their softmax, or say mixture = \"parameters\" if it was trained like that"
            }
            Self::MixtureScales => {
                "the log-scales of its mixtures look like something else: none is negative, which would be components \
                 wider than all levels, as scales, inverse scales or logarithms of scales in levels are; export \
                 logarithms of scales for levels from -1 to 1, or say mixture = \"parameters\" if they are that after \
                 all"
            }
            Self::MixtureMeans => {
                "the means of its mixtures lie far beyond 1, as levels do, and are taken as going from -1 to 1; export \
                 them like that, or say mixture = \"parameters\" if they are right"
            }
            Self::MixtureCoefficients => {
                "the coefficients between the channels of its mixtures look as if they had gone through a hyperbolic \
                 tangent, which they get by definition: none is beyond 1, and many are next to it; export what is \
                 before it, or say mixture = \"parameters\" if it was trained with both"
            }
            Self::ScaledTwice => {
                "its input looks scaled twice: [input] scales levels, and the graph divides what it is given again; \
                 set [input] scale = 1.0, or say input = \"scaled-twice\" if it was trained like that"
            }
        })
    }
}

/// Looks at the log-scales of a decoder, in units of the whole range of levels.
pub(in crate::families) fn log_scale(values: &[f32]) -> Option<Suspicion> {
    let positive = !values.is_empty() && values.iter().all(|&value| value >= 0.0);
    positive.then_some(Suspicion::Scale)
}

/// Numbers from which on signs tell something.
const ENOUGH: usize = 16;

/// Looks at what an encoder gives.
pub(in crate::families) fn posterior(mean: &[f32], log_variance: &[f32]) -> Option<Suspicion> {
    let negative = |values: &[f32]| values.iter().filter(|&&value| value < 0.0).count();
    if log_variance.len() < ENOUGH {
        return None;
    }
    let (of_mean, of_variance) = (negative(mean), negative(log_variance));
    // A collapsed dimension has a log-variance about 0, on either side of it.
    if log_variance.iter().all(|&value| value > -1e-6) && log_variance.iter().any(|&v| v > 0.05) {
        return Some(Suspicion::Spread);
    }
    let mixed = (log_variance.len() / 5..=log_variance.len() * 4 / 5).contains(&of_variance);
    (of_mean == mean.len() && mixed).then_some(Suspicion::Swapped)
}

/// Looks at the factor by which a graph scales what the manifest has scaled by `scale`.
pub(in crate::families) fn input(scale: f64, factor: f64, levels: usize) -> Option<Suspicion> {
    let widest = (levels - 1) as f64;
    let (given, left) = (scale.abs() * widest, scale.abs() * factor.abs() * widest);
    // Scaled once, the levels of an image span about 1 or 2; twice, about a level.
    let twice = levels > 16 && given <= 8.0 && left <= 8.0 / widest;
    twice.then_some(Suspicion::ScaledTwice)
}

/// How sure it must be that a density gives noise more probability than there is: nats, and so at most one honest
/// density of 10⁹ is refused.
const SURE: f64 = 20.7;

/// Log-likelihoods in nats of images drawn uniformly. Of any probability, p(x) times the number of images has the mean
/// 1 over them, so that its product over independent images passes e^t with probability at most e^−t. Answers what it
/// is on average and what it can be, if it passes.
pub(in crate::families) fn noise(scores: &[f64], dimensions: usize, levels: usize) -> Option<(f64, f64)> {
    let most = -(dimensions as f64) * (levels as f64).ln();
    let excess: f64 = scores.iter().map(|score| score - most).sum();
    let rounding = 1e-5 * most.abs() * scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    (excess > SURE + rounding).then_some((mean, most))
}

/// What a tolerance of golden numbers proves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::families) enum Tolerated {
    /// Enough.
    Little,
    /// Little: more than a twentieth of what there is.
    Much(f64),
    /// Nothing: any number would do.
    Anything(f64),
}

/// Compares what is allowed to golden numbers with `span`, the size of numbers that say nothing.
pub(in crate::families) fn tolerated(allowed: impl Iterator<Item = f64>, span: f64) -> Tolerated {
    let largest = allowed.fold(0.0, f64::max);
    if largest.is_nan() || largest >= span {
        Tolerated::Anything(largest)
    } else if largest > span / 20.0 {
        Tolerated::Much(largest)
    } else {
        Tolerated::Little
    }
}

/// Whether the number of weights that a manifest states is about that of its graphs, which hold constants besides.
pub(in crate::families) fn is_plausible_count(stated: u64, found: u64) -> bool {
    stated.saturating_mul(2) >= found && stated <= found.saturating_mul(2).max(found + 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_are_told_from_their_logarithms() {
        assert_eq!(log_scale(&[0.1, 0.3]), Some(Suspicion::Scale));
        assert_eq!(log_scale(&[-2.0, 0.3]), None);
        let constant = |value: f32| vec![value; ENOUGH];
        let mixed: Vec<f32> = (0..ENOUGH).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        assert_eq!(posterior(&mixed, &constant(-2.0)), None);
        assert_eq!(posterior(&mixed, &constant(0.3)), Some(Suspicion::Spread));
        assert_eq!(posterior(&constant(-2.0), &mixed), Some(Suspicion::Swapped));
        assert_eq!(posterior(&constant(-2.0)[..3], &mixed[..3]), None);
    }

    #[test]
    fn levels_scaled_twice_are_found() {
        assert_eq!(input(1.0 / 255.0, 1.0, 256), None);
        assert_eq!(input(1.0, 1.0 / 255.0, 256), None);
        assert_eq!(input(1.0 / 255.0, 2.0, 256), None);
        assert_eq!(input(1.0 / 255.0, 1.0 / 255.0, 256), Some(Suspicion::ScaledTwice));
        assert_eq!(input(2.0 / 255.0, 1.0 / 127.5, 256), Some(Suspicion::ScaledTwice));
        assert_eq!(input(1.0, 0.5, 2), None);
    }

    #[test]
    fn noise_has_no_more_probability_than_there_is() {
        let most = -64.0 * 4f64.ln();
        assert_eq!(noise(&[most, most], 64, 4), None);
        assert_eq!(noise(&[most - 100.0, most + 30.0], 64, 4), None);
        assert_eq!(noise(&[most + 15.0], 64, 4), None);
        assert_eq!(noise(&[most + 15.0, most + 15.0], 64, 4), Some((most + 15.0, most)));
        assert_eq!(noise(&[f64::NEG_INFINITY], 64, 4), None);
    }

    #[test]
    fn tolerances_and_counts_that_say_nothing_are_found() {
        assert_eq!(tolerated([1e-3].into_iter(), 100.0), Tolerated::Little);
        assert_eq!(tolerated([1e-3, 7.0].into_iter(), 100.0), Tolerated::Much(7.0));
        assert_eq!(tolerated([1e300].into_iter(), 100.0), Tolerated::Anything(1e300));
        assert!(is_plausible_count(100, 150) && is_plausible_count(150, 100));
        assert!(is_plausible_count(600, 0));
        assert!(!is_plausible_count(0, 150) && !is_plausible_count(1_000_000, 150));
    }
}
