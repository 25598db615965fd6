//! How much a load may take, and how much it tries.

use std::time::Duration;

/// Settings of the load gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateSettings {
    /// Time that loading and proving one version may take; what takes longer is refused.
    pub time_limit: Duration,
    /// Tries causality at every dimension where it cannot be proven, however long it takes.
    pub thorough: bool,
}

impl Default for GateSettings {
    fn default() -> Self {
        Self {
            time_limit: Duration::from_secs(120),
            thorough: false,
        }
    }
}

impl GateSettings {
    /// What may be spent on trials that are not essential: the rest of a load needs its time, too.
    pub(in crate::families) fn trial_limit(self) -> Duration {
        self.time_limit / 12
    }
}
