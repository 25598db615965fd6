//! Models that a detector or a composite is made of, as its manifest names them.

use std::{collections::BTreeSet, fmt::Display, str::FromStr, sync::Arc};

use serde::Deserialize;

use super::Tables;
use crate::model::Model;

/// A model that is asked for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<Role> {
    /// What it is asked for.
    pub role: Role,
    /// Its name.
    pub model: String,
    /// Its version.
    pub version: u32,
    /// What identifies it, see [`Model::identity`].
    pub sha256: String,
}

/// One of `[[members]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberTable {
    role: String,
    model: String,
    version: u32,
    sha256: String,
}

/// `[[members]]`, each with a role of its own.
pub fn members<Role>(tables: &mut Tables) -> Result<Vec<Member<Role>>, String>
where
    Role: FromStr<Err = String> + Display + Ord + Copy,
{
    let mut roles = BTreeSet::new();
    let written: Vec<MemberTable> = tables.needed("members")?;
    written
        .into_iter()
        .map(|table| {
            let role: Role = table.role.parse().map_err(|e| format!("members: {e}"))?;
            if !roles.insert(role) {
                return Err(format!("members: two have the role \"{role}\""));
            }
            Ok(Member {
                role,
                model: table.model,
                version: table.version,
                sha256: table.sha256,
            })
        })
        .collect()
}

impl<Role> Member<Role> {
    /// A model that is asked for something.
    pub fn new(role: Role, model: &Model) -> Self {
        Self {
            role,
            model: model.name.clone(),
            version: model.version,
            sha256: model.identity.clone(),
        }
    }

    /// The model that is named, which `find` finds by name and version, if it is the very one; else `of` says whose it
    /// was, and of what the hash is.
    pub fn find(
        &self,
        find: impl FnOnce(&str, u32) -> Result<Arc<Model>, String>,
        of: &str,
    ) -> Result<Arc<Model>, String> {
        let (model, version) = (&self.model, self.version);
        let found = find(model, version).map_err(|reason| format!("{model} version {version}: {reason}"))?;
        if found.identity.eq_ignore_ascii_case(&self.sha256) {
            return Ok(found);
        }
        Err(format!(
            "{model} version {version} is not the one that {of} sha256 {}, not {}",
            found.identity, self.sha256
        ))
    }
}

/// Names and versions of members.
pub fn named<Role>(members: &[Member<Role>]) -> Vec<(&str, u32)> {
    members
        .iter()
        .map(|member| (member.model.as_str(), member.version))
        .collect()
}

/// Which model has which role, for a finding.
pub fn roles<Role: Display>(members: &[Member<Role>]) -> String {
    let each: Vec<String> = members
        .iter()
        .map(|member| format!("{} as {}", member.model, member.role))
        .collect();
    each.join(", ")
}
