//! `sample`: new images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Answer, Context, Format, Items, Label, Operation, Rendering, Tensor, TensorSpec, Work, input::Nothing};
use crate::{
    domain::random::random_seed,
    model::{
        Model, Refusal,
        draw::{DrawAsk, Draws, Observation, Order, Sampler},
        value::Picture,
    },
};

/// Drawing.
#[derive(Debug)]
pub struct Sample;

/// Options of `sample`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct SampleOptions {
    /// Images. The server bounds their number.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub n: u32,
    /// The same seed gives the same images; without one the server chooses, and the answer tells.
    pub seed: Option<u64>,
    /// 1 is the model's own distribution; lower is more typical.
    #[serde(default = "natural")]
    #[schemars(range(max = 100), extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
    /// For models with a decoder: its mean or a draw from it.
    #[serde(default)]
    pub observation: Observation,
    /// For a model that is conditioned on labels: which one, by name or number. Without it each image's label is drawn
    /// from the prior, so that images come from p(x); the answer tells the labels.
    pub label: Option<Label>,
}

pub(super) fn one() -> u32 {
    1
}

pub(super) fn natural() -> f64 {
    1.0
}

/// What an answer says once.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SampleHead {
    /// With it the same images come again.
    pub seed: u64,
    /// As asked for.
    pub temperature: f64,
    /// How the images were drawn.
    #[serde(flatten)]
    pub sampler: Sampler,
    /// Of a model that is conditioned on labels: that of each image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    #[serde(skip)]
    order: Option<Order>,
}

impl Operation for Sample {
    const NAME: &'static str = "sample";
    const SUMMARY: &'static str = "Draw images";
    const DESCRIPTION: &'static str = "New images, drawn from the model. As `image/png` one grid (a single image comes \
        plainly), as `image/gif` an animation of how the images appear, as `application/x-npy` uint8 levels of shape \
        [N, H, W] or [N, H, W, C]; the header `X-Seed` then tells the seed, and `X-Labels` the labels of a conditional \
        model as a JSON array. As `text/event-stream` the images can be watched while they are drawn: events \
        `progress` show the rows so far of one image each, at most one in 50 ms, and the last event is `done` with the \
        JSON answer, or `error` with a problem.";
    const WORK: Work = Work::Bulk;
    const FORMATS: &'static [Format] = &[Format::Json, Format::Png, Format::Npy, Format::Gif, Format::Events];
    const ITEMS: Items = Items::Together;
    const TENSORS: &'static [TensorSpec] = &[TensorSpec::levels("levels of the images")];

    type Capability = dyn Draws;
    type Input = Nothing;
    type Options = SampleOptions;
    type Head = SampleHead;
    type Item = Picture;

    async fn run(
        draws: &Self::Capability,
        model: &Model,
        _: Nothing,
        options: SampleOptions,
        context: &Context,
    ) -> Result<Answer<Self>, Refusal> {
        context.limits.check_draws(1, options.n)?;
        let ask = DrawAsk {
            n: options.n,
            seed: options.seed.unwrap_or_else(random_seed),
            temperature: options.temperature,
            observation: options.observation,
            condition: model.condition(options.label.as_ref().map(|label| label.0.as_str()))?,
        };
        let drawn = draws.draw(&ask, &context.call).await?;
        Ok(Answer {
            head: SampleHead {
                seed: ask.seed,
                temperature: ask.temperature,
                sampler: drawn.sampler,
                labels: model.names_of(&drawn.labels),
                order: Some(draws.order()),
            },
            items: drawn.images.into_iter().map(|image| Ok(Picture(image))).collect(),
        })
    }

    fn tensors(_: &SampleHead, items: &[Picture]) -> Vec<Tensor> {
        Tensor::pictures(items)
    }

    fn rendering(head: SampleHead, items: Vec<Picture>) -> Rendering {
        Rendering::Images {
            images: items.into_iter().map(|picture| picture.0).collect(),
            known: Vec::new(),
            order: head.order.unwrap_or(Order::AtOnce),
        }
    }

    fn notes(head: &SampleHead, _: &[&Picture]) -> Vec<(&'static str, serde_json::Value)> {
        let labels = (!head.labels.is_empty()).then(|| ("labels", json!(head.labels)));
        [("seed", json!(head.seed))].into_iter().chain(labels).collect()
    }
}
