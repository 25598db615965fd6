//! What operators have said of versions: which stay unloaded, and which answers requests that name none. It holds over
//! every look at the folder, and over restarts where it is kept in a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

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

/// What operators have set for every model.
#[derive(Debug, Default)]
pub(super) struct Overrides {
    models: BTreeMap<String, Override>,
    file: Option<PathBuf>,
}

impl Overrides {
    /// What the file in that folder holds, where later ones go, too; nothing if there is none yet.
    pub(super) fn kept_in(folder: &Path) -> io::Result<Self> {
        let file = folder.join(FILE);
        let models = match fs::read(&file) {
            Ok(bytes) => serde_json::from_slice(&bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let file = Some(file);
        Ok(Self { models, file })
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
        if let Some(file) = &self.file
            && next != self.models
        {
            write(file, &next)?;
        }
        self.models = next;
        Ok(())
    }
}

/// Writes the whole file or leaves it as it was.
fn write(file: &Path, models: &BTreeMap<String, Override>) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut written = tempfile::NamedTempFile::new_in(folder)?;
    written.write_all(&serde_json::to_vec_pretty(models)?)?;
    written.as_file().sync_all()?;
    written.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
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
        assert!(overrides.change(["a"], |over| over.pin(Some(1))).is_err());
        assert!(overrides.pins().is_empty());
    }
}
