//! `decompress`: the images of streams.

use super::{
    Answer, Context, Format, Operation, Rendering, Tensor, TensorSpec, Work,
    answer::NoHead,
    decode::{OneImage, one_images, show},
    input::Streams,
};
use crate::{
    intake::options::NoOptions,
    model::{Model, Refusal, compress::Compresses},
};

/// Decompression.
#[derive(Debug)]
pub struct Decompress;

impl Operation for Decompress {
    const NAME: &'static str = "decompress";
    const SUMMARY: &'static str = "Decompress images";
    const DESCRIPTION: &'static str = "Streams that `compress` made, as JSON (`streams`, a list of base64) or one as \
        it is. A stream of another model or of other numerics, or one that is damaged, is a problem and never another \
        image. As `image/png` one grid (a single image comes plainly), as `application/x-npy` uint8 levels of shape \
        [N, H, W] or [N, H, W, C].";
    const WORK: Work = Work::Bulk;
    const FORMATS: &'static [Format] = &[Format::Json, Format::Png, Format::Npy];
    const TENSORS: &'static [TensorSpec] = &[TensorSpec::levels("levels of the images")];

    type Capability = dyn Compresses;
    type Input = Streams;
    type Options = NoOptions;
    type Head = NoHead;
    type Item = OneImage;

    async fn run(
        compresses: &Self::Capability,
        _: &Model,
        Streams(streams): Streams,
        _: NoOptions,
        context: &Context,
    ) -> Result<Answer<Self>, Refusal> {
        let images = compresses.decompress(streams, &context.call).await?;
        Ok(Answer {
            head: NoHead {},
            items: images.into_iter().map(OneImage::new).collect(),
        })
    }

    fn tensors(_: &NoHead, items: &[OneImage]) -> Vec<Tensor> {
        one_images(items)
    }

    fn rendering(_: NoHead, items: Vec<OneImage>) -> Rendering {
        show(items)
    }
}
