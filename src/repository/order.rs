//! Which versions are made of which others, and so in which order they are loaded.

use std::{collections::BTreeMap, fs, path::PathBuf};

use sha2::{Digest, Sha256};

use super::Candidate;
use crate::families::{Manifest, Registry, manifest::MANIFEST};

/// A candidate in its turn.
pub(super) struct Ordered {
    pub(super) candidate: Candidate,
    /// Stands for everything that loading the candidate depends on.
    pub(super) fingerprint: [u8; 32],
}

/// Candidates, and those that they are made of and that lie beside them, each after all that it is made of. Of those that are made of each
/// other one comes first, and is refused because its members are not there.
pub(super) fn by_dependence(candidates: Vec<Candidate>, registry: &Registry) -> Vec<Ordered> {
    let mut walk = Walk {
        registry,
        state: BTreeMap::new(),
        ordered: Vec::new(),
    };
    for candidate in candidates {
        walk.visit(candidate);
    }
    walk.ordered
}

struct Walk<'a> {
    registry: &'a Registry,
    /// Fingerprints of what has been visited; `None` while its members are.
    state: BTreeMap<PathBuf, Option<[u8; 32]>>,
    ordered: Vec<Ordered>,
}

impl Walk<'_> {
    /// The fingerprint of a candidate, which is put in its place after its members.
    fn visit(&mut self, candidate: Candidate) -> [u8; 32] {
        if let Some(known) = self.state.get(&candidate.folder) {
            return known.unwrap_or_default();
        }
        self.state.insert(candidate.folder.clone(), None);
        // A manifest that cannot be read is empty here; the gate says what is wrong with it.
        let text = fs::read(candidate.folder.join(MANIFEST)).unwrap_or_default();
        let mut hash = Sha256::new_with_prefix(&text);
        for (name, number) in self.members(&candidate, text) {
            let folder = candidate.sibling(&name, number);
            if folder.is_dir() {
                hash.update(self.visit(Candidate {
                    name,
                    number,
                    folder,
                }));
            }
        }
        let fingerprint = hash.finalize().into();
        self.state
            .insert(candidate.folder.clone(), Some(fingerprint));
        self.ordered.push(Ordered {
            candidate,
            fingerprint,
        });
        fingerprint
    }

    /// Names and versions of the models that the candidate is made of; none if its manifest is not valid.
    fn members(&self, candidate: &Candidate, text: Vec<u8>) -> Vec<(String, u32)> {
        let text = String::from_utf8(text).unwrap_or_default();
        let manifest = Manifest::parse(&text, &candidate.name, self.registry);
        manifest.map_or_else(
            |_| Vec::new(),
            |manifest| {
                let members = manifest.contract.members().into_iter();
                members
                    .map(|(name, number)| (name.to_owned(), number))
                    .collect()
            },
        )
    }
}
