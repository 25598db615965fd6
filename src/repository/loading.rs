//! How a repository loads.

use std::path::PathBuf;

use crate::families::GateSettings;

/// How a repository loads.
#[derive(Debug, Clone)]
pub struct Loading {
    /// Versions that are loaded at once.
    pub at_once: usize,
    /// The folder where it is kept what proofs found, so that they are not done again; without it every start proves
    /// everything.
    pub records: Option<PathBuf>,
    /// What a load may take, and how much it tries.
    pub gate: GateSettings,
    /// Bytes of memory that may still be taken, where anybody knows: as many versions load at once as have room.
    pub free_memory: fn() -> Option<u64>,
    /// Names of the models that must serve before the server is ready. If there are none, any model will do.
    pub required: Vec<String>,
}

impl Default for Loading {
    /// As many at once as there are cores, no records, and ready with any model.
    fn default() -> Self {
        Self {
            at_once: std::thread::available_parallelism().map_or(1, usize::from),
            records: None,
            gate: GateSettings::default(),
            free_memory: || None,
            required: Vec::new(),
        }
    }
}
