//! `decode`: the images of latent codes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Answer, Context, Format, Label, Operation, Rendering, Tensor, TensorSpec, input::Codes};
use crate::{
    domain::{image::Image, random::random_seed},
    model::{
        Model, Refusal,
        codes::{DecodeAsk, Decodes, check_codes},
        draw::{Observation, Order},
        labels::Condition,
        value::Picture,
    },
};

/// Decoding.
#[derive(Debug)]
pub struct Decode;

/// Options of `decode`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct DecodeOptions {
    /// The decoder's mean or a draw from it.
    #[serde(default)]
    pub observation: Observation,
    /// Seed of the draw; without one the server chooses, and the answer tells.
    pub seed: Option<u64>,
    /// For a decoder that is given labels: which one, by name or number. Without it each code's label is drawn from the
    /// prior, and the answer tells the labels.
    pub label: Option<Label>,
}

/// What an answer says once.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DecodeHead {
    /// As asked for.
    pub observation: Observation,
    /// The seed, where anything was drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Of a decoder that is given labels: that of each code.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// The image of one code or stream.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OneImage {
    /// The image.
    pub image: Picture,
}

impl Operation for Decode {
    const NAME: &'static str = "decode";
    const SUMMARY: &'static str = "Decode latent codes";
    const DESCRIPTION: &'static str = "The codes come as JSON (`latents`, a list of lists) or as `application/x-npy`, \
        float32 or float64 of shape [N, L]. As `image/png` one grid (a single image comes plainly), as \
        `application/x-npy` uint8 levels of shape [N, H, W] or [N, H, W, C].";
    const FORMATS: &'static [Format] = &[Format::Json, Format::Png, Format::Npy];
    const TENSORS: &'static [TensorSpec] = &[TensorSpec::levels("levels of the images")];

    type Capability = dyn Decodes;
    type Input = Codes;
    type Options = DecodeOptions;
    type Head = DecodeHead;
    type Item = OneImage;

    fn code_size(model: &Model) -> usize {
        model.can::<dyn Decodes>().map_or(0, |decodes| decodes.code_size())
    }

    async fn run(
        decodes: &Self::Capability,
        model: &Model,
        Codes(codes): Codes,
        options: DecodeOptions,
        context: &Context,
    ) -> Result<Answer<Self>, Refusal> {
        check_codes(&codes, decodes.code_size())?;
        let ask = DecodeAsk {
            observation: options.observation,
            seed: options.seed.unwrap_or_else(random_seed),
            condition: model.condition(options.label.as_ref().map(|label| label.0.as_str()))?,
        };
        let labels = match &ask.condition {
            Condition::None => Vec::new(),
            given => model.names_of(&given.draw(codes.len() as u32, ask.seed)),
        };
        let is_drawn = ask.observation == Observation::Sample || matches!(ask.condition, Condition::Open(_));
        let images = decodes.decode(codes, &ask, &context.call).await?;
        Ok(Answer {
            head: DecodeHead {
                observation: ask.observation,
                seed: is_drawn.then_some(ask.seed),
                labels,
            },
            items: images.into_iter().map(OneImage::new).collect(),
        })
    }

    fn tensors(_: &DecodeHead, items: &[OneImage]) -> Vec<Tensor> {
        one_images(items)
    }

    fn rendering(_: DecodeHead, items: Vec<OneImage>) -> Rendering {
        show(items)
    }
}

impl OneImage {
    pub(super) fn new(image: Result<Image, Refusal>) -> Result<Self, Refusal> {
        image.map(|image| Self { image: Picture(image) })
    }
}

/// Images as a tensor.
pub(super) fn one_images(items: &[OneImage]) -> Vec<Tensor> {
    let all: Vec<Picture> = items.iter().map(|item| item.image.clone()).collect();
    Tensor::pictures(&all)
}

/// Images to look at.
pub(super) fn show(items: Vec<OneImage>) -> Rendering {
    Rendering::Images {
        images: items.into_iter().map(|item| item.image.0).collect(),
        known: Vec::new(),
        order: Order::AtOnce,
    }
}
