//! Loading and unloading, which operators enable: the protocol does it to models as a whole.

use serde_json::Value;

use super::OpenInference;
use crate::model::{
    Refusal,
    control::{Action, Change},
    refusal::clip,
};

/// The one parameter that is understood, of unloading.
const DEPENDENTS: &str = "unload_dependents";

impl OpenInference {
    /// Loads the versions of a model that are not loaded, and comes back when they are ready.
    pub(super) async fn load(
        &self,
        model: &str,
        parameters: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<(), Refusal> {
        if let Some((name, _)) = parameters.into_iter().next() {
            let reason = "a model is loaded as its folder has it; there are no parameters";
            return Err(Refusal::option(clip(&name), reason));
        }
        self.change(Action::Load, model, false).await
    }

    /// Unloads a model.
    pub(super) async fn unload(
        &self,
        model: &str,
        parameters: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<(), Refusal> {
        let mut dependents = false;
        for (name, value) in parameters {
            dependents = match (&*name, value.as_bool()) {
                (DEPENDENTS, Some(flag)) => flag,
                (DEPENDENTS, None) => return Err(Refusal::option(DEPENDENTS, "it is true or false")),
                _ => return Err(Refusal::option(clip(&name), format!("there is only {DEPENDENTS}"))),
            };
        }
        self.change(Action::Unload, model, dependents).await
    }

    async fn change(&self, action: Action, model: &str, dependents: bool) -> Result<(), Refusal> {
        let change = Change {
            action,
            model: model.to_owned(),
            version: None,
            dependents,
        };
        self.service.change(change).await.map(drop)
    }
}
