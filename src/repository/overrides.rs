//! What operators have said of versions: which stay unloaded, and which answers requests that name none. It holds over
//! every look at the folder, and over restarts where it is kept in a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::disk::{Disk, written};

/// The name of the file.
pub(super) const FILE: &str = "control.json";

/// What is wished of one model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Override {
    /// The whole model is unloaded, versions that come included.
    unloaded: bool,
    /// Versions of which the opposite is wished.
    except: BTreeSet<u32>,
    /// The version that answers requests that name none.
    pinned: Option<u32>,
    /// The version that judges in the shadow of the others.
    shadow: Option<u32>,
}

impl Override {
    /// Loads the version, or everything.
    pub(super) fn load(&mut self, version: Option<u32>) {
        self.set(version, false);
    }

    /// Unloads the version, or everything.
    pub(super) fn unload(&mut self, version: Option<u32>) {
        self.set(version, true);
    }

    /// Pins a version, or none.
    pub(super) fn pin(&mut self, version: Option<u32>) {
        self.pinned = version;
    }

    /// Puts a version in the shadow of the others, or none.
    pub(super) fn shadow(&mut self, version: Option<u32>) {
        self.shadow = version;
    }

    fn set(&mut self, version: Option<u32>, unloaded: bool) {
        match version {
            None => {
                self.unloaded = unloaded;
                self.except.clear();
            }
            Some(version) if self.unloaded == unloaded => _ = self.except.remove(&version),
            Some(version) => _ = self.except.insert(version),
        }
    }

    fn wants(&self, version: u32) -> bool {
        self.unloaded == self.except.contains(&version)
    }
}

/// What is wished of every model.
type Models = BTreeMap<String, Override>;

/// What operators have set for every model.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    models: Models,
    kept: Option<Kept>,
}

/// Where they are kept.
#[derive(Debug)]
struct Kept {
    folder: PathBuf,
    disk: Disk,
}

impl Overrides {
    /// What the file in that folder holds, where later ones go, too; nothing if there is none yet.
    pub(super) fn kept_in(folder: &Path) -> io::Result<Self> {
        let (file, disk) = (folder.join(FILE), Disk::default());
        let models = match disk.ask(move || fs::read(file)) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let folder = folder.to_owned();
        Ok(Self {
            models,
            kept: Some(Kept { folder, disk }),
        })
    }

    /// Whether changes can be kept now, where they are to be.
    pub(super) fn try_to_keep(&self) -> io::Result<()> {
        self.kept.as_ref().map_or(Ok(()), |Kept { folder, disk }| {
            let folder = folder.clone();
            // It is gone again at once. A full disk takes a file and none of its bytes.
            disk.ask(move || safely_written(&folder, b"\n").map(drop))
        })
    }

    /// Whether the version is to be loaded.
    pub(super) fn want(&self, model: &str, version: u32) -> bool {
        self.models.get(model).is_none_or(|over| over.wants(version))
    }

    /// Every version that is pinned.
    pub(super) fn pins(&self) -> BTreeMap<String, u32> {
        let pins = self.models.iter();
        pins.filter_map(|(name, over)| Some((name.clone(), over.pinned?)))
            .collect()
    }

    /// Every version that judges in shadow.
    pub(super) fn shadows(&self) -> BTreeMap<String, u32> {
        let shadows = self.models.iter();
        shadows
            .filter_map(|(name, over)| Some((name.clone(), over.shadow?)))
            .collect()
    }

    /// Changes what is set for models. If that cannot be kept, nothing changes.
    pub(super) fn change<'a>(
        &mut self,
        models: impl IntoIterator<Item = &'a str>,
        change: impl Fn(&mut Override),
    ) -> io::Result<()> {
        let mut next = self.models.clone();
        for model in models {
            let over = next.entry(model.to_owned()).or_default();
            change(over);
            if *over == Override::default() {
                next.remove(model);
            }
        }
        if let Some(kept) = &self.kept
            && next != self.models
        {
            kept.write(&next, &self.models)?;
        }
        self.models = next;
        Ok(())
    }
}

impl Kept {
    /// Writes the whole file, or leaves it as it was before.
    fn write(&self, next: &Models, before: &Models) -> io::Result<()> {
        let write = |models: &Models| {
            let (folder, models) = (self.folder.clone(), models.clone());
            move || -> io::Result<()> {
                let written = safely_written(&folder, &serde_json::to_vec_pretty(&models)?)?;
                written.persist(folder.join(FILE))?;
                Ok(())
            }
        };
        let (write, undo) = (write(next), write(before));
        self.disk.ask_or_undo(write, move || {
            if let Err(error) = undo() {
                tracing::warn!(%error, "a change of models that was refused may come with the next start");
            }
        })
    }
}

/// As [`written`], with bytes that have reached the disk.
fn safely_written(folder: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let written = written(folder, bytes)?;
    written.as_file().sync_all()?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_last_word_on_a_version_counts() {
        let mut over = Override::default();
        assert!(over.wants(1));
        over.unload(Some(1));
        assert!(!over.wants(1) && over.wants(2));
        over.unload(None);
        assert!(!over.wants(1) && !over.wants(3));
        over.load(Some(2));
        assert!(!over.wants(1) && over.wants(2));
        over.unload(Some(2));
        assert!(!over.wants(2));
        over.load(None);
        assert_eq!(over, Override::default());
    }

    #[test]
    fn overrides_are_kept_and_a_damaged_file_is_no_file_without_overrides() {
        let folder = tempfile::tempdir().unwrap();
        let mut overrides = Overrides::kept_in(folder.path()).unwrap();
        overrides.change(["a"], |over| over.unload(Some(2))).unwrap();
        overrides.change(["b"], |over| over.pin(Some(7))).unwrap();
        let kept = Overrides::kept_in(folder.path()).unwrap();
        assert!(!kept.want("a", 2) && kept.want("a", 1));
        assert_eq!(kept.pins(), BTreeMap::from([("b".to_owned(), 7)]));
        fs::write(folder.path().join(FILE), "{\"a\": {\"pined\": 1}}").unwrap();
        assert!(Overrides::kept_in(folder.path()).is_err());
    }

    #[test]
    fn what_cannot_be_kept_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut overrides = Overrides::kept_in(&folder.path().join("later")).unwrap();
        fs::write(folder.path().join("later"), "a file where a folder should be").unwrap();
        assert!(overrides.try_to_keep().is_err());
        assert!(overrides.change(["a"], |over| over.pin(Some(1))).is_err());
        assert!(overrides.pins().is_empty());
    }

    #[test]
    fn whether_changes_can_be_kept_is_tried_without_a_trace() {
        let folder = tempfile::tempdir().unwrap();
        let overrides = Overrides::kept_in(&folder.path().join("later")).unwrap();
        overrides.try_to_keep().unwrap();
        let mut left = folder.path().join("later").read_dir().unwrap();
        assert!(left.next().is_none());
        assert!(Overrides::default().try_to_keep().is_ok());
    }

    #[test]
    fn a_disk_that_stands_still_keeps_nobody_waiting_and_no_change() {
        let folder = tempfile::tempdir().unwrap();
        let mut overrides = Overrides::kept_in(folder.path()).unwrap();
        let disk = &mut overrides.kept.as_mut().unwrap().disk;
        *disk = Disk::with_patience(Duration::from_millis(1));
        let back = disk.hold_up();
        let change = overrides.change(["a"], |over| over.pin(Some(1)));
        assert_eq!(change.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(overrides.pins().is_empty());
        drop(back);
        overrides.kept.as_mut().unwrap().disk.wait();
        assert!(Overrides::kept_in(folder.path()).unwrap().pins().is_empty());
    }
}
