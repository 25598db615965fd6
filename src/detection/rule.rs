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

mod density;
mod tail;

use self::density::gather;
pub use self::{density::Density, tail::Tail};
use super::statistics::Statistic;

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

/// A fitted excess: mean over statistics of −log of their upper tails among the fit images.
#[derive(Debug, Clone, PartialEq)]
pub struct Excess {
    /// Values of each statistic on the fit images.
    pub tails: Vec<Tail>,
    /// The excess of the rank images.
    pub tail: Tail,
}

/// The smallest number of images that a rule can be fitted to, and be ranked among.
pub const LEAST_IMAGES: usize = 100;

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
            fisher: Tail::default(),
            guard: Tail::default(),
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

impl Excess {
    fn fit(plan: &Plan, fit: &[Measured], rank: &[Measured]) -> Self {
        let places = (0..plan.excess.len()).map(|index| fit.iter().map(move |own| excess_values(plan, own)[index]));
        let mut excess = Self {
            tails: places.map(Tail::new).collect(),
            tail: Tail::default(),
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

#[cfg(test)]
mod tests;
