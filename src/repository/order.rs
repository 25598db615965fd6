//! Which versions are made of which others, and so in which order they are loaded.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::{
    Candidate, MANIFEST, files,
    manifest::{Graphs, Manifest, members::Member},
};

/// Detectors ask models, composites ask both: nothing is made of more than this.
const DEEPEST: usize = 2;

/// Whom a version asks. Those that ask more are loaded later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asks {
    /// It has graphs of its own.
    Nobody,
    /// A detector.
    Models,
    /// A composite.
    ModelsAndDetectors,
}

/// A candidate in its turn.
pub(super) struct Ordered {
    pub(super) candidate: Candidate,
    pub(super) asks: Asks,
}

/// Candidates, and those that they are made of and that lie beside them, each after all that it is made of.
pub(super) fn by_dependence(candidates: Vec<Candidate>) -> Vec<Ordered> {
    let mut all = candidates;
    let mut next = 0;
    // Members that are not among the candidates, because only one model was asked for, and members of these.
    while next < all.len() {
        let (_, members) = members(&all[next]);
        for (model, version) in members {
            let folder = all[next].sibling(&model, version);
            if folder.is_dir() && all.iter().all(|other| other.folder != folder) {
                all.push(Candidate {
                    name: model,
                    number: version,
                    folder,
                });
            }
        }
        next += 1;
    }
    let mut ordered: Vec<Ordered> = all
        .into_iter()
        .map(|candidate| Ordered {
            asks: members(&candidate).0,
            candidate,
        })
        .collect();
    ordered.sort_by_key(|ordered| ordered.asks);
    ordered
}

/// Stands for everything that loading the candidate depends on.
pub(super) fn fingerprint(candidate: &Candidate) -> [u8; 32] {
    depth_limited(candidate, DEEPEST)
}

fn depth_limited(candidate: &Candidate, depth: usize) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(text_of(&candidate.folder));
    if depth > 0 {
        for (model, version) in members(candidate).1 {
            let folder = candidate.sibling(&model, version);
            let member = Candidate {
                name: model,
                number: version,
                folder,
            };
            hash.update(depth_limited(&member, depth - 1));
        }
    }
    hash.finalize().into()
}

/// Names and versions of the models that the candidate asks; none if its manifest is not valid.
fn members(candidate: &Candidate) -> (Asks, Vec<(String, u32)>) {
    let text = String::from_utf8(text_of(&candidate.folder)).unwrap_or_default();
    match Manifest::parse(&text, &candidate.name).map(|manifest| manifest.graphs) {
        Ok(Graphs::Detector(contract)) => (Asks::Models, named(contract.members)),
        Ok(Graphs::Composite(contract)) => (Asks::ModelsAndDetectors, named(contract.members)),
        _ => (Asks::Nobody, Vec::new()),
    }
}

fn named<Role>(members: Vec<Member<Role>>) -> Vec<(String, u32)> {
    members
        .into_iter()
        .map(|member| (member.model, member.version))
        .collect()
}

/// A manifest that cannot be read is empty here; the gate says what is wrong with it.
fn text_of(folder: &Path) -> Vec<u8> {
    files::read(folder, MANIFEST).unwrap_or_default()
}
