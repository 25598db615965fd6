//! Names of the protocol's models: which model, and which of its operations.

use std::sync::Arc;

use super::OpenInference;
use crate::{
    model::{Kind, Model, Refusal},
    operations::AnyOperation,
};

/// What separates a model from an operation in a name.
const SEPARATOR: char = ':';

/// A model and one thing that it can do.
pub(super) struct Target {
    pub(super) model: Arc<Model>,
    pub(super) operation: Arc<dyn AnyOperation>,
}

/// The model and the operation in a name.
pub(super) fn parts(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(SEPARATOR) {
        Some((model, operation)) => (model, Some(operation)),
        None => (name, None),
    }
}

/// The name of one operation of a model.
pub(super) fn name_of(model: &str, operation: &str) -> String {
    format!("{model}{SEPARATOR}{operation}")
}

impl OpenInference {
    /// The model and the operation that are meant by a name and by the parameter `operation`. Both are there and go
    /// together.
    pub(super) fn target(&self, name: &str, version: Option<u32>, parameter: Option<&str>) -> Result<Target, Refusal> {
        let (model, operation) = parts(name);
        let operation = match (operation, parameter) {
            (Some(name), Some(parameter)) if name != parameter => {
                let reason = format!("the name of the model asks for {name:?}; leave one of them out");
                return Err(Refusal::option("operation", reason));
            }
            (Some(operation), _) | (None, Some(operation)) => Some(Arc::clone(self.service.operation(operation)?)),
            (None, None) => None,
        };
        let model = self.service.catalogue().model(model, version)?;
        let operation = match operation {
            Some(operation) => operation,
            None => self.default_of(&model)?,
        };
        operation
            .available(&model)
            .map_err(|reason| Refusal::unsupported(&model.name, operation.about().name, &reason))?;
        Ok(Target { model, operation })
    }

    /// What a model does when nothing else is asked for.
    pub(super) fn default_of(&self, model: &Model) -> Result<Arc<dyn AnyOperation>, Refusal> {
        let mut operations = self.service.operations();
        operations
            .find(|operation| operation.available(model).is_ok())
            .cloned()
            .ok_or_else(|| {
                let detail = format!("model {:?} can do nothing that is served here", model.name);
                Refusal::new(Kind::Unsupported, detail)
            })
    }
}

/// A version as the protocol writes it: decimal digits, or nothing for the newest.
pub(super) fn version(text: &str) -> Result<Option<u32>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        let found = crate::model::refusal::clip(text);
        Refusal::new(
            Kind::NotFound,
            format!("there is no version {found:?}; versions are whole numbers"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operation_stands_behind_the_last_colon() {
        assert_eq!(parts("m"), ("m", None));
        assert_eq!(parts("m:encode"), ("m", Some("encode")));
        assert_eq!(parts(&name_of("m", "score")), ("m", Some("score")));
    }

    #[test]
    fn versions_are_decimal() {
        assert_eq!(version("").unwrap(), None);
        assert_eq!(version("12").unwrap(), Some(12));
        for bad in ["-1", "1.0", "latest", "99999999999"] {
            assert_eq!(version(bad).unwrap_err().kind(), Kind::NotFound);
        }
    }
}
