//! What can be asked of a model: one file an operation, which says everything that anybody says about it.
//!
//! An [`Operation`] declares its options with defaults, bounds and documentation, what it takes, what it answers, its
//! tensors, its class of work and in which formats it can be shown. HTTP, the OpenAPI document, the command line and
//! the metrics are derived from that declaration; they know no operation by name. [`Registry::standard`] lists the
//! operations, one line each.
//!
//! Architecture invariant: nothing here knows a transport, a family or the repository. An operation asks a model for a
//! capability and gets it, or the reason why not.

pub mod answer;
pub mod classify;
pub mod complete;
pub mod compress;
mod costs;
pub mod decode;
pub mod decompress;
pub mod detect;
pub mod encode;
mod erased;
pub mod input;
pub mod interpolate;
pub mod label;
mod limits;
mod pending;
pub mod reconstruct;
pub mod render;
pub mod sample;
pub mod score;
pub mod service;
pub mod tensor;

use std::{future::Future, sync::Arc};

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

pub use self::{
    answer::{Answer, Failure, Items},
    erased::{About, AnyAnswer, AnyOperation},
    input::Input,
    label::Label,
    limits::Limits,
    pending::{CommonOptions, Pending, known_of},
    render::{Format, Rendering},
    service::Service,
    tensor::{Tensor, TensorSpec},
};
use crate::{
    metrics::Metrics,
    model::{Call, Model, Refusal, shadow::Shadow},
};

/// The class of work of an operation, which decides on its default deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Short work that someone waits for.
    Interactive,
    /// Long work in many steps: it can take a pass through the network for every pixel.
    Bulk,
}

/// The circumstances of one run of an operation.
#[derive(Debug, Clone)]
pub struct Context {
    /// Its deadline, and leave to give the workers something to do.
    pub call: Call,
    /// What one request may ask for.
    pub limits: Arc<Limits>,
    /// Who judges the same images in shadow, if anybody does.
    pub shadow: Option<Shadow>,
}

/// Something that can be asked of a model.
pub trait Operation: Sized + Send + Sync + 'static {
    /// Its name: in paths, on the command line, in metrics.
    const NAME: &'static str;
    /// A few words, as a command: "Score images".
    const SUMMARY: &'static str;
    /// What it does, in sentences, with the formats that are not JSON.
    const DESCRIPTION: &'static str;
    /// Its class of work.
    const WORK: Work = Work::Interactive;
    /// The formats that it can answer in, the default first.
    const FORMATS: &'static [Format];
    /// Where the items stand in the answer, and whether they may fail one by one.
    const ITEMS: Items = Items::Each;
    /// The tensors of its answer.
    const TENSORS: &'static [TensorSpec];

    /// What a model needs to have for it.
    type Capability: ?Sized + Send + Sync + 'static;
    /// What it takes beside its options.
    type Input: Input;
    /// Its options: names, defaults, bounds and documentation.
    type Options: DeserializeOwned + JsonSchema + Send + Sync;
    /// What its answer says once.
    type Head: Serialize + JsonSchema + Clone + Send + 'static;
    /// What its answer says of each image.
    type Item: Serialize + JsonSchema + Send + 'static;

    /// Does it. The input is not empty and its images are of the model's size.
    fn run(
        capability: &Self::Capability,
        model: &Model,
        input: Self::Input,
        options: Self::Options,
        context: &Context,
    ) -> impl Future<Output = Result<Answer<Self>, Refusal>> + Send;

    /// Refuses a format that the options do not go with.
    fn check_format(_format: Format, _options: &Self::Options) -> Result<(), Refusal> {
        Ok(())
    }

    /// Refuses a number of images that the format has no room for.
    fn check_count(_format: Format, _images: usize) -> Result<(), Refusal> {
        Ok(())
    }

    /// The formats that it can answer in for this model.
    fn formats(_model: &Model) -> &'static [Format] {
        Self::FORMATS
    }

    /// Numbers in a code of the model, where codes come in or go out.
    fn code_size(_model: &Model) -> usize {
        0
    }

    /// Whether the model gives one of [`Self::TENSORS`], which some models of the capability may lack.
    fn gives(_model: &Model, _tensor: &TensorSpec) -> bool {
        true
    }

    /// Decides anew on items that were answered apart, where what becomes of one depends on the others.
    fn decide_together(_items: &mut [&mut Self::Item]) {}

    /// The query of a first request by hand, such as `?top=5`, if the default answer is not for a person to read.
    fn first_query(_model: &Model) -> &'static str {
        ""
    }

    /// The tensors of an answer in which no item failed, those of [`Self::TENSORS`] that the options asked for, in that
    /// order.
    fn tensors(head: &Self::Head, items: &[Self::Item]) -> Vec<Tensor>;

    /// The tensor that stands for the answer where there is room for one: the last of those that were asked for.
    fn array(head: &Self::Head, items: &[Self::Item]) -> Tensor {
        let nothing = || Tensor::numbers("nothing", []);
        Self::tensors(head, items).pop().unwrap_or_else(nothing)
    }

    /// What an answer in which no item failed shows as a picture, an animation or a file.
    fn rendering(_head: Self::Head, _items: Vec<Self::Item>) -> Rendering {
        Rendering::Nothing
    }

    /// What holds for an answer that has no place for words, such as a picture: names and values.
    fn notes(_head: &Self::Head, _items: &[&Self::Item]) -> Vec<(&'static str, serde_json::Value)> {
        Vec::new()
    }

    /// Counts what was answered.
    fn observe(_model: &Model, _items: &[&Self::Item], _metrics: &Metrics) {}
}

/// The operations of a server.
#[derive(Debug, Clone)]
pub struct Registry(Vec<Arc<dyn AnyOperation>>);

impl Registry {
    /// None.
    pub fn empty() -> Self {
        Self(Vec::new())
    }

    /// All that density-server has.
    pub fn standard() -> Self {
        Self::empty()
            .with::<score::Score>()
            .with::<detect::Detect>()
            .with::<classify::Classify>()
            .with::<sample::Sample>()
            .with::<complete::Complete>()
            .with::<encode::Encode>()
            .with::<decode::Decode>()
            .with::<reconstruct::Reconstruct>()
            .with::<interpolate::Interpolate>()
            .with::<compress::Compress>()
            .with::<decompress::Decompress>()
    }

    /// One more.
    #[must_use]
    pub fn with<O: Operation>(mut self) -> Self {
        self.0.push(erased::erase::<O>());
        self
    }

    /// The operation of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn AnyOperation>> {
        self.iter().find(|operation| operation.about().name == name)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn AnyOperation>> {
        self.0.iter()
    }
}
