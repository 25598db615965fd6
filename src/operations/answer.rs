//! An answer: what holds once, and an item for each image, which is its result or why it has none.

use schemars::JsonSchema;
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};

use super::Operation;
use crate::model::{PerImage, Refusal, info::Preprocessing};

/// Where the items stand in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Items {
    /// One for each image of the request, under `results`; each may fail alone.
    Each,
    /// Images that come together, under `images`.
    Together,
}

impl Items {
    /// The key of the list of items.
    pub fn key(self) -> &'static str {
        match self {
            Self::Each => "results",
            Self::Together => "images",
        }
    }
}

/// The head of an answer that says nothing once.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct NoHead {}

/// What an operation answers.
pub struct Answer<O: Operation> {
    /// What holds once.
    pub head: O::Head,
    /// One for each image, in order.
    pub items: PerImage<O::Item>,
}

impl<O: Operation> Answer<O> {
    /// Puts the results of the good parts among the refusals of the bad ones. If no result is good, the whole request
    /// has failed.
    pub(super) fn merge(self, problems: Vec<Option<Refusal>>) -> Result<Self, Refusal> {
        if O::ITEMS == Items::Together {
            return Ok(self);
        }
        let mut results = self.items.into_iter();
        let items: PerImage<O::Item> = problems
            .into_iter()
            .map(|problem| match problem {
                Some(refusal) => Err(refusal),
                None => results
                    .next()
                    .unwrap_or_else(|| Err(Refusal::internal("there are fewer results than images"))),
            })
            .collect();
        if items.iter().all(Result::is_err) {
            return Err(Refusal::of_all(items.into_iter().filter_map(Result::err).collect()));
        }
        Ok(Self { head: self.head, items })
    }

    /// The good items.
    pub(super) fn good(&self) -> Vec<&O::Item> {
        self.items.iter().flatten().collect()
    }
}

/// Something that a user should know of an image that was read.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Note {
    /// Which image, counted from 0.
    pub index: usize,
    /// What there is to know.
    pub note: String,
}

/// What stands in an answer in place of an image's result: the image's number and its refusal, as a transport has them.
pub type Failure<'a> = &'a (dyn Fn(usize, &Refusal) -> serde_json::Value + Send + Sync);

/// An answer as JSON: the model, the head's members, and the list of items.
pub(super) struct Json<'a, O: Operation> {
    pub(super) model: (&'a str, u32),
    pub(super) answer: &'a Answer<O>,
    pub(super) files: &'a [String],
    pub(super) notes: &'a [Note],
    pub(super) preprocessing: Option<Preprocessing>,
    pub(super) failure: Failure<'a>,
}

impl<O: Operation> Serialize for Json<'_, O> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("model", self.model.0)?;
        map.serialize_entry("version", &self.model.1)?;
        let head = serde_json::to_value(&self.answer.head).map_err(S::Error::custom)?;
        for (name, value) in head.as_object().into_iter().flatten() {
            map.serialize_entry(name, value)?;
        }
        if let Some(preprocessing) = &self.preprocessing {
            map.serialize_entry("preprocessing", preprocessing)?;
        }
        if !self.notes.is_empty() {
            map.serialize_entry("notes", self.notes)?;
        }
        map.serialize_entry(O::ITEMS.key(), &List(self))?;
        if self.files.iter().any(|name| !name.is_empty()) {
            map.serialize_entry("files", self.files)?;
        }
        map.end()
    }
}

struct List<'a, O: Operation>(&'a Json<'a, O>);

impl<O: Operation> Serialize for List<'_, O> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Json { answer, failure, .. } = self.0;
        let mut list = serializer.serialize_seq(Some(answer.items.len()))?;
        for (index, item) in answer.items.iter().enumerate() {
            match item {
                Ok(item) => list.serialize_element(item)?,
                Err(refusal) => list.serialize_element(&failure(index, refusal))?,
            }
        }
        list.end()
    }
}
