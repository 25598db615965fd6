//! The manifest of a composite: which classifier, which density, and what tells the novel from the familiar.

use serde::Deserialize;

use crate::{
    domain::bayes::Role,
    families::manifest::{
        Scored, Tables,
        members::{Member, members},
        placement::CalibratedAt,
    },
    model::labels::Labels,
    runtime::Placement,
};

/// What a composite's manifest says beside what every manifest says.
#[derive(Debug)]
pub(super) struct Own {
    /// The models it asks, each with a role of its own.
    pub(super) members: Vec<Member<Role>>,
    pub(super) labels: Labels,
    /// npy file of how ambiguous held-out inliers are: float64 `[n]` of −log max p(label | image), in nats.
    pub(super) ambiguity: String,
    /// Where these images came from.
    pub(super) description: String,
    /// Where they were classified, and how exactly.
    pub(super) calibrated_at: Placement,
    pub(super) golden: Scored,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AmbiguityTable {
    scores: String,
    description: String,
    device: Option<String>,
    precision: Option<String>,
}

impl Own {
    pub(super) fn read(tables: &mut Tables) -> Result<Self, String> {
        let ambiguity: AmbiguityTable = tables.needed("ambiguity")?;
        Ok(Self {
            members: needed(members(tables)?)?,
            labels: tables.labels()?.ok_or_else(|| tables.needs("[labels]"))?,
            ambiguity: ambiguity.scores,
            description: ambiguity.description,
            calibrated_at: CalibratedAt::new(ambiguity.device, ambiguity.precision).placement()?,
            golden: tables.scored()?,
        })
    }
}

fn needed(members: Vec<Member<Role>>) -> Result<Vec<Member<Role>>, String> {
    let has = |role: Role| members.iter().any(|member| member.role == role);
    if !has(Role::Classifier) {
        return Err(format!("members: one with the role \"{}\" is needed", Role::Classifier));
    }
    if !has(Role::Density) && !has(Role::Novelty) {
        return Err(format!(
            "members: one with the role \"{}\" or \"{}\" is needed",
            Role::Density,
            Role::Novelty
        ));
    }
    Ok(members)
}
