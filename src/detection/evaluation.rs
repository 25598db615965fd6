//! What a model is worth on a set of images: one pass in which it is asked everything that it can answer, and figures
//! from the answers.
//!
//! Models are asked by capability. Nothing is read or written here, and no command and no page is known.

pub mod classification;
pub mod density;
pub mod detection;
pub mod false_alarms;
pub mod figures;
pub mod maps;
pub mod measured;
pub mod pixels;
pub mod plan;
pub mod reconstruction;
pub mod rejection;

use std::fmt;

use serde::Serialize;

pub use self::{
    classification::ClassificationReport,
    density::DensityReport,
    detection::DetectionReport,
    measured::Measured,
    plan::{Plan, Questions},
    reconstruction::ReconstructionReport,
    rejection::RejectionReport,
};
use super::calibrated_on::CalibratedOn;
use crate::{
    detection::{calibrate, trained_on::TrainedOn},
    domain::image::Image,
    model::Model,
};

/// Everything that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The model's name.
    pub model: String,
    /// Its version.
    pub version: u32,
    /// Its family.
    pub family: &'static str,
    /// Where the images came from.
    pub data: Vec<String>,
    /// How many there were that could be measured.
    pub images: usize,
    /// Those that could not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failure>,
    /// What makes the figures worth less than they seem.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// log p(x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub density: Option<DensityReport>,
    /// log p(x|y) of the label that each image has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub density_given_label: Option<DensityReport>,
    /// p(y|x).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classification: Option<ClassificationReport>,
    /// Squared errors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconstruction: Option<ReconstructionReport>,
    /// Reasons to give no label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejection: Option<RejectionReport>,
    /// Inliers against outliers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detection: Option<DetectionReport>,
}

/// An image that could not be measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its file.
    pub input: String,
    /// Its place in an array of images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// What was wrong.
    pub error: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            Some(index) => write!(f, "{}, image {index}: {}", self.input, self.error),
            None => write!(f, "{}: {}", self.input, self.error),
        }
    }
}

impl Report {
    /// What follows from the pass over the images; `data` tells where these came from.
    pub fn new(model: &Model, data: Vec<String>, measured: Option<&Measured>) -> Self {
        Self {
            model: model.name.clone(),
            version: model.version,
            family: model.card.family,
            data,
            images: measured.map_or(0, Measured::len),
            failed: Vec::new(),
            warnings: measured.map_or_else(Vec::new, |measured| measured.seen.warnings(model)),
            density: measured.and_then(|measured| DensityReport::of(measured, model.shape)),
            density_given_label: measured.and_then(|measured| DensityReport::given_label(measured, model.shape)),
            classification: measured.and_then(ClassificationReport::of),
            reconstruction: measured.and_then(ReconstructionReport::of),
            rejection: None,
            detection: None,
        }
    }

    /// Adds images that failed, each once, in whichever pass they did.
    pub fn fail(&mut self, failures: impl IntoIterator<Item = Failure>) {
        for failure in failures {
            let is_known = |known: &Failure| (&known.input, known.index) == (&failure.input, failure.index);
            if !self.failed.iter().any(is_known) {
                self.failed.push(failure);
            }
        }
    }

    /// Adds the detection of outliers among the images.
    pub fn with_detection(mut self, detection: DetectionReport) -> Self {
        self.images = self.images.max(detection.inliers);
        for warning in detection.warnings() {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
        self.detection = Some(detection);
        self
    }
}

/// Images that the model has seen before, as far as anybody knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    images: usize,
    trained_on: usize,
    calibrated_on: usize,
}

impl Seen {
    /// Counts one more image.
    pub fn count(&mut self, model: &Model, image: &Image) {
        let (trained, calibrated) = (model.can::<TrainedOn>(), model.can::<CalibratedOn>());
        self.images += 1;
        if trained.is_err() && calibrated.is_err() {
            return;
        }
        let hash = calibrate::hash(image);
        self.trained_on += usize::from(trained.is_ok_and(|own| own.contains(&hash)));
        self.calibrated_on += usize::from(calibrated.is_ok_and(|own| own.hashes.contains(&hash)));
    }

    /// What has to be said of it.
    pub fn warnings(&self, model: &Model) -> Vec<String> {
        let mut warnings = Vec::new();
        let (name, images) = (&model.name, self.images);
        if self.trained_on > 0 {
            warnings.push(format!(
                "{} of {images} images are among those that {name} was trained on: on new images it will do worse",
                self.trained_on
            ));
        }
        if let (1.., Ok(calibrated_on)) = (self.calibrated_on, model.can::<CalibratedOn>()) {
            let known = calibrated_on.hashes.images();
            let partly = if known < calibrated_on.of {
                format!(", of which {known} of {} are known", calibrated_on.of)
            } else {
                String::new()
            };
            warnings.push(format!(
                "{} of {images} images are among those that {name} was calibrated with{partly}: false alarms on them \
                 say nothing of new images",
                self.calibrated_on
            ));
        }
        warnings
    }
}
