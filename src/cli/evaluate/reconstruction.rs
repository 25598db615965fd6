//! How well a code keeps its image.

use serde::Serialize;

use super::{
    figures::{self, Figures, OfLabel},
    measure::Measured,
};
use crate::domain::summary::Summary;

/// The squared error of reconstructions: its mean over the dimensions of an image, in units of level / (levels − 1).
#[derive(Debug, Serialize)]
pub(super) struct ReconstructionReport {
    images: usize,
    pub(super) mean_squared_error: Figures,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) mean_squared_error_by_label: Vec<OfLabel>,
}

impl ReconstructionReport {
    /// `None` if nothing was reconstructed.
    pub(super) fn of(measured: &Measured) -> Option<Self> {
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

    pub(super) fn text(&self) -> String {
        let title = "\nreconstruction, in units of level / (levels − 1)\n";
        let row = self.mean_squared_error.row("mean squared error", 5);
        let labels = figures::by_label_text(
            "squared error by label",
            &self.mean_squared_error_by_label,
            5,
        );
        title.to_owned() + &Figures::header() + &row + &labels
    }
}
