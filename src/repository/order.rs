//! Which versions are made of which others, and so in which order they are loaded.

use std::{collections::BTreeMap, path::PathBuf};

use sha2::{Digest, Sha256};

use super::source::Candidate;
use crate::families::{Declared, GateError, Registry};

/// A candidate in its turn.
pub(super) struct Ordered {
    pub(super) candidate: Candidate,
    /// What its manifest says. It is not read again.
    pub(super) declared: Result<Declared, GateError>,
    /// Stands for everything that the proof of the candidate depends on: its manifest and those of its members.
    pub(super) fingerprint: [u8; 32],
    /// Places of its members in the order, all before its own.
    pub(super) after: Vec<usize>,
}

/// Candidates, and those that they are made of and that lie beside them, each after all that it is made of. Of those
/// that are made of each other one comes first, and is refused because its members are not there.
pub(super) fn by_dependence(candidates: Vec<Candidate>, registry: &Registry) -> Vec<Ordered> {
    let mut walk = Walk {
        registry,
        places: BTreeMap::new(),
        ordered: Vec::new(),
    };
    for candidate in candidates {
        walk.visit(candidate);
    }
    walk.ordered
}

struct Walk<'a> {
    registry: &'a Registry,
    /// Places of what has been visited; `None` while its members are.
    places: BTreeMap<PathBuf, Option<usize>>,
    ordered: Vec<Ordered>,
}

impl Walk<'_> {
    /// The place of a candidate, which it gets after its members; `None` if it is one of its own members.
    fn visit(&mut self, candidate: Candidate) -> Option<usize> {
        if let Some(known) = self.places.get(&candidate.folder) {
            return *known;
        }
        self.places.insert(candidate.folder.clone(), None);
        let declared = Declared::read(&candidate.folder, &candidate.name, self.registry);
        let (text, members) = match &declared {
            Ok(Declared { manifest, fingerprint }) => (fingerprint.as_str(), manifest.contract.members()),
            Err(_) => ("", Vec::new()),
        };
        let mut hash = Sha256::new_with_prefix(text);
        let mut after = Vec::new();
        for (name, number) in members {
            let folder = candidate.sibling(name, number);
            if !folder.is_dir() {
                continue;
            }
            let place = self.visit(Candidate {
                name: name.to_owned(),
                number,
                folder,
            });
            if let Some(place) = place {
                hash.update(self.ordered[place].fingerprint);
                after.push(place);
            }
        }
        let place = self.ordered.len();
        self.places.insert(candidate.folder.clone(), Some(place));
        self.ordered.push(Ordered {
            candidate,
            declared,
            fingerprint: hash.finalize().into(),
            after,
        });
        Some(place)
    }
}
