//! One joint density of statistics: how it is fitted to inliers, and how it finds an image surprising.

use super::{DensityPlan, FitError, Measured, Plan, Tail};
use crate::{
    detection::statistics::signed_log,
    domain::{
        algebra::{eigenvectors, moments},
        mixture::Mixture,
    },
};

/// A fitted joint density and its surprise on the rank images.
#[derive(Debug, Clone, PartialEq)]
pub struct Density {
    /// Subtracted from the vector.
    pub centre: Vec<f32>,
    /// What the rest is divided by.
    pub scale: Vec<f32>,
    /// Orthonormal axes, each as long as the vector.
    pub axes: Vec<Vec<f32>>,
    /// Added to the squared distance from the axes before its logarithm is taken; 0 if the axes span everything.
    pub floor: f32,
    /// The density in the coordinates along the axes, and log(distance² + floor) if there is anything beside them.
    pub mixture: Mixture,
    /// −log density of the rank images.
    pub tail: Tail,
}

/// The vector of a density: numbers on a logarithmic scale that keeps their sign, because their tails are long; vectors
/// as they are.
pub(super) fn gather(plan: &Plan, own: &DensityPlan, measured: &Measured) -> Vec<f64> {
    let mut vector = Vec::new();
    for statistic in &own.statistics {
        let place = plan.statistics.iter().position(|other| other == statistic);
        let values = place.map_or(&[][..], |place| &measured[place]);
        if statistic.is_number() {
            vector.extend(values.iter().map(|&x| signed_log(x)));
        } else {
            vector.extend_from_slice(values);
        }
    }
    vector
}

impl Density {
    pub(super) fn fit(
        plan: &Plan,
        own: &DensityPlan,
        fit: &[Measured],
        rank: &[Measured],
        seed: u64,
    ) -> Result<Self, FitError> {
        let vectors: Vec<Vec<f64>> = fit.iter().map(|m| gather(plan, own, m)).collect();
        let size = vectors[0].len();
        let (centre, covariance) = moments(&vectors);
        let variances: Vec<f64> = (0..size).map(|i| covariance[i * size + i]).collect();
        let scale = scales(own, &variances, &fit[0], plan);
        let mut density = Self {
            centre: centre.iter().map(|&c| c as f32).collect(),
            scale: scale.iter().map(|&s| s as f32).collect(),
            axes: Vec::new(),
            floor: 0.0,
            mixture: Mixture { components: Vec::new() },
            tail: Tail::default(),
        };
        let scaled: Vec<Vec<f64>> = vectors.iter().map(|v| density.scaled(v)).collect();
        let (_, covariance) = moments(&scaled);
        let axes = eigenvectors(&covariance, size);
        let kept = own.axes.clamp(1, size);
        let beside: f64 = axes[kept..].iter().map(|(value, _)| value.max(0.0)).sum();
        density.axes = axes[..kept]
            .iter()
            .map(|(_, axis)| axis.iter().map(|&a| a as f32).collect())
            .collect();
        density.floor = if kept < size {
            (1e-3 * beside).max(1e-12) as f32
        } else {
            0.0
        };
        let points: Vec<Vec<f64>> = vectors.iter().map(|v| density.coordinates(v)).collect();
        let singular = || FitError::Singular(own.name.clone());
        density.mixture = Mixture::choose(&points, own.components, seed).ok_or_else(singular)?;
        let surprises = rank.iter().map(|m| density.surprise(&gather(plan, own, m)));
        density.tail = Tail::new(surprises.collect::<Vec<_>>().into_iter());
        Ok(density)
    }

    fn scaled(&self, vector: &[f64]) -> Vec<f64> {
        vector
            .iter()
            .zip(self.centre.iter().zip(&self.scale))
            .map(|(x, (&centre, &scale))| (x - f64::from(centre)) / f64::from(scale))
            .collect()
    }

    fn coordinates(&self, vector: &[f64]) -> Vec<f64> {
        let scaled = self.scaled(vector);
        let mut coordinates: Vec<f64> = self
            .axes
            .iter()
            .map(|axis| axis.iter().zip(&scaled).map(|(&a, x)| f64::from(a) * x).sum())
            .collect();
        if self.floor > 0.0 {
            let square = |values: &[f64]| values.iter().map(|x| x * x).sum::<f64>();
            let beside = (square(&scaled) - square(&coordinates)).max(0.0);
            coordinates.push((beside + f64::from(self.floor)).ln());
        }
        coordinates
    }

    /// −log density of a vector.
    pub(super) fn surprise(&self, vector: &[f64]) -> f64 {
        self.mixture.surprise(&self.coordinates(vector))
    }
}

/// One scale for each number: its own deviation for a statistic that is a number, the overall one for those of a
/// vector, whose relative sizes mean something.
fn scales(own: &DensityPlan, variances: &[f64], example: &Measured, plan: &Plan) -> Vec<f64> {
    let mut scales = Vec::with_capacity(variances.len());
    for statistic in &own.statistics {
        let place = plan.statistics.iter().position(|other| other == statistic);
        let length = place.map_or(0, |place| example[place].len());
        let part = &variances[scales.len()..scales.len() + length];
        let overall = (part.iter().sum::<f64>() / length.max(1) as f64).sqrt();
        scales.extend(part.iter().map(|_| overall.max(1e-6)));
    }
    scales
}
