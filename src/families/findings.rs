//! What the proofs of a version found, so that a later start need not prove the same of the same bytes again.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::model::info::Check;

/// What proofs came to, by the name of the proof.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Findings(BTreeMap<String, Finding>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Finding {
    value: serde_json::Value,
    /// Names and findings of the checks that were passed meanwhile.
    checks: Vec<(String, String)>,
}

/// A proof that need not be done again.
pub(super) struct Settled<T> {
    pub(super) value: T,
    pub(super) checks: Vec<Check>,
}

impl Findings {
    /// What the proof came to, if it is known and of the form that is wanted.
    pub(super) fn get<T: DeserializeOwned>(&self, what: &str) -> Option<Settled<T>> {
        let Finding { value, checks } = self.0.get(what)?;
        let check = |(name, finding): &(String, String)| Check {
            name: name.clone().into(),
            finding: finding.clone(),
        };
        Some(Settled {
            value: T::deserialize(value).ok()?,
            checks: checks.iter().map(check).collect(),
        })
    }

    /// Keeps what a proof came to. What has no form as text is not kept, and proved again.
    pub(super) fn add<T: Serialize>(&mut self, what: &str, value: &T, checks: &[Check]) {
        let Ok(value) = serde_json::to_value(value) else {
            return;
        };
        let checks = checks
            .iter()
            .map(|check| (check.name.to_string(), check.finding.clone()))
            .collect();
        self.0.insert(what.to_owned(), Finding { value, checks });
    }

    /// Whether nothing was proved.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
