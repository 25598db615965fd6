//! How well a code keeps its image.

use serde::Serialize;

use super::{
    figures::{self, Figures, OfLabel},
    measured::Measured,
};
use crate::domain::summary::Summary;

/// The squared error of reconstructions: its mean over the dimensions of an image, in units of level / (levels − 1).
#[derive(Debug, Serialize)]
pub struct ReconstructionReport {
    /// Images.
    pub images: usize,
    /// Over images.
    pub mean_squared_error: Figures,
    /// Means, where images have labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mean_squared_error_by_label: Vec<OfLabel>,
}

impl ReconstructionReport {
    /// `None` if nothing was reconstructed.
    pub fn of(measured: &Measured) -> Option<Self> {
        let summary = Summary::of(&measured.squared_errors)?;
        let labels = measured.labels.as_deref();
        Some(Self {
            images: summary.count,
            mean_squared_error: Figures::of(&summary),
            mean_squared_error_by_label: labels.map_or_else(Vec::new, |labels| {
                figures::by_label(&measured.squared_errors, labels, &measured.label_names)
            }),
        })
    }
}
