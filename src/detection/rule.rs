//! From the statistics of an image to one number that says how strange it is.
//!
//! Statistics are first gathered in *densities*: mixtures of Gaussians over vectors of statistics, fitted to inliers
//! (the *fit* images), because images of another kind often have no unusual statistic but an unusual combination.
//! Distances, of which only large values are strange, are also gathered in their *excess*: the mean of −log of their
//! upper tails, which sees a shift that all of them share and that a joint density spreads over its dimensions. The
//! surprise of each density becomes a tail rank among further inliers (the *rank* images), and two tests are made of
//! the ranks rⱼ: Fisher's −Σ log rⱼ, strong when several densities are a little surprised, and the smallest rank,
//! strong when a single one is. Among the latter are those of *guarded* distances one by one: what one of them alone
//! sees, a density of many spreads too thinly. Each test becomes a tail rank again, and the image is as strange as the
//! more extreme of the two says. Which images that rejects is left to a third set of inliers, which calibrates the one
//! number: its promise holds whatever the statistics are and however they depend on one another.

use super::statistics::{Statistic, signed_log};
use crate::domain::{
    algebra::{eigenvectors, moments},
    mixture::Mixture,
};

/// What a rule is made of, before it has seen an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Every statistic that is measured and reported, each once.
    pub statistics: Vec<Statistic>,
    /// The densities that decide.
    pub densities: Vec<DensityPlan>,
    /// Numbers whose excess decides beside them, if there are any.
    pub excess: Vec<Statistic>,
    /// Numbers whose upper tails count one by one in the guard.
    pub guarded: Vec<Statistic>,
}

/// The name of the excess in answers, where densities have theirs.
const EXCESS: &str = "excess";

impl Plan {
    /// What decides, in the order of [`Judgement::densities`].
    pub fn deciding(&self) -> impl Iterator<Item = &str> {
        let excess = (!self.excess.is_empty()).then_some(EXCESS);
        self.densities.iter().map(|own| own.name.as_str()).chain(excess)
    }
}

/// A joint density of statistics, before it is fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct DensityPlan {
    /// Its name in answers.
    pub name: String,
    /// Its statistics, which are among those of the plan.
    pub statistics: Vec<Statistic>,
    /// Principal axes that are kept; what lies outside them is summed up in one more coordinate.
    pub axes: usize,
    /// Gaussians of its mixture: of a plan at most so many, of a fitted rule just so many.
    pub components: usize,
}

/// The statistics of one image in the order of the plan.
pub type Measured = Vec<Vec<f64>>;

/// A fitted rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// What it is made of.
    pub plan: Plan,
    /// For each statistic of the plan, if it is one number, its values on the fit and the rank images: nothing is
    /// fitted before it is ranked, and the more values there are, the better is known where its tail begins.
    pub ranks: Vec<Option<Tail>>,
    /// The densities of the plan.
    pub densities: Vec<Density>,
    /// The excess of the plan, if it has one.
    pub excess: Option<Excess>,
    /// Fisher's sums on the rank images.
    pub fisher: Tail,
    /// The logarithms of 1 / smallest rank on the rank images.
    pub guard: Tail,
}

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

/// A fitted excess: mean over statistics of −log of their upper tails among the fit images.
#[derive(Debug, Clone, PartialEq)]
pub struct Excess {
    /// Values of each statistic on the fit images.
    pub tails: Vec<Tail>,
    /// The excess of the rank images.
    pub tail: Tail,
}

/// Values of inliers in ascending order. Single precision: they are written to files, and a value is rounded before it
/// is compared.
#[derive(Debug, Clone, PartialEq)]
pub struct Tail(Vec<f32>);

/// The smallest number of images that a rule can be fitted to, and be ranked among.
pub const LEAST_IMAGES: usize = 100;

/// The share of the rank images above which a tail is extended as an exponential.
const TAIL_SHARE: f64 = 0.05;

/// Why no rule can be fitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// Too few images.
    #[error("{images} images to {purpose} are too few: at least {needed} are needed")]
    TooFew {
        /// What they are for.
        purpose: &'static str,
        /// Images there are.
        images: usize,
        /// Images needed.
        needed: usize,
    },
    /// The statistics have no density.
    #[error("the density {0:?} cannot be fitted: its statistics have no covariance that can be inverted")]
    Singular(String),
}

/// What a rule says of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// For each statistic of the plan, if it is one number, its two-sided p-value among the fit and rank images.
    pub statistics: Vec<Option<f64>>,
    /// What each density says, and after them the excess, if there is one.
    pub densities: Vec<DensityJudgement>,
    /// How strange the image is: larger is stranger. About −log of the share of inliers that are as strange.
    pub strangeness: f64,
}

/// What one density says of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DensityJudgement {
    /// −log density in nats.
    pub value: f64,
    /// The share of the rank images that surprise it as much: (1 + #{vᵢ ≥ v}) / (n + 1).
    pub p_value: f64,
    /// −log of that share, going on beyond the last rank image.
    pub evidence: f64,
}

impl Rule {
    /// Fits the densities to `fit` and ranks everything among `rank`. The same images and seed give the same rule.
    pub fn fit(mut plan: Plan, fit: &[Measured], rank: &[Measured], seed: u64) -> Result<Self, FitError> {
        for (purpose, images) in [("fit", fit), ("rank", rank)] {
            if images.len() < LEAST_IMAGES {
                return Err(FitError::TooFew {
                    purpose,
                    images: images.len(),
                    needed: LEAST_IMAGES,
                });
            }
        }
        let densities = plan
            .densities
            .iter()
            .map(|own| Density::fit(&plan, own, fit, rank, seed))
            .collect::<Result<Vec<_>, _>>()?;
        for (own, density) in plan.densities.iter_mut().zip(&densities) {
            own.components = density.mixture.components.len();
        }
        let ranks = plan
            .statistics
            .iter()
            .enumerate()
            .map(|(place, statistic)| {
                let values = fit.iter().chain(rank).map(|measured| measured[place][0]);
                statistic.is_number().then(|| Tail::new(values))
            })
            .collect();
        let excess = (!plan.excess.is_empty()).then(|| Excess::fit(&plan, fit, rank));
        let mut rule = Self {
            plan,
            ranks,
            densities,
            excess,
            fisher: Tail(Vec::new()),
            guard: Tail(Vec::new()),
        };
        let tests: Vec<(f64, f64)> = rank.iter().map(|own| rule.tests(own, &rule.densities(own))).collect();
        rule.fisher = Tail::new(tests.iter().map(|test| test.0));
        rule.guard = Tail::new(tests.iter().map(|test| test.1));
        Ok(rule)
    }

    /// Judges an image by its statistics.
    pub fn judge(&self, measured: &Measured) -> Judgement {
        let densities = self.densities(measured);
        let (fisher, guard) = self.tests(measured, &densities);
        Judgement {
            statistics: measured
                .iter()
                .zip(&self.ranks)
                .map(|(values, tail)| Some(tail.as_ref()?.two_sided(values[0])))
                .collect(),
            densities,
            strangeness: self.fisher.evidence(fisher).max(self.guard.evidence(guard)),
        }
    }

    /// Fisher's sum and the guard: the sum of −log rank over densities and the excess, and the maximum over these and
    /// the guarded numbers.
    fn tests(&self, measured: &Measured, densities: &[DensityJudgement]) -> (f64, f64) {
        let fisher = densities.iter().map(|density| density.evidence).sum();
        let guarded = self.plan.guarded.iter().filter_map(|statistic| {
            let place = self.plan.statistics.iter().position(|other| other == statistic)?;
            Some(self.ranks[place].as_ref()?.evidence(measured[place][0]))
        });
        let joint = densities.iter().map(|density| density.evidence);
        (fisher, joint.chain(guarded).fold(0.0, f64::max))
    }

    fn densities(&self, measured: &Measured) -> Vec<DensityJudgement> {
        let judgement = |value: f64, tail: &Tail| DensityJudgement {
            value,
            p_value: tail.upper(value),
            evidence: tail.evidence(value),
        };
        let both = self.plan.densities.iter().zip(&self.densities);
        let of_density = |(own, density): (&DensityPlan, &Density)| {
            judgement(density.surprise(&gather(&self.plan, own, measured)), &density.tail)
        };
        let excess = self.excess.as_ref();
        let excess = excess.map(|excess| judgement(excess.value(&self.plan, measured), &excess.tail));
        both.map(of_density).chain(excess).collect()
    }
}

/// The vector of a density: numbers on a logarithmic scale that keeps their sign, because their tails are long; vectors
/// as they are.
fn gather(plan: &Plan, own: &DensityPlan, measured: &Measured) -> Vec<f64> {
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

impl Excess {
    fn fit(plan: &Plan, fit: &[Measured], rank: &[Measured]) -> Self {
        let places = (0..plan.excess.len()).map(|index| fit.iter().map(move |own| excess_values(plan, own)[index]));
        let mut excess = Self {
            tails: places.map(Tail::new).collect(),
            tail: Tail(Vec::new()),
        };
        let values: Vec<f64> = rank.iter().map(|own| excess.value(plan, own)).collect();
        excess.tail = Tail::new(values.into_iter());
        excess
    }

    fn value(&self, plan: &Plan, measured: &Measured) -> f64 {
        let both = self.tails.iter().zip(excess_values(plan, measured));
        both.map(|(tail, value)| tail.evidence(value)).sum::<f64>() / self.tails.len().max(1) as f64
    }
}

/// The numbers of an image of which the excess is made, in order.
fn excess_values(plan: &Plan, measured: &Measured) -> Vec<f64> {
    let value = |statistic: &Statistic| {
        let place = plan.statistics.iter().position(|other| other == statistic);
        place.map_or(0.0, |place| measured[place][0])
    };
    plan.excess.iter().map(value).collect()
}

impl Density {
    fn fit(plan: &Plan, own: &DensityPlan, fit: &[Measured], rank: &[Measured], seed: u64) -> Result<Self, FitError> {
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
            tail: Tail(Vec::new()),
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
    fn surprise(&self, vector: &[f64]) -> f64 {
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

impl Tail {
    /// Takes values in any order.
    pub fn new(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f32> = values.map(|value| value as f32).collect();
        values.sort_by(f32::total_cmp);
        Self(values)
    }

    /// The values in ascending order.
    pub fn values(&self) -> &[f32] {
        &self.0
    }

    /// (1 + #{vᵢ ≥ v}) / (n + 1).
    pub fn upper(&self, value: f64) -> f64 {
        let value = value as f32;
        let below = self.0.partition_point(|&v| v < value);
        (1 + self.0.len() - below) as f64 / (self.0.len() + 1) as f64
    }

    /// min(1, 2 min(upper, lower)).
    pub fn two_sided(&self, value: f64) -> f64 {
        let up_to = self.0.partition_point(|&v| v <= value as f32);
        let lower = (1 + up_to) as f64 / (self.0.len() + 1) as f64;
        (2.0 * lower.min(self.upper(value))).min(1.0)
    }

    /// −log of the upper tail, which beyond the outermost 5 % of the values goes on as an exponential with their mean
    /// excess: ranks alone end at 1/(n + 1) and could not tell strange from stranger.
    pub fn evidence(&self, value: f64) -> f64 {
        let count = self.0.len();
        let start = ((1.0 - TAIL_SHARE) * count as f64) as usize;
        let rank = -self.upper(value).ln();
        let Some(&threshold) = self.0.get(start) else {
            return rank;
        };
        let threshold = f64::from(threshold);
        if value <= threshold {
            return rank;
        }
        let beyond = self.0[start..].iter().map(|&v| f64::from(v) - threshold);
        let (sum, number) = beyond
            .filter(|&excess| excess > 0.0)
            .fold((0.0, 0usize), |(sum, n), excess| (sum + excess, n + 1));
        // Where all agree, any difference is strange.
        let mean = (sum / number.max(1) as f64).max(1e-9 * threshold.abs() + 1e-12);
        -TAIL_SHARE.ln() + (value - threshold) / mean
    }
}

#[cfg(test)]
mod tests;
