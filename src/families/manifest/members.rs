//! Models that a detector or a composite is made of, as its manifest names them.

use std::{collections::BTreeSet, fmt::Display, str::FromStr};

use serde::Deserialize;

/// A model that is asked for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member<Role> {
    /// What it is asked for.
    pub role: Role,
    /// Its name.
    pub model: String,
    /// Its version.
    pub version: u32,
    /// What identifies it, see [`crate::repository::Version::identity`].
    pub sha256: String,
}

/// One of `[[members]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberTable {
    role: String,
    model: String,
    version: u32,
    sha256: String,
}

/// Members, each with a role of its own.
pub(super) fn members<Role>(tables: Vec<MemberTable>) -> Result<Vec<Member<Role>>, String>
where
    Role: FromStr<Err = String> + Display + Ord + Copy,
{
    let mut roles = BTreeSet::new();
    tables
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
