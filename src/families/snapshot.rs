//! The files of a version as they were read, once: what is hashed is what is loaded.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;

use super::{
    GateError, Registry, files,
    manifest::{MANIFEST, Manifest, sha256},
};

/// What a version's folder says of itself: its manifest alone was read.
#[derive(Debug)]
pub struct Declared {
    /// What the manifest says.
    pub manifest: Manifest,
    /// sha256 of the manifest's file in sha256 digits, which stands for all the files that it has hashes of.
    pub fingerprint: String,
}

impl Declared {
    /// Reads the manifest in `folder` of the model `name`.
    pub fn read(folder: &Path, name: &str, registry: &Registry) -> Result<Self, GateError> {
        let bytes = read(folder, MANIFEST)?;
        let fingerprint = sha256(&bytes);
        let text = String::from_utf8(bytes).map_err(|_| GateError::Manifest("it is not UTF-8 text".to_owned()))?;
        let manifest = Manifest::parse(&text, name, registry).map_err(GateError::Manifest)?;
        Ok(Self { manifest, fingerprint })
    }

    /// Reads the files beside the manifest, which must be those that it describes.
    pub fn verify(self, folder: &Path) -> Result<Snapshot, GateError> {
        let (mut files, mut graphs) = (BTreeMap::new(), BTreeMap::new());
        let is_graph = |file: &str| self.manifest.contract.graphs().contains(&file);
        for (file, expected) in &self.manifest.sha256 {
            let bytes = read(folder, file)?;
            let actual = sha256(&bytes);
            if !actual.eq_ignore_ascii_case(expected) {
                return Err(GateError::Hash {
                    file: file.clone(),
                    expected: expected.clone(),
                    actual,
                });
            }
            let own = if is_graph(file) { &mut graphs } else { &mut files };
            own.insert(file.clone(), Bytes::from(bytes));
        }
        Ok(Snapshot {
            manifest: self.manifest,
            fingerprint: self.fingerprint,
            files,
            graphs: Mutex::new(graphs),
            folder: folder.to_owned(),
        })
    }
}

/// A complete version in memory. Its folder is looked at again only for weights that a graph names and the manifest
/// does not.
#[derive(Debug)]
pub struct Snapshot {
    /// What the manifest says.
    pub manifest: Manifest,
    /// sha256 of the manifest's file in sha256 digits.
    pub fingerprint: String,
    files: BTreeMap<String, Bytes>,
    /// Graphs that nobody has taken yet: they are the largest files, and are held no longer than they are needed.
    graphs: Mutex<BTreeMap<String, Bytes>>,
    folder: PathBuf,
}

impl Snapshot {
    /// The bytes of a file in the same folder that the manifest has no hash of, and their sha256 in sha256 digits.
    pub(super) fn unlisted(&self, name: &str) -> std::io::Result<(Vec<u8>, String)> {
        let bytes = files::read(&self.folder, name)?;
        let hash = sha256(&bytes);
        Ok((bytes, hash))
    }

    /// The bytes of a file that the manifest has a hash of; of no graph.
    pub fn file(&self, name: &str) -> Option<&Bytes> {
        self.files.get(name)
    }

    /// The bytes of a graph that will be taken later.
    pub(super) fn graph(&self, name: &str) -> Option<Bytes> {
        let graphs = self.graphs.lock().unwrap_or_else(PoisonError::into_inner);
        graphs.get(name).cloned()
    }

    /// The bytes of a graph, once for each time that the manifest names it.
    pub(super) fn take_graph(&self, name: &str) -> Option<Bytes> {
        let mut graphs = self.graphs.lock().unwrap_or_else(PoisonError::into_inner);
        let named = self
            .manifest
            .contract
            .graphs()
            .iter()
            .filter(|own| **own == name)
            .count();
        if named > 1 {
            return graphs.get(name).cloned();
        }
        graphs.remove(name)
    }
}

fn read(folder: &Path, file: &str) -> Result<Vec<u8>, GateError> {
    files::read(folder, file).map_err(|error| GateError::Read {
        file: file.to_owned(),
        cause: error.to_string(),
    })
}
