//! Statistics of features: how far an image, or the places of one, lie from what a learner saw of inliers.
//!
//! Of a vector there is one distance. Of a map there is one for every place: their mean, their largest and the mean of
//! the largest twentieth are statistics of the image. All need one pass of the network.

use super::{Distances, Inputs, Part, Requirement, Statistic, Values};
use crate::{detection::places::resized, domain::tiles::smooth};

/// Deviation, in places, of the Gaussian under which detectors that go by neighbours alone look at distances: what one
/// place says is mostly grain.
const SMOOTHING: f64 = 1.0;

/// Squared Mahalanobis distance to the nearest of the Gaussians of labels, mean over places.
pub const FEATURE_MAHALANOBIS: Statistic = Statistic {
    name: "feature_mahalanobis",
    unit: "squared standard deviations",
    requirements: &[Requirement::Features, Requirement::Gaussians],
    part: Part::Exceeds,
    values: Values::Number(|seen| Some(mean(distances(seen, Requirement::Gaussians)?))),
};

/// The same of the places where it is largest.
pub const FEATURE_MAHALANOBIS_SHARE: Statistic = Statistic {
    name: "feature_mahalanobis_share",
    requirements: &[Requirement::Features, Requirement::Gaussians, Requirement::Places],
    values: Values::Number(|seen| Some(share(distances(seen, Requirement::Gaussians)?))),
    ..FEATURE_MAHALANOBIS
};

/// The same of the one place where it is largest.
pub const FEATURE_MAHALANOBIS_LARGEST: Statistic = Statistic {
    name: "feature_mahalanobis_largest",
    values: Values::Number(|seen| Some(largest(distances(seen, Requirement::Gaussians)?))),
    ..FEATURE_MAHALANOBIS_SHARE
};

/// Distance to the nearest neighbour, mean over places, in units of how far inliers are from each other there; of a
/// vector the distance to the fifth.
pub const FEATURE_NEIGHBOUR: Statistic = Statistic {
    name: "feature_neighbour",
    unit: "distance",
    requirements: &[Requirement::Features, Requirement::Neighbours],
    part: Part::Exceeds,
    values: Values::Number(|seen| Some(mean(distances(seen, Requirement::Neighbours)?))),
};

/// The same of the places where it is largest.
pub const FEATURE_NEIGHBOUR_SHARE: Statistic = Statistic {
    name: "feature_neighbour_share",
    requirements: &[Requirement::Features, Requirement::Neighbours, Requirement::Places],
    values: Values::Number(|seen| Some(share(distances(seen, Requirement::Neighbours)?))),
    ..FEATURE_NEIGHBOUR
};

/// The same of the one place where it is largest.
pub const FEATURE_NEIGHBOUR_LARGEST: Statistic = Statistic {
    name: "feature_neighbour_largest",
    values: Values::Number(|seen| Some(largest(distances(seen, Requirement::Neighbours)?))),
    ..FEATURE_NEIGHBOUR_SHARE
};

/// The mean of the places where the distance to the nearest neighbour is largest after it was smoothed.
pub const FEATURE_NEIGHBOUR_SMOOTH_SHARE: Statistic = Statistic {
    name: "feature_neighbour_smooth_share",
    requirements: &[Requirement::Features, Requirement::Neighbours, Requirement::Places],
    part: Part::OfNeighbours,
    values: Values::Number(|seen| Some(share(&smoothed(seen)?))),
    ..FEATURE_NEIGHBOUR
};

/// The same of the one place where it is largest.
pub const FEATURE_NEIGHBOUR_SMOOTH_LARGEST: Statistic = Statistic {
    name: "feature_neighbour_smooth_largest",
    values: Values::Number(|seen| Some(largest(&smoothed(seen)?))),
    ..FEATURE_NEIGHBOUR_SMOOTH_SHARE
};

/// Length of what lies outside the principal subspace, mean over places.
pub const FEATURE_RESIDUAL: Statistic = Statistic {
    name: "feature_residual",
    unit: "distance",
    requirements: &[Requirement::Features, Requirement::Subspace],
    part: Part::Exceeds,
    values: Values::Number(|seen| Some(mean(distances(seen, Requirement::Subspace)?))),
};

/// The same of the places where it is largest.
pub const FEATURE_RESIDUAL_SHARE: Statistic = Statistic {
    name: "feature_residual_share",
    requirements: &[Requirement::Features, Requirement::Subspace, Requirement::Places],
    values: Values::Number(|seen| Some(share(distances(seen, Requirement::Subspace)?))),
    ..FEATURE_RESIDUAL
};

/// The distance of every place to its nearest neighbour, brought to the size of the image and the same in all channels.
/// It shows where the image is strange, so places are not measured by units of their own; how strange the image is the
/// numbers say, which do not care where.
pub const FEATURE_NEIGHBOUR_MAP: Statistic = Statistic {
    name: "feature_neighbour_map",
    unit: "distance",
    requirements: &[Requirement::Features, Requirement::Neighbours, Requirement::Places],
    part: Part::Reported,
    values: Values::Map {
        of: |seen| {
            let Distances { grid, values, plain } = seen.evidence.learnt(Requirement::Neighbours)?;
            Some(shown(seen, plain.as_ref().unwrap_or(values), *grid))
        },
        scale: f64::sqrt,
    },
};

/// The geometric mean of that distance and of the distance in units of the place, smoothed. Of damage that a program
/// did to photographs of a surface it tells more than either: by the latter alone dull places look as strange as
/// others, by the former alone coarse grain does.
pub const FEATURE_NEIGHBOUR_SMOOTH_MAP: Statistic = Statistic {
    name: "feature_neighbour_smooth_map",
    part: Part::OfNeighbours,
    values: Values::Map {
        of: |seen| {
            let Distances { grid, values, plain } = seen.evidence.learnt(Requirement::Neighbours)?;
            let plain = plain.as_ref().unwrap_or(values);
            let both: Vec<f32> = plain
                .iter()
                .zip(values)
                .map(|(plain, own)| (plain * own).sqrt())
                .collect();
            Some(shown(seen, &smooth(&both, *grid, SMOOTHING), *grid))
        },
        scale: f64::sqrt,
    },
    ..FEATURE_NEIGHBOUR_MAP
};

/// Numbers of places as a map of the image, the same in all channels.
fn shown(seen: &Inputs<'_>, places: &[f32], grid: (usize, usize)) -> Vec<f32> {
    let mut map = vec![0.0; seen.shape.pixels()];
    resized(places, grid, (seen.shape.height(), seen.shape.width()), map.iter_mut());
    map.repeat(seen.shape.channels())
}

/// Distances to the nearest neighbours after they were smoothed.
fn smoothed(seen: &Inputs<'_>) -> Option<Vec<f32>> {
    let Distances { grid, values, .. } = seen.evidence.learnt(Requirement::Neighbours)?;
    Some(smooth(values, *grid, SMOOTHING))
}

fn distances<'a>(seen: &Inputs<'a>, requirement: Requirement) -> Option<&'a [f32]> {
    Some(&seen.evidence.learnt(requirement)?.values)
}

fn mean(distances: &[f32]) -> f64 {
    distances.iter().map(|&x| f64::from(x)).sum::<f64>() / distances.len() as f64
}

fn largest(distances: &[f32]) -> f64 {
    distances.iter().copied().fold(f32::NEG_INFINITY, f32::max).into()
}

/// The mean of the largest twentieth, which is one place at least.
fn share(distances: &[f32]) -> f64 {
    let mut own = distances.to_vec();
    own.sort_unstable_by(|a, b| b.total_cmp(a));
    mean(&own[..own.len().div_ceil(20)])
}
