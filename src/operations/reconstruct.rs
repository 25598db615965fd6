//! `reconstruct`: images through encoder and decoder.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Answer, Context, Format, Operation, Rendering, Tensor, TensorSpec,
    answer::NoHead,
    input::Images,
    tensor::{Datatype, IMAGE},
};
use crate::model::{
    Model, Refusal,
    codes::{Reconstruction, Reconstructs},
    draw::Order,
    value::Picture,
};

/// Reconstruction.
#[derive(Debug)]
pub struct Reconstruct;

/// Options of `reconstruct`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ReconstructOptions {
    /// Whether to answer with the squared error of every dimension: in JSON beside the images, as `image/png` a heat
    /// map instead of them (dark is small, bright is large), as `application/x-npy` float32 of shape [N, C, H, W].
    #[serde(default)]
    pub map: bool,
}

impl Operation for Reconstruct {
    const NAME: &'static str = "reconstruct";
    const SUMMARY: &'static str = "Reconstruct images";
    const DESCRIPTION: &'static str = "Each image through encoder and decoder. As `image/png` one grid (a single image \
        comes plainly), as `application/x-npy` uint8 levels of shape [N, H, W] or [N, H, W, C]; with map=true both \
        show the squared errors instead.";
    const FORMATS: &'static [Format] = &[Format::Json, Format::Png, Format::Npy];
    const TENSORS: &'static [TensorSpec] = &[
        TensorSpec {
            name: "mean_squared_error",
            datatype: Datatype::F64,
            axes: &[],
            when: None,
            description: "mean over dimensions of the squared difference, in units of level / (levels − 1)",
        },
        TensorSpec::levels("levels of the reconstructions"),
        TensorSpec {
            name: "squared_error_map",
            datatype: Datatype::F32,
            axes: IMAGE,
            when: Some("map"),
            description: "squared error of every dimension",
        },
    ];

    type Capability = dyn Reconstructs;
    type Input = Images;
    type Options = ReconstructOptions;
    type Head = NoHead;
    type Item = Reconstruction;

    async fn run(
        reconstructs: &Self::Capability,
        _: &Model,
        Images(images): Images,
        options: ReconstructOptions,
        context: &Context,
    ) -> Result<Answer<Self>, Refusal> {
        Ok(Answer {
            head: NoHead {},
            items: reconstructs.reconstruct(images, options.map, &context.call).await?,
        })
    }

    fn tensors(_: &NoHead, items: &[Reconstruction]) -> Vec<Tensor> {
        let errors = items.iter().map(|item| item.mean_squared_error);
        let images: Vec<Picture> = items.iter().map(|item| item.image.clone()).collect();
        let mut tensors = vec![Tensor::numbers("mean_squared_error", errors)];
        tensors.extend(Tensor::pictures(&images));
        let maps: Vec<_> = items
            .iter()
            .filter_map(|item| item.squared_error_map.as_ref())
            .collect();
        if let Some(first) = maps.first() {
            let values = maps.iter().map(|map| map.values.as_slice());
            tensors.push(Tensor::maps("squared_error_map", first.shape, values));
        }
        tensors
    }

    fn rendering(_: NoHead, items: Vec<Reconstruction>) -> Rendering {
        if let Some(shape) = items
            .first()
            .and_then(|item| Some(item.squared_error_map.as_ref()?.shape))
        {
            let maps = items.into_iter().filter_map(|item| item.squared_error_map);
            // A heat map shows log-probabilities, of which the lowest are bright.
            let maps = maps
                .map(|map| map.values.into_iter().map(|error| -error).collect())
                .collect();
            return Rendering::HeatMaps { shape, maps };
        }
        Rendering::Images {
            images: items.into_iter().map(|item| item.image.0).collect(),
            known: Vec::new(),
            order: Order::AtOnce,
        }
    }
}
