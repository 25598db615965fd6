//! Which folder a path leads to.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// What a path leads to: the real path, and which folder is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    number: Option<(u64, u64)>,
}

impl Place {
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let path = folder.canonicalize()?;
        let found = fs::metadata(&path)?;
        #[cfg(unix)]
        let number = {
            use std::os::unix::fs::MetadataExt;
            Some((found.dev(), found.ino()))
        };
        #[cfg(not(unix))]
        let number = {
            let _ = found;
            None
        };
        Ok(Self { path, number })
    }
}
