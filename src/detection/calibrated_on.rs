//! Which images a model was calibrated with, as far as its files tell.

use super::trained_on::TrainedOn;

/// Images that must not be measured on: false-alarm rates hold for others only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalibratedOn {
    /// Short hashes of those that are known: of all, or of those that were kept to prove the version.
    pub hashes: TrainedOn,
    /// How many calibrated.
    pub of: usize,
}
