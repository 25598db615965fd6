//! `interpolate`: images on the way between two images.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Answer, Context, Format, Items, Operation, Rendering, Tensor, TensorSpec, answer::NoHead, input::TwoImages,
};
use crate::model::{Model, Refusal, codes::Interpolates, draw::Order, value::Picture};

/// Interpolation.
#[derive(Debug)]
pub struct Interpolate;

/// Options of `interpolate`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct InterpolateOptions {
    /// Images, both ends included.
    #[serde(default = "eight")]
    #[schemars(range(min = 2, max = 64))]
    pub steps: u32,
}

fn eight() -> u32 {
    8
}

impl Operation for Interpolate {
    const NAME: &'static str = "interpolate";
    const SUMMARY: &'static str = "Interpolate";
    const DESCRIPTION: &'static str = "Images on the straight line between the latent codes of two images, from the \
        reconstruction of the first to that of the second. Takes exactly two images. As `image/png` one grid, as \
        `application/x-npy` uint8 levels of shape [N, H, W] or [N, H, W, C].";
    const FORMATS: &'static [Format] = &[Format::Json, Format::Png, Format::Npy];
    const ITEMS: Items = Items::Together;
    const TENSORS: &'static [TensorSpec] = &[TensorSpec::levels("levels of the images")];

    type Capability = dyn Interpolates;
    type Input = TwoImages;
    type Options = InterpolateOptions;
    type Head = NoHead;
    type Item = Picture;

    async fn run(
        interpolates: &Self::Capability,
        _: &Model,
        TwoImages(from, to): TwoImages,
        options: InterpolateOptions,
        context: &Context,
    ) -> Result<Answer<Self>, Refusal> {
        let images = interpolates.interpolate(from, to, options.steps, &context.call).await?;
        Ok(Answer {
            head: NoHead {},
            items: images.into_iter().map(|image| Ok(Picture(image))).collect(),
        })
    }

    fn tensors(_: &NoHead, items: &[Picture]) -> Vec<Tensor> {
        Tensor::pictures(items)
    }

    fn rendering(_: NoHead, items: Vec<Picture>) -> Rendering {
        Rendering::Images {
            images: items.into_iter().map(|picture| picture.0).collect(),
            known: Vec::new(),
            order: Order::AtOnce,
        }
    }
}
