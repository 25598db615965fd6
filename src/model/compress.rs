//! Lossless compression: images coded by the probabilities that a model gives them.

use async_trait::async_trait;

use super::{Call, PerImage, Refusal, labels::Condition};
use crate::domain::image::Image;

/// A model that codes images by their predicted probabilities.
#[async_trait]
pub trait Compresses: Send + Sync {
    /// Images as streams that [`Self::decompress`] reads back exactly, of the length that their probabilities allow.
    async fn compress(
        &self,
        images: Vec<Image>,
        condition: &Condition,
        call: &Call,
    ) -> Result<PerImage<Compressed>, Refusal>;

    /// The images of streams that [`Self::compress`] wrote with the same model, on the same runtime and kind of
    /// processor; anything else is an error, never another image.
    async fn decompress(&self, streams: Vec<Vec<u8>>, call: &Call) -> Result<PerImage<Image>, Refusal>;
}

/// One image, compressed.
#[derive(Debug, Clone, PartialEq)]
pub struct Compressed {
    /// The whole stream: a header of [`Compressed::HEADER_BYTES`] and the code.
    pub bytes: Vec<u8>,
    /// −log₂ of the probability of the image: the length that no code beats on average.
    pub ideal_bits: f64,
}

impl Compressed {
    /// Bytes of a stream before the code.
    pub const HEADER_BYTES: usize = 26;
}
