//! Where versions are looked for, and the folders that should hold one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::place::Place;
use crate::families::manifest::{MANIFEST, version_number};

/// Where versions are looked for.
#[derive(Debug, Clone)]
pub(super) enum Source {
    /// `<root>/<name>/<version>`.
    Root(PathBuf),
    /// `<model>/<version>`, or the one version that is given.
    Model {
        name: String,
        folder: PathBuf,
        only: Option<u32>,
    },
}

/// A folder that should hold a version.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) name: String,
    pub(super) number: u32,
    pub(super) folder: PathBuf,
}

/// What a source holds.
#[derive(Debug)]
pub(super) struct Sight {
    /// Folders of versions, in order of name and number.
    pub(super) candidates: Vec<Candidate>,
    /// Models whose folder is there and cannot be read, and why: nobody knows which versions they have.
    pub(super) unreadable: BTreeMap<String, String>,
}

impl Candidate {
    /// The folder of a version of another model in the same repository.
    pub(super) fn sibling(&self, model: &str, version: u32) -> PathBuf {
        let repository = self.folder.parent().and_then(Path::parent);
        repository
            .unwrap_or(Path::new(""))
            .join(model)
            .join(version.to_string())
    }
}

/// What is remembered from one look to the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Looks {
    /// Folders that were ignored. Each is spoken of once.
    ignored: BTreeSet<PathBuf>,
    /// Where something was found, by path.
    places: BTreeMap<PathBuf, Place>,
}

/// Why nobody takes the emptiness of a folder for a word that all was removed.
const ANOTHER: &str =
    "another folder is in its place and holds nothing, as a mount point does whose file system is away";

impl Looks {
    fn ignore(&mut self, folder: PathBuf, reason: &str) {
        if !self.ignored.contains(&folder) {
            tracing::warn!(folder = %folder.display(), "ignored: {reason}");
            self.ignored.insert(folder);
        }
    }

    /// Remembers a folder in which something was found; an error, if nothing was in another one than before.
    fn found(&mut self, folder: &Path, something: bool) -> Result<(), &'static str> {
        let Ok(place) = Place::of(folder) else {
            return Ok(());
        };
        if something {
            self.places.insert(folder.to_owned(), place);
        } else if self.places.get(folder).is_some_and(|known| *known != place) {
            return Err(ANOTHER);
        }
        Ok(())
    }
}

impl Source {
    /// The source of the model in `folder`, which is that of a model, `…/<name>`, or of one version of it,
    /// `…/<name>/<version>`, and the model's name; `None` if the folder is neither.
    pub(super) fn of_model(folder: &Path) -> Option<(Self, String)> {
        // The names matter, and they are not in a path such as `.`.
        let folder = folder.canonicalize().ok()?;
        let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
        let (model, only) = if folder.join(MANIFEST).is_file() {
            let number = version_number(&name(&folder)?)?;
            (folder.parent()?.to_owned(), Some(number))
        } else {
            let versions = folders(&folder).ok()?;
            versions.iter().find(|(name, _)| version_number(name).is_some())?;
            (folder, None)
        };
        let name = name(&model)?;
        let source = Self::Model {
            name: name.clone(),
            folder: model,
            only,
        };
        Some((source, name))
    }

    /// What there is now. The source itself must be readable.
    ///
    /// A folder that was exchanged for an empty one is as good as one that cannot be read: where a file system is away,
    /// its mount point is left, and nobody removed a model.
    pub(super) fn look(&self, looks: &mut Looks) -> io::Result<Sight> {
        let (models, only) = match self {
            Self::Root(root) => (folders(root)?, None),
            Self::Model { name, folder, only } => (vec![(name.clone(), folder.clone())], *only),
        };
        let mut found = Vec::new();
        let mut unreadable = BTreeMap::new();
        for (name, model) in models {
            let versions = match folders(&model) {
                Ok(versions) => versions,
                // Such as `lost+found`.
                Err(error) => {
                    looks.ignore(model, &format!("it cannot be read: {error}"));
                    unreadable.insert(name, error.to_string());
                    continue;
                }
            };
            let first = found.len();
            for (version, folder) in versions {
                match version_number(&version) {
                    Some(number) if only.is_none_or(|only| only == number) => {
                        found.push(Candidate {
                            name: name.clone(),
                            number,
                            folder,
                        });
                    }
                    Some(_) => {}
                    None => looks.ignore(folder, "the name of a version is a number from 1"),
                }
            }
            if let Err(reason) = looks.found(&model, found.len() > first) {
                unreadable.insert(name, reason.to_owned());
            }
            found[first..].sort_by_key(|candidate| candidate.number);
        }
        if let Self::Root(root) = self {
            let something = !found.is_empty() || !unreadable.is_empty();
            looks.found(root, something).map_err(io::Error::other)?;
        }
        Ok(Sight {
            candidates: found,
            unreadable,
        })
    }
}

/// The folders in a folder, in order of name; hidden ones are left out.
fn folders(parent: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(name) = name
            && !name.starts_with('.')
            && is_folder(&path)
        {
            found.push((name.to_owned(), path.clone()));
        }
    }
    found.sort();
    Ok(found)
}

/// Whether it is a folder, or may be: where a link leads to may be away for a while, which is no word of its removal.
fn is_folder(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(metadata) => metadata.is_dir(),
        Err(_) => fs::symlink_metadata(path).is_ok_and(|link| link.is_symlink() || link.is_dir()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_version_is_spoken_of_once_and_stops_nothing() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["a/2", "a/10", "a/latest", "b/1", ".hidden/1"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let source = Source::Root(root.path().to_owned());
        let mut looks = Looks::default();
        for _ in 0..2 {
            let found = source.look(&mut looks).unwrap().candidates;
            let found: Vec<_> = found.iter().map(|c| (c.name.as_str(), c.number)).collect();
            assert_eq!(found, [("a", 2), ("a", 10), ("b", 1)]);
            assert_eq!(looks.ignored.len(), 1);
        }
    }
}
