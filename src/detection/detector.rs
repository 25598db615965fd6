//! A fitted and calibrated detector: members, a rule, and how strange inliers are.

use std::sync::Arc;

use super::{
    panel::{Measurement, Panel},
    rule::Rule,
    statistics::density::NEGATIVE_LOG_LIKELIHOOD,
    tiles::Tiled,
};
use crate::{domain::mondrian::Mondrian, model::Model};

/// A detector that is ready.
#[derive(Debug)]
pub struct Detector {
    /// Its members and statistics.
    pub panel: Arc<Panel>,
    /// What it makes of the statistics.
    pub rule: Rule,
    /// Strangeness of inliers that took part in nothing else, by the label that a member gives them if each label is to
    /// keep the rate.
    pub calibration: Mondrian,
    /// What identifies its main density, if it has one: see [`crate::model::Model::identity`].
    pub density: Option<String>,
}

/// Whether a model is a detector, of images of one size or of any.
pub fn is_detector(model: &Model) -> bool {
    model.can::<Detector>().is_ok() || model.can::<Tiled>().is_ok()
}

impl Detector {
    /// log p of an image under the main density in nats, if that was measured.
    pub fn log_density(&self, measurement: &Measurement) -> Option<f64> {
        let mut statistics = self.rule.plan.statistics.iter().zip(&measurement.values);
        let (_, values) = statistics.find(|(statistic, _)| **statistic == NEGATIVE_LOG_LIKELIHOOD)?;
        values.first().map(|surprise| -surprise)
    }
}
