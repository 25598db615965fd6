//! `compress`: images as short as a model can make them without loss.

use base64::{Engine, prelude::BASE64_STANDARD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Answer, Context, Format, Label, Operation, Rendering, Tensor, TensorSpec, Work,
    answer::NoHead,
    input::Images,
    tensor::{Datatype, Values},
};
use crate::model::{
    Kind, Model, Refusal,
    compress::{Compressed, Compresses},
    value::Number,
};

/// Compression.
#[derive(Debug)]
pub struct Compress;

/// Options of `compress`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct CompressOptions {
    /// For a model that is conditioned on labels: which one, by name or number; needed, because each pixel is coded by
    /// the prediction of one label. The stream remembers it.
    pub label: Option<Label>,
}

/// One compressed image.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CompressedImage {
    /// The stream in base64.
    #[schemars(extend("contentEncoding" = "base64"), example = &"RFNJMQ…")]
    pub stream: String,
    /// Its length, header included.
    #[schemars(example = 231)]
    pub bytes: usize,
    /// 8 · bytes / dimensions.
    #[schemars(example = 2.36)]
    pub bits_per_dim: f64,
    /// −log₂ p(image) / 8: what the code would take if it were perfect and had no header.
    #[schemars(example = 203.2)]
    pub ideal_bytes: Number,
    #[serde(skip)]
    raw: Vec<u8>,
}

impl Operation for Compress {
    const NAME: &'static str = "compress";
    const SUMMARY: &'static str = "Compress images";
    const DESCRIPTION: &'static str = "Without loss, by arithmetic coding with the model's predictions, so that an \
        image takes about as many bits as −log₂ of its probability. A stream is read by `decompress` with the same \
        model on the same version of ONNX Runtime and kind of processor; its header says which. As \
        `application/vnd.density-server.image` the stream of a single image as it is.";
    const WORK: Work = Work::Bulk;
    const FORMATS: &'static [Format] = &[Format::Json, Format::Stream];
    const TENSORS: &'static [TensorSpec] = &[TensorSpec {
        name: "stream",
        datatype: Datatype::Bytes,
        axes: &[],
        when: None,
        description: "the compressed image",
    }];

    type Capability = dyn Compresses;
    type Input = Images;
    type Options = CompressOptions;
    type Head = NoHead;
    type Item = CompressedImage;

    async fn run(
        compresses: &Self::Capability,
        model: &Model,
        Images(images): Images,
        options: CompressOptions,
        context: &Context,
    ) -> Result<Answer<Self>, Refusal> {
        let condition = model.condition(options.label.as_ref().map(|label| label.0.as_str()))?;
        let dimensions = model.shape.dimensions();
        let compressed = compresses.compress(images, &condition, &context.call).await?;
        let item = |own: Result<Compressed, Refusal>| {
            let own = own?;
            Ok(CompressedImage {
                stream: BASE64_STANDARD.encode(&own.bytes),
                bytes: own.bytes.len(),
                bits_per_dim: (8 * own.bytes.len()) as f64 / dimensions as f64,
                ideal_bytes: (own.ideal_bits / 8.0).into(),
                raw: own.bytes,
            })
        };
        Ok(Answer {
            head: NoHead {},
            items: compressed.into_iter().map(item).collect(),
        })
    }

    fn check_count(format: Format, images: usize) -> Result<(), Refusal> {
        if format == Format::Stream && images > 1 {
            return Err(Refusal::new(
                Kind::NotAcceptable,
                format!(
                    "a stream holds one image and the request has {images}; several are answered as application/json"
                ),
            ));
        }
        Ok(())
    }

    fn tensors(_: &NoHead, items: &[CompressedImage]) -> Vec<Tensor> {
        vec![Tensor {
            name: "stream",
            shape: vec![items.len()],
            values: Values::Bytes(items.iter().map(|item| item.raw.clone()).collect()),
        }]
    }

    fn rendering(_: NoHead, items: Vec<CompressedImage>) -> Rendering {
        Rendering::File(items.into_iter().flat_map(|item| item.raw).collect())
    }
}
