//! The set of capabilities of a model: by the type of their trait, so that a new one needs no list to be named in.

use std::{
    any::{Any, TypeId},
    borrow::Cow,
    fmt,
    sync::Arc,
};

/// Why a model lacks a capability, as a sentence for the person who asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(pub Cow<'static, str>);

impl From<&'static str> for Reason {
    fn from(text: &'static str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Capabilities that a model has, and reasons for those that it lacks.
pub struct Capabilities {
    /// By the type of `Entry<C>`: the entry of the capability `C`. They are few, and every request asks for some.
    entries: Vec<(TypeId, Box<dyn Any + Send + Sync>)>,
    /// The reason for whatever is in no entry.
    otherwise: Reason,
}

type Entry<C> = Result<Arc<C>, Reason>;

impl Capabilities {
    /// None yet; `otherwise` is the reason for what is neither offered nor declined.
    pub fn new(otherwise: impl Into<Reason>) -> Self {
        Self {
            entries: Vec::new(),
            otherwise: otherwise.into(),
        }
    }

    /// Adds a capability.
    #[must_use]
    pub fn offer<C: ?Sized + Send + Sync + 'static>(self, capability: Arc<C>) -> Self {
        self.with::<C>(Ok(capability))
    }

    /// Says why there is no such capability.
    #[must_use]
    pub fn decline<C: ?Sized + Send + Sync + 'static>(self, reason: impl Into<Reason>) -> Self {
        self.with::<C>(Err(reason.into()))
    }

    /// Adds a capability, or the reason why it is missing.
    #[must_use]
    pub fn with<C: ?Sized + Send + Sync + 'static>(mut self, entry: Entry<C>) -> Self {
        let key = TypeId::of::<Entry<C>>();
        self.entries.retain(|(own, _)| *own != key);
        self.entries.push((key, Box::new(entry)));
        self
    }

    /// A capability, or why it is missing.
    pub fn get<C: ?Sized + Send + Sync + 'static>(&self) -> Result<Arc<C>, Reason> {
        let key = TypeId::of::<Entry<C>>();
        self.entries
            .iter()
            .find(|(own, _)| *own == key)
            .and_then(|(_, entry)| entry.downcast_ref::<Entry<C>>())
            .cloned()
            .unwrap_or_else(|| Err(self.otherwise.clone()))
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capabilities({} entries)", self.entries.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    trait Sings: Send + Sync {
        fn sing(&self) -> &'static str;
    }
    trait Dances: Send + Sync {}
    trait Flies: Send + Sync {}

    struct Bird;
    impl Sings for Bird {
        fn sing(&self) -> &'static str {
            "la"
        }
    }

    #[test]
    fn a_capability_is_there_or_absent_with_a_reason() {
        let capabilities = Capabilities::new("it is a bird")
            .offer::<dyn Sings>(Arc::new(Bird))
            .decline::<dyn Dances>("it has no rhythm");
        assert_eq!(capabilities.get::<dyn Sings>().unwrap().sing(), "la");
        let reason = |reason: Reason| reason.to_string();
        assert_eq!(
            capabilities.get::<dyn Dances>().err().map(reason).unwrap(),
            "it has no rhythm"
        );
        assert_eq!(
            capabilities.get::<dyn Flies>().err().map(reason).unwrap(),
            "it is a bird"
        );
    }
}
