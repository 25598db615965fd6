//! Statistics of exact densities: of the main one, and of its ratio to densities that see less.
//!
//! In formulas sums run over dimensions i, logarithms are natural and Hᵢ is the entropy of the distribution that the
//! main density predicts for dimension i. Costs are in passes of the main density, which all its statistics share.

use super::{
    Inputs, Part, Requirement, Statistic, Values,
    arithmetic::{deviation, signed_log, total},
};
use crate::domain::complexity;

/// −Σ log pᵢ. One pass. Small for pictures simpler than the inliers, whatever they show (Nalisnick et al. 2019).
pub const NEGATIVE_LOG_LIKELIHOOD: Statistic = Statistic {
    name: "negative_log_likelihood",
    unit: "nats",
    requirements: &[Requirement::Density],
    part: Part::Decides,
    values: Values::Number(surprise),
};

/// Σ Hᵢ: the surprise that the density expects on its way through the image. Nothing beyond the same pass.
pub const ENTROPY: Statistic = Statistic {
    name: "entropy",
    unit: "nats",
    requirements: &[Requirement::Density],
    part: Part::Decides,
    values: Values::Number(|seen| Some(total(&seen.density()?.entropy))),
};

/// Σ(−log pᵢ − Hᵢ) / √(1 + Σ Vᵢ), Vᵢ the predicted variance of −log pᵢ: how far the surprise is from what was expected
/// of this very image, in standard deviations. The typical set of Nalisnick et al. 2019b, taken step by step: under the
/// model the sum is a martingale. The same pass.
pub const TYPICALITY: Statistic = Statistic {
    name: "typicality",
    unit: "standard deviations",
    requirements: &[Requirement::Density],
    part: Part::Decides,
    values: Values::Number(|seen| {
        let density = seen.density()?;
        let excess = -total(&density.log_probability) - total(&density.entropy);
        Some(excess / (total(&density.variance) + 1.0).sqrt())
    }),
};

/// How many dimensions have −log pᵢ > 3 nats. The same pass.
pub const IMPROBABLE_3: Statistic = Statistic {
    name: "improbable_3",
    unit: "dimensions",
    requirements: &[Requirement::Density],
    part: Part::Decides,
    values: Values::Number(|seen| improbable(seen, 3.0)),
};

/// The same above 6 nats.
pub const IMPROBABLE_6: Statistic = Statistic {
    name: "improbable_6",
    values: Values::Number(|seen| improbable(seen, 6.0)),
    ..IMPROBABLE_3
};

/// The same above 9 nats: levels of less than one in 8,000.
pub const IMPROBABLE_9: Statistic = Statistic {
    name: "improbable_9",
    values: Values::Number(|seen| improbable(seen, 9.0)),
    ..IMPROBABLE_3
};

/// Standard deviation over dimensions of log pᵢ. The same pass.
pub const SURPRISE_SPREAD: Statistic = Statistic {
    name: "surprise_spread",
    unit: "nats",
    requirements: &[Requirement::Density],
    part: Part::Decides,
    values: Values::Number(|seen| {
        let log_p = seen.density()?.log_probability.iter();
        let bounded = log_p.map(|&value| f64::from(value).max(-1e3));
        Some(deviation(bounded, seen.count()))
    }),
};

/// −log₂ p − code length, both in bits (Serrà et al. 2020).
pub const INPUT_COMPLEXITY: Statistic = Statistic {
    name: "input_complexity",
    unit: "bits",
    requirements: &[Requirement::Density],
    part: Part::Reported,
    values: Values::Number(|seen| {
        let bits = surprise(seen)? / std::f64::consts::LN_2;
        Some(bits - complexity::code_length(seen.levels, seen.shape))
    }),
};

/// Σ(−log pᵢ − Hᵢ) over each region of a 7×7 grid: where the image surprises more than expected. The same pass.
pub const SURPRISE_MAP: Statistic = Statistic {
    name: "surprise_map",
    unit: "nats",
    requirements: &[Requirement::Density],
    part: Part::Decides,
    values: Values::Map {
        of: |seen| {
            let evidence = seen.evidence;
            let density = evidence.density.as_ref()?;
            let both = density.log_probability.iter().zip(&density.entropy);
            Some(both.map(|(l, h)| -l - h).collect())
        },
        scale: |sum| sum,
    },
};

/// log p_local − log p (Zhang et al. 2021): p_local sees only the nearest pixels. A small pass of the local member.
pub const LOCAL_RATIO: Statistic = Statistic {
    name: "local_ratio",
    unit: "nats",
    requirements: &[Requirement::Density, Requirement::Local],
    part: Part::Decides,
    values: Values::Number(|seen| ratio(seen, seen.evidence.local.as_deref())),
};

/// log p_background − log p (Ren et al. 2019): p_background was trained on images whose pixels were replaced at random.
/// A pass of the background member.
pub const BACKGROUND_RATIO: Statistic = Statistic {
    name: "background_ratio",
    unit: "nats",
    requirements: &[Requirement::Density, Requirement::Background],
    part: Part::Decides,
    values: Values::Number(|seen| ratio(seen, seen.evidence.background.as_deref())),
};

/// r = Σ(log p_local,ᵢ − log pᵢ) over each region of a 7×7 grid, as sign(r) log(1 + |r|): where the wider view helps or
/// misleads.
pub const LOCAL_RATIO_MAP: Statistic = Statistic {
    name: "local_ratio_map",
    unit: "nats",
    requirements: &[Requirement::Density, Requirement::Local],
    part: Part::Decides,
    values: Values::Map {
        of: |seen| {
            let evidence = seen.evidence;
            let local = evidence.local.as_ref()?;
            let log_p = &evidence.density.as_ref()?.log_probability;
            Some(local.iter().zip(log_p).map(|(l, p)| l - p).collect())
        },
        scale: signed_log,
    },
};

fn surprise(seen: &Inputs<'_>) -> Option<f64> {
    Some(-total(&seen.density()?.log_probability))
}

fn improbable(seen: &Inputs<'_>, nats: f32) -> Option<f64> {
    let log_p = &seen.density()?.log_probability;
    // NaN is no probability, so it counts as improbable.
    let improbable = |value: &&f32| value.is_nan() || -**value > nats;
    Some(log_p.iter().filter(improbable).count() as f64)
}

fn ratio(seen: &Inputs<'_>, other: Option<&[f32]>) -> Option<f64> {
    Some(total(other?) - total(&seen.density()?.log_probability))
}
