//! `complete`: the missing pixels of partly given images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Answer, Context, Format, Label, Operation, Rendering, Tensor, TensorSpec, Work,
    input::MaskedImages,
    sample::{natural, one},
};
use crate::{
    domain::{image::ImageShape, random::random_seed},
    model::{
        Model, Refusal,
        draw::{CompleteAsk, Completed, Completes, CompletionMethod, Completions, Order},
        value::Picture,
    },
};

/// Completion.
#[derive(Debug)]
pub struct Complete;

/// Options of `complete`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct CompleteOptions {
    /// The first rows are given, the others are missing. Either this or a mask must be there.
    #[schemars(example = 14)]
    pub rows: Option<usize>,
    /// Completions of each image. The server bounds the number of images that one request draws.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub n: u32,
    /// The same seed gives the same completions; without one the server chooses, and the answer tells.
    pub seed: Option<u64>,
    /// 1 is the model's own distribution; lower is more typical.
    #[serde(default = "natural")]
    #[schemars(range(max = 100), extend("exclusiveMinimum" = 0))]
    pub temperature: f64,
    /// For a model that is conditioned on labels: which one, by name or number. Without it each completion's label is
    /// drawn from p(label | given pixels), which takes given pixels that come before all missing ones; the answer tells
    /// the labels.
    pub label: Option<Label>,
}

/// What an answer says once.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CompleteHead {
    /// `exact`: drawn from p(missing | given). `ancestral`: in the model's order; given pixels that come later do not
    /// inform the missing ones before them. `pseudo_gibbs`: by alternating encoder and decoder, approximate.
    #[schemars(example = &"exact")]
    pub method: &'static str,
    /// Rounds of `pseudo_gibbs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u32>,
    /// With it the same images come again.
    pub seed: u64,
    /// As asked for.
    pub temperature: f64,
    #[serde(skip)]
    known: Vec<bool>,
    #[serde(skip)]
    order: Option<Order>,
}

/// Completions of one image.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CompletedImage {
    /// The completions.
    pub images: Vec<Picture>,
    /// Of a model that is conditioned on labels: that of each image.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

impl Operation for Complete {
    const NAME: &'static str = "complete";
    const SUMMARY: &'static str = "Complete images";
    const DESCRIPTION: &'static str = "Which pixels are given is said by `rows`, or by a mask of the model's size: in \
        a form a second file in the field `mask` (light pixels are given), in JSON the key `mask` with rows of 0 and 1 \
        or an image file in base64. As `image/png` one grid, as `image/gif` an animation of how the missing pixels \
        appear, as `application/x-npy` uint8 levels, image by image with its completions; the header `X-Seed` then \
        tells the seed, and `X-Labels` the labels of a conditional model as a JSON array.";
    const WORK: Work = Work::Bulk;
    const FORMATS: &'static [Format] = &[Format::Json, Format::Png, Format::Npy, Format::Gif];
    const TENSORS: &'static [TensorSpec] = &[TensorSpec::levels(
        "levels of the completed images, image by image with its completions",
    )];

    type Capability = dyn Completes;
    type Input = MaskedImages;
    type Options = CompleteOptions;
    type Head = CompleteHead;
    type Item = CompletedImage;

    async fn run(
        completes: &Self::Capability,
        model: &Model,
        MaskedImages { images, mask }: MaskedImages,
        options: CompleteOptions,
        context: &Context,
    ) -> Result<Answer<Self>, Refusal> {
        let known = known(model.shape, options.rows, mask)?;
        context.limits.check_draws(images.len(), options.n)?;
        let ask = CompleteAsk {
            known,
            n: options.n,
            seed: options.seed.unwrap_or_else(random_seed),
            temperature: options.temperature,
            condition: model.condition(options.label.as_ref().map(|label| label.0.as_str()))?,
        };
        let Completed { method, items } = completes.complete(images, &ask, &context.call).await?;
        let item = |own: Result<Completions, Refusal>| {
            let own = own?;
            Ok(CompletedImage {
                images: own.images.into_iter().map(Picture).collect(),
                labels: model.names_of(&own.labels),
            })
        };
        Ok(Answer {
            head: CompleteHead {
                method: method.name(),
                iterations: match method {
                    CompletionMethod::PseudoGibbs { iterations } => Some(iterations),
                    CompletionMethod::Exact | CompletionMethod::Ancestral => None,
                },
                seed: ask.seed,
                temperature: ask.temperature,
                known: ask.known,
                order: Some(completes.order()),
            },
            items: items.into_iter().map(item).collect(),
        })
    }

    fn tensors(_: &CompleteHead, items: &[CompletedImage]) -> Vec<Tensor> {
        let all: Vec<Picture> = items.iter().flat_map(|item| item.images.clone()).collect();
        Tensor::pictures(&all)
    }

    fn rendering(head: CompleteHead, items: Vec<CompletedImage>) -> Rendering {
        let images = items.into_iter().flat_map(|item| item.images);
        Rendering::Images {
            images: images.map(|picture| picture.0).collect(),
            known: head.known,
            order: head.order.unwrap_or(Order::AtOnce),
        }
    }

    fn notes(head: &CompleteHead, items: &[&CompletedImage]) -> Vec<(&'static str, serde_json::Value)> {
        let labels: Vec<&String> = items.iter().flat_map(|item| &item.labels).collect();
        let labels = (!labels.is_empty()).then(|| ("labels", json!(labels)));
        [("seed", json!(head.seed))].into_iter().chain(labels).collect()
    }
}

/// One flag a pixel in row order, `true` where it is given.
fn known(shape: ImageShape, rows: Option<usize>, mask: Option<Vec<bool>>) -> Result<Vec<bool>, Refusal> {
    let (height, width) = (shape.height(), shape.width());
    match (rows, mask) {
        (None, Some(mask)) => Ok(mask),
        (Some(rows), None) if rows <= height => Ok((0..shape.pixels()).map(|pixel| pixel < rows * width).collect()),
        (Some(rows), None) => {
            let reason = format!("{rows} rows cannot be known of an image of {height}");
            Err(Refusal::option("rows", reason))
        }
        (Some(_), Some(_)) => {
            let reason = "there is a mask too; give one of them";
            Err(Refusal::option("rows", reason))
        }
        (None, None) => {
            let reason = "say which pixels are given, by rows=K or by a mask";
            Err(Refusal::option("rows", reason))
        }
    }
}
