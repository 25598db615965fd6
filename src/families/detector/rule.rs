//! A fitted rule as it is written in JSON, and read again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    detection::{
        rule::{Density, Excess, Plan, Rule, Tail},
        statistics::Statistic,
    },
    domain::{
        image::ImageShape,
        mixture::{Component, Mixture},
    },
};

/// A fitted rule as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleText {
    statistics: Vec<String>,
    densities: Vec<DensityText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    excess: Option<ExcessText>,
    ranks: BTreeMap<String, Vec<f32>>,
    fisher: Vec<f32>,
    guard: Vec<f32>,
    /// Statistics whose upper tails count one by one in the guard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    guarded: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DensityText {
    name: String,
    statistics: Vec<String>,
    centre: Vec<f32>,
    scale: Vec<f32>,
    axes: Vec<Vec<f32>>,
    floor: f32,
    components: Vec<ComponentText>,
    tail: Vec<f32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExcessText {
    statistics: Vec<String>,
    tails: Vec<Vec<f32>>,
    tail: Vec<f32>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ComponentText {
    log_weight: f32,
    mean: Vec<f32>,
    whitening: Vec<f32>,
}

impl RuleText {
    pub(super) fn of(rule: &Rule) -> Self {
        let plan = &rule.plan;
        let densities = plan.densities.iter().zip(&rule.densities);
        let ranks = plan.statistics.iter().zip(&rule.ranks);
        Self {
            statistics: names(&plan.statistics),
            densities: densities
                .map(|(own, density)| DensityText {
                    name: own.name.clone(),
                    statistics: names(&own.statistics),
                    centre: density.centre.clone(),
                    scale: density.scale.clone(),
                    axes: density.axes.clone(),
                    floor: density.floor,
                    components: density.mixture.components.iter().map(ComponentText::of).collect(),
                    tail: density.tail.values().to_vec(),
                })
                .collect(),
            excess: rule.excess.as_ref().map(|excess| ExcessText {
                statistics: names(&plan.excess),
                tails: excess.tails.iter().map(|tail| tail.values().to_vec()).collect(),
                tail: excess.tail.values().to_vec(),
            }),
            ranks: ranks
                .filter_map(|(s, tail)| Some((s.name.to_owned(), tail.as_ref()?.values().to_vec())))
                .collect(),
            fisher: rule.fisher.values().to_vec(),
            guard: rule.guard.values().to_vec(),
            guarded: names(&plan.guarded),
        }
    }

    /// Whether it was made with the statistics and densities of a plan.
    pub(super) fn check(&self, plan: &Plan) -> Result<(), String> {
        if names(&plan.statistics) != self.statistics {
            return Err("it was made with other statistics than the manifest names".to_owned());
        }
        let mut both = plan.densities.iter().zip(&self.densities);
        let same = plan.densities.len() == self.densities.len()
            && both.all(|(own, text)| own.name == text.name && names(&own.statistics) == text.statistics);
        if !same {
            return Err("it was made with other densities than the manifest names".to_owned());
        }
        let excess = self.excess.as_ref().map_or(&[][..], |excess| &excess.statistics);
        if names(&plan.excess) != excess {
            return Err("it was made with another excess than the manifest names".to_owned());
        }
        if names(&plan.guarded) != self.guarded {
            return Err("it was made with another guard than the manifest names".to_owned());
        }
        Ok(())
    }

    pub(super) fn rule(&self, plan: &Plan, shape: ImageShape, latent_size: usize) -> Result<Rule, String> {
        let ranks = plan
            .statistics
            .iter()
            .map(|statistic| match self.ranks.get(statistic.name) {
                Some(values) => tail(values).map(Some),
                None if statistic.is_number() => Err(format!("it has no ranks of {statistic}")),
                None => Ok(None),
            })
            .collect::<Result<_, _>>()?;
        let densities = plan
            .densities
            .iter()
            .zip(&self.densities)
            .map(|(own, text)| {
                let size = own.statistics.iter().map(|s| s.length(shape, latent_size)).sum();
                text.density(size)
                    .map_err(|cause| format!("its density {:?} {cause}", own.name))
            })
            .collect::<Result<_, _>>()?;
        let excess = self.excess.as_ref().map(|text| {
            let tails = text
                .tails
                .iter()
                .map(|values| tail(values))
                .collect::<Result<Vec<_>, _>>()?;
            if tails.len() != plan.excess.len() {
                return Err("its excess has not one tail for each statistic".to_owned());
            }
            let tail = tail(&text.tail)?;
            Ok(Excess { tails, tail })
        });
        Ok(Rule {
            plan: plan.clone(),
            ranks,
            densities,
            excess: excess.transpose()?,
            fisher: tail(&self.fisher)?,
            guard: tail(&self.guard)?,
        })
    }
}

fn names(statistics: &[Statistic]) -> Vec<String> {
    statistics.iter().map(|statistic| statistic.name.to_owned()).collect()
}

fn tail(values: &[f32]) -> Result<Tail, String> {
    if values.is_empty() || values.iter().any(|value| !value.is_finite()) {
        return Err("its ranks must be finite numbers, at least one each".to_owned());
    }
    Ok(Tail::new(values.iter().map(|&value| f64::from(value))))
}

impl DensityText {
    /// The density of vectors of `size` numbers.
    fn density(&self, size: usize) -> Result<Density, String> {
        let dimensions = self.axes.len() + usize::from(self.floor > 0.0);
        let lengths_fit = self.centre.len() == size
            && self.scale.len() == size
            && (1..=size).contains(&self.axes.len())
            && self.axes.iter().all(|axis| axis.len() == size)
            && !self.components.is_empty()
            && self
                .components
                .iter()
                .all(|c| c.mean.len() == dimensions && c.whitening.len() == dimensions * (dimensions + 1) / 2);
        if !lengths_fit {
            return Err(format!("is not one of vectors of {size} numbers"));
        }
        let numbers = self
            .components
            .iter()
            .flat_map(|c| c.mean.iter().chain(&c.whitening).chain([&c.log_weight]))
            .chain(&self.centre)
            .chain(&self.scale)
            .chain(self.axes.iter().flatten());
        if numbers.into_iter().any(|value| !value.is_finite()) || self.scale.contains(&0.0) {
            return Err("has parameters that are no numbers".to_owned());
        }
        Ok(Density {
            centre: self.centre.clone(),
            scale: self.scale.clone(),
            axes: self.axes.clone(),
            floor: self.floor,
            mixture: Mixture {
                components: self.components.iter().map(ComponentText::component).collect(),
            },
            tail: tail(&self.tail)?,
        })
    }
}

impl ComponentText {
    fn of(component: &Component) -> Self {
        Self {
            log_weight: component.log_weight,
            mean: component.mean.clone(),
            whitening: component.whitening.clone(),
        }
    }

    fn component(&self) -> Component {
        Component {
            log_weight: self.log_weight,
            mean: self.mean.clone(),
            whitening: self.whitening.clone(),
        }
    }
}
