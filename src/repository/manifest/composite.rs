//! The manifest of a composite of Bayes' rule: which classifier, which density, and what tells the novel from the familiar.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    Graphs, Labels, Manifest, Provenance,
    declared::{Declared, Serving},
    members::{Member, MemberTable, members},
    parse::{ImageTable, ScoredTable, check_labels, check_name, shape},
};
use crate::domain::{bayes::Role, family::Family};

/// What a composite's manifest says beside what every manifest says.
#[derive(Debug, Clone)]
pub struct Contract {
    /// The models it asks, each with a role of its own.
    pub members: Vec<Member<Role>>,
    /// npy file of how ambiguous held-out inliers are: float64 `[n]` of −log max p(label | image), in nats.
    pub ambiguity: String,
    /// Where these images came from.
    pub ambiguity_description: String,
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[expect(dead_code, reason = "read before")]
    family: String,
    description: String,
    image: ImageTable,
    labels: Labels,
    members: Vec<MemberTable>,
    ambiguity: AmbiguityTable,
    golden: ScoredTable,
    provenance: Provenance,
    sha256: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AmbiguityTable {
    scores: String,
    description: String,
}

/// Parses the manifest of a composite whose folder is called `folder`.
pub(super) fn parse(text: &str, folder: &str) -> Result<Manifest, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
    check_name(&file.name, folder)?;
    check_labels(&file.labels)?;
    Ok(Manifest {
        name: file.name,
        family: Family::Bayes,
        description: file.description,
        shape: shape(&file.image)?,
        labels: Some(file.labels),
        graphs: Graphs::Composite(Contract {
            members: needed(members(file.members)?)?,
            ambiguity: file.ambiguity.scores,
            ambiguity_description: file.ambiguity.description,
        }),
        golden: file.golden.try_into()?,
        calibration: None,
        provenance: file.provenance,
        serving: Serving::default(),
        declared: Declared::default(),
        sha256: file.sha256,
    })
}

fn needed(members: Vec<Member<Role>>) -> Result<Vec<Member<Role>>, String> {
    let needed = [Role::Classifier, Role::Density];
    let has = |role: &Role| members.iter().any(|member| member.role == *role);
    match needed.into_iter().find(|role| !has(role)) {
        None => Ok(members),
        Some(role) => Err(format!("members: one with the role \"{role}\" is needed")),
    }
}
