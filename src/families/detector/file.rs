//! The files of a detector: its calibration as JSON, and the text of its manifest.

use std::{collections::BTreeMap, io};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{CALIBRATION, GOLDEN_IMAGES, GOLDEN_SCORES, LEARNT, making::NewDetector, manifest::Own};
use crate::{
    detection::{
        calibrate::{self, Splits},
        calibrated_on::CalibratedOn,
        rule::{Density, Excess, Plan, Rule, Tail},
        statistics::Statistic,
        tiles,
        trained_on::TrainedOn,
    },
    domain::{
        conformal::Calibration,
        image::{Image, ImageShape},
        mixture::{Component, Mixture},
        mondrian::Mondrian,
    },
    families::manifest::{
        placement, preprocessing,
        text::{self, Origin},
    },
};

/// The version of the format that is written, and the only one that is read.
const FORMAT: u32 = 1;

/// The calibration as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CalibrationText {
    format: u32,
    /// What identifies the members' graphs, by role.
    members: BTreeMap<String, String>,
    statistics: Vec<String>,
    pub(super) splits: Splits,
    /// Short hashes of the calibration images in base64, where they were written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calibrated_on: Option<String>,
    densities: Vec<DensityText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    excess: Option<ExcessText>,
    ranks: BTreeMap<String, Vec<f32>>,
    fisher: Vec<f32>,
    guard: Vec<f32>,
    /// Statistics whose upper tails count one by one in the guard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    guarded: Vec<String>,
    /// What is made of the numbers of windows, where the above is made of the statistics of a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tiles: Option<RuleText>,
    /// Strangeness of the calibration images in ascending order.
    pub(super) scores: Vec<f64>,
    /// The number of the label of each, where labels calibrate one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<usize>>,
}

/// A fitted rule as it is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
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
struct DensityText {
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
struct ExcessText {
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

impl CalibrationText {
    pub(super) fn of(detector: &NewDetector) -> Self {
        let mut order: Vec<usize> = (0..detector.scores.len()).collect();
        order.sort_by(|&a, &b| detector.scores[a].total_cmp(&detector.scores[b]));
        let RuleText {
            statistics,
            densities,
            excess,
            ranks,
            fisher,
            guard,
            guarded,
        } = RuleText::of(&detector.rule);
        Self {
            format: FORMAT,
            members: detector
                .members
                .iter()
                .map(|m| (m.role.name().to_owned(), m.sha256.clone()))
                .collect(),
            statistics,
            splits: detector.splits.clone(),
            calibrated_on: Some(BASE64_STANDARD.encode(detector.calibrated_on.bytes())),
            densities,
            excess,
            ranks,
            fisher,
            guard,
            guarded,
            tiles: detector.tiles.as_ref().map(|(_, images)| RuleText::of(images)),
            scores: order.iter().map(|&place| detector.scores[place]).collect(),
            labels: detector
                .labels
                .as_ref()
                .map(|labels| order.iter().map(|&place| labels[place]).collect()),
        }
    }

    pub(super) fn write(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(io::Error::other)
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Kind {
            format: u32,
        }
        let kind: Kind = serde_json::from_slice(bytes).map_err(|error| format!("it is not a calibration: {error}"))?;
        if kind.format != FORMAT {
            return Err(format!("its format is {}, and {FORMAT} is read", kind.format));
        }
        serde_json::from_slice(bytes).map_err(|error| format!("it is not a calibration: {error}"))
    }

    /// The images that calibrated, or those of them that are kept as golden images.
    pub(super) fn calibrated_on(&self, golden: &[Image]) -> Result<CalibratedOn, String> {
        let hashes = match &self.calibrated_on {
            None => TrainedOn::of(golden.iter().map(calibrate::hash)),
            Some(text) => {
                let bytes = BASE64_STANDARD.decode(text).map_err(|error| error.to_string());
                bytes
                    .and_then(|bytes| TrainedOn::read(&bytes))
                    .map_err(|error| format!("calibrated_on: {error}"))?
            }
        };
        Ok(CalibratedOn {
            hashes,
            of: self.scores.len(),
        })
    }

    /// What strangeness is compared with: that of all images, or of those with the same of some `labels`.
    pub(super) fn calibration(&self, labels: &[String]) -> Result<Mondrian, String> {
        let Some(own) = &self.labels else {
            let all = Calibration::new(self.scores.clone()).map_err(|error| error.to_string())?;
            return Ok(all.into());
        };
        if own.len() != self.scores.len() {
            return Err(format!(
                "it has {} scores and {} labels of them",
                self.scores.len(),
                own.len()
            ));
        }
        let scored: Vec<(f64, usize)> = self.scores.iter().copied().zip(own.iter().copied()).collect();
        Mondrian::new(&scored, labels.len()).map_err(|error| format!("labels: {error}"))
    }

    /// Whether the calibration is of this detector and no other.
    pub(super) fn check(&self, contract: &Own) -> Result<(), String> {
        let members: BTreeMap<String, String> = contract
            .members
            .iter()
            .map(|m| (m.role.name().to_owned(), m.sha256.clone()))
            .collect();
        if members != self.members {
            return Err("it was made with other members than the manifest names".to_owned());
        }
        if self.tiles.is_some() != contract.tiles.is_some() {
            return Err("the manifest has [tiles] and it was made without them, or the reverse".to_owned());
        }
        if self.labels.is_some() != contract.per_label {
            return Err("the manifest says calibration.per_label and it has no labels, or the reverse".to_owned());
        }
        self.windows().check(&contract.plan)?;
        self.tiles
            .as_ref()
            .map_or(Ok(()), |images| images.check(&tiles::image_plan()))
    }

    /// The rule for what the members take: whole images, or windows of them.
    fn windows(&self) -> RuleText {
        RuleText {
            statistics: self.statistics.clone(),
            densities: self.densities.clone(),
            excess: self.excess.clone(),
            ranks: self.ranks.clone(),
            fisher: self.fisher.clone(),
            guard: self.guard.clone(),
            guarded: self.guarded.clone(),
        }
    }

    /// The fitted rule for what the members take, if every number of it is there.
    pub(super) fn rule(&self, plan: &Plan, shape: ImageShape, latent_size: usize) -> Result<Rule, String> {
        self.windows().rule(plan, shape, latent_size)
    }

    /// The fitted rule for the numbers of windows.
    pub(super) fn image_rule(&self, shape: ImageShape) -> Result<Rule, String> {
        let text = self.tiles.as_ref().ok_or("it was made without tiles")?;
        text.rule(&tiles::image_plan(), shape, 0)
    }
}

impl RuleText {
    fn of(rule: &Rule) -> Self {
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
    fn check(&self, plan: &Plan) -> Result<(), String> {
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

    fn rule(&self, plan: &Plan, shape: ImageShape, latent_size: usize) -> Result<Rule, String> {
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

/// The text of a detector's manifest.
pub(super) fn manifest(detector: &NewDetector, shape: ImageShape, hashes: &[(&str, String)]) -> String {
    use std::fmt::Write;
    let list = |names: Vec<&'static str>| {
        let quoted: Vec<String> = names.into_iter().map(|name| format!("{name:?}")).collect();
        format!("[{}]", quoted.join(", "))
    };
    let plan = &detector.rule.plan;
    let parameters: usize = detector
        .rule
        .densities
        .iter()
        .map(|d| {
            let axes: usize = d.axes.iter().map(Vec::len).sum();
            let mixture: usize = d
                .mixture
                .components
                .iter()
                .map(|c| 1 + c.mean.len() + c.whitening.len())
                .sum();
            d.centre.len() + d.scale.len() + axes + mixture
        })
        .sum();
    let learnt: usize = detector.learnt.values().map(|tensor| tensor.values.len()).sum();
    let mut out = text::head(&detector.name, super::NAME, &detector.description, shape);
    out += &preprocessing::text(detector.preprocessing);
    out += &text::members(&detector.members);
    // Writing to a string cannot fail.
    let statistics = list(plan.statistics.iter().map(|s| s.name).collect());
    let _ = write!(out, "\n[detector]\nstatistics = {statistics}\n");
    if !plan.excess.is_empty() {
        let excess = list(plan.excess.iter().map(|s| s.name).collect());
        let _ = writeln!(out, "excess = {excess}");
    }
    if !plan.guarded.is_empty() {
        let guarded = list(plan.guarded.iter().map(|s| s.name).collect());
        let _ = writeln!(out, "guard = {guarded}");
    }
    if !detector.learnt.is_empty() {
        let _ = write!(out, "\n[learnt]\nfile = {LEARNT:?}\n");
    }
    for density in &plan.densities {
        let _ = write!(
            out,
            "\n[[densities]]\nname = {}\nstatistics = {}\naxes = {}\ncomponents = {}\n",
            text::quoted(&density.name),
            list(density.statistics.iter().map(|s| s.name).collect()),
            density.axes,
            density.components
        );
    }
    if let Some((tiles, _)) = &detector.tiles {
        let _ = write!(
            out,
            "\n[tiles]\nstride = {}\nmap = \"{}\"\nsmoothing = {:?}\nshare = {:?}\n",
            tiles.tiling.stride(),
            tiles.map,
            tiles.smoothing,
            tiles.share
        );
    }
    let splits = &detector.splits;
    let _ = write!(
        out,
        "\n[calibration]\nfile = {CALIBRATION:?}\ndescription = {}\n{}{}\n[golden]\nimages = {GOLDEN_IMAGES:?}\n\
         scores = {GOLDEN_SCORES:?}\nabsolute_tolerance = 0.01\nrelative_tolerance = 0.001\n",
        text::quoted(&format!(
            "{}: {} calibrate, {} rank, {} fit, permutation seed {}",
            detector.data, splits.calibrate.images, splits.rank.images, splits.fit.images, splits.seed
        )),
        if detector.labels.is_some() {
            "per_label = true\n"
        } else {
            ""
        },
        placement::lines(detector.calibrated_at)
    );
    let origin = Origin {
        data: &detector.data,
        licence: &detector.licence,
        command: &detector.command,
        parameters: parameters + learnt,
        seconds: detector.seconds,
    };
    out + &text::tail(&origin, hashes)
}
