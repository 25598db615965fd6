//! Everything that a new detector is made of.

use crate::{
    detection::{
        calibrate::Splits, learners::Tensors, rule::Rule, statistics::Requirement, tiles::TilePlan,
        trained_on::TrainedOn,
    },
    domain::image::{Image, ImageShape},
    families::manifest::members::Member,
    media::DecodeOptions,
    runtime::Placement,
};

/// A detector before it is a version.
#[derive(Debug)]
pub(super) struct NewDetector {
    /// Its name.
    pub(super) name: String,
    /// One line.
    pub(super) description: String,
    /// What is done to image files so that they fit: what its main member declares.
    pub(super) preprocessing: DecodeOptions,
    /// Size of what the members take.
    pub(super) shape: ImageShape,
    /// Its members.
    pub(super) members: Vec<Member<Requirement>>,
    /// What was learnt of features of inliers.
    pub(super) learnt: Tensors,
    /// Its fitted rule for what the members take.
    pub(super) rule: Rule,
    /// How larger images are cut, and the rule for the numbers of windows.
    pub(super) tiles: Option<(TilePlan, Rule)>,
    /// Strangeness of the calibration images.
    pub(super) scores: Vec<f64>,
    /// The label of each, if labels calibrate one by one.
    pub(super) labels: Option<Vec<usize>>,
    /// Which images were used for what.
    pub(super) splits: Splits,
    /// The images that calibrate.
    pub(super) calibrated_on: TrainedOn,
    /// Where they were judged, and how exactly.
    pub(super) calibrated_at: Placement,
    /// Where the images came from.
    pub(super) data: String,
    /// Their licence.
    pub(super) licence: String,
    /// The command that made the detector.
    pub(super) command: String,
    /// How long that took.
    pub(super) seconds: f64,
    /// Some inliers, on which a server checks that it judges as the calibration did.
    pub(super) golden: Vec<Image>,
    /// What the rule says of them.
    pub(super) golden_scores: Vec<f64>,
}
