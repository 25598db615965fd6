//! `encode`: the latent codes of images, or the features of a classifier.

use super::{
    Answer, Context, Format, Operation, Tensor, TensorSpec,
    answer::NoHead,
    input::Images,
    tensor::{Axis, Datatype},
};
use crate::{
    intake::options::NoOptions,
    model::{
        Model, Refusal,
        codes::{Encodes, Encoding},
    },
};

const LOG_VARIANCE: &str = "log_variance";

/// Encoding.
#[derive(Debug)]
pub struct Encode;

impl Operation for Encode {
    const NAME: &'static str = "encode";
    const SUMMARY: &'static str = "Encode images";
    const DESCRIPTION: &'static str = "The latent code of each image, or the features of a classifier. As \
        `application/x-npy` float32 of shape [N, L]; of a VAE [N, 2, L]: mean, then logarithm of the variance.";
    const FORMATS: &'static [Format] = &[Format::Json, Format::Npy];
    const TENSORS: &'static [TensorSpec] = &[
        TensorSpec {
            name: LOG_VARIANCE,
            datatype: Datatype::F32,
            axes: &[Axis::Code],
            when: None,
            description: "logarithm of the posterior's variance; of a VAE only",
        },
        TensorSpec {
            name: "code",
            datatype: Datatype::F32,
            axes: &[Axis::Code],
            when: None,
            description: "the code; of a VAE the mean of the posterior, of a classifier its features",
        },
    ];

    type Capability = dyn Encodes;
    type Input = Images;
    type Options = NoOptions;
    type Head = NoHead;
    type Item = Encoding;

    fn code_size(model: &Model) -> usize {
        model.can::<dyn Encodes>().map_or(0, |encodes| encodes.code_size())
    }

    fn gives(model: &Model, tensor: &TensorSpec) -> bool {
        tensor.name != LOG_VARIANCE || model.can::<dyn Encodes>().is_ok_and(|encodes| encodes.has_variance())
    }

    async fn run(
        encodes: &Self::Capability,
        _: &Model,
        Images(images): Images,
        _: NoOptions,
        context: &Context,
    ) -> Result<Answer<Self>, Refusal> {
        Ok(Answer {
            head: NoHead {},
            items: encodes.encode(images, &context.call).await?,
        })
    }

    fn tensors(_: &NoHead, items: &[Encoding]) -> Vec<Tensor> {
        let codes = items.iter().map(|item| item.code.as_slice());
        let variances: Vec<&[f32]> = items.iter().filter_map(|item| item.log_variance.as_deref()).collect();
        let variances = (!variances.is_empty()).then(|| Tensor::vectors(LOG_VARIANCE, variances));
        variances.into_iter().chain([Tensor::vectors("code", codes)]).collect()
    }

    fn array(_: &NoHead, items: &[Encoding]) -> Tensor {
        let rows = items
            .iter()
            .flat_map(|item| [Some(&item.code), item.log_variance.as_ref()]);
        let mut tensor = Tensor::vectors("code", rows.flatten().map(Vec::as_slice));
        if let [rows, size] = tensor.shape[..]
            && rows == 2 * items.len()
        {
            tensor.shape = vec![items.len(), 2, size];
        }
        tensor
    }
}
