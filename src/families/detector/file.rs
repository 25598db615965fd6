//! The calibration of a detector, as JSON.

use std::{collections::BTreeMap, io};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{manifest::Own, new::NewDetector, rule::RuleText};
use crate::{
    detection::{
        calibrate::{self, Splits},
        calibrated_on::CalibratedOn,
        rule::{Plan, Rule},
        tiles,
        trained_on::TrainedOn,
    },
    domain::{
        conformal::Calibration,
        image::{Image, ImageShape},
        mondrian::Mondrian,
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
    pub(super) splits: Splits,
    /// Short hashes of the calibration images in base64, where they were written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calibrated_on: Option<String>,
    /// What is made of what members say: of whole images, or of windows of them.
    #[serde(flatten)]
    rule: RuleText,
    /// What is made of the numbers of windows, where the above is made of the statistics of a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tiles: Option<RuleText>,
    /// Strangeness of the calibration images in ascending order.
    pub(super) scores: Vec<f64>,
    /// The number of the label of each, where labels calibrate one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<usize>>,
}

impl CalibrationText {
    pub(super) fn of(detector: &NewDetector) -> Self {
        let mut order: Vec<usize> = (0..detector.scores.len()).collect();
        order.sort_by(|&a, &b| detector.scores[a].total_cmp(&detector.scores[b]));
        Self {
            format: FORMAT,
            members: detector
                .members
                .iter()
                .map(|m| (m.role.name().to_owned(), m.sha256.clone()))
                .collect(),
            splits: detector.splits.clone(),
            calibrated_on: Some(BASE64_STANDARD.encode(detector.calibrated_on.bytes())),
            rule: RuleText::of(&detector.rule),
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
        self.rule.check(&contract.plan)?;
        self.tiles
            .as_ref()
            .map_or(Ok(()), |images| images.check(&tiles::image_plan()))
    }

    /// The fitted rule for what the members take, if every number of it is there.
    pub(super) fn rule(&self, plan: &Plan, shape: ImageShape, latent_size: usize) -> Result<Rule, String> {
        self.rule.rule(plan, shape, latent_size)
    }

    /// The fitted rule for the numbers of windows.
    pub(super) fn image_rule(&self, shape: ImageShape) -> Result<Rule, String> {
        let text = self.tiles.as_ref().ok_or("it was made without tiles")?;
        text.rule(&tiles::image_plan(), shape, 0)
    }
}
