//! What families with codes share: codes of a prior, codes between two, and images made of levels.

use async_trait::async_trait;

use crate::{
    domain::{
        image::{Image, ImageShape},
        random::{Random, Stream},
    },
    model::{
        Call, PerImage, Refusal,
        codes::{Encodes, Encoding},
        draw::{DrawAsk, Observation},
        work::Batches,
    },
    scheduling::JobError,
};

/// The numbers that a graph gave for an image, unless one of them is none.
pub(super) fn finite<'a>(what: &str, values: &'a [f32]) -> Result<&'a [f32], Refusal> {
    if values.iter().all(|value| value.is_finite()) {
        return Ok(values);
    }
    Err(Refusal::not_a_number(what))
}

/// A code without a distribution, unless it is none.
pub(super) fn encoding(what: &str, code: Vec<f32>) -> Result<Encoding, Refusal> {
    finite(what, &code)?;
    Ok(Encoding {
        code,
        log_variance: None,
    })
}

/// Codes or features of images, by a queue that gives them as vectors.
pub(super) struct Coder {
    pub(super) queue: Batches<Image, Vec<f32>>,
    /// Numbers in a code.
    pub(super) size: usize,
    /// What a code is called.
    pub(super) what: &'static str,
}

#[async_trait]
impl Encodes for Coder {
    async fn encode(&self, images: Vec<Image>, call: &Call) -> Result<PerImage<Encoding>, Refusal> {
        let codes = call.run(&self.queue, images).await?;
        Ok(codes.into_iter().map(|code| encoding(self.what, code?)).collect())
    }

    fn code_size(&self) -> usize {
        self.size
    }

    fn has_variance(&self) -> bool {
        false
    }
}

/// The image that a model made. Levels come from the model's own shape, so this fails only if the code is wrong.
pub(super) fn image_of(shape: ImageShape, levels: impl IntoIterator<Item = u8>) -> Result<Image, Refusal> {
    Image::new(shape, levels.into_iter().collect::<Vec<u8>>()).map_err(Refusal::internal)
}

/// Decoders and generators without a distribution over images have nothing to draw.
pub(super) fn only_means(observation: Observation) -> Result<(), Refusal> {
    match observation {
        Observation::Mean => Ok(()),
        Observation::Sample => Err(nothing_to_draw()),
    }
}

pub(super) fn nothing_to_draw() -> Refusal {
    Refusal::option(
        "observation",
        "this model makes an image of a code and no distribution over images, so there is nothing to draw: leave it \
         out or ask for \"mean\"",
    )
}

/// Codes drawn from a standard normal prior, widened or narrowed by the temperature.
pub(super) fn codes_of_prior(size: usize, ask: &DrawAsk) -> Vec<Vec<f32>> {
    (0..u64::from(ask.n))
        .map(|index| {
            let random = Random::new(ask.seed, Stream::Prior, index);
            (0..size as u32)
                .map(|i| (ask.temperature * random.normal(i)) as f32)
                .collect()
        })
        .collect()
}

/// Codes at equal distances on the straight line between two, both ends included.
pub(super) fn codes_between(from: &[f32], to: &[f32], steps: u32) -> Vec<Vec<f32>> {
    (0..steps)
        .map(|step| {
            let t = step as f32 / (steps - 1).max(1) as f32;
            let between = |(&a, &b): (&f32, &f32)| (1.0 - t) * a + t * b;
            from.iter().zip(to).map(between).collect()
        })
        .collect()
}

/// What became of codes of which only those of good images were decoded: the answers of these, in their places.
pub(super) fn in_place<C, D>(
    codes: Vec<Result<C, JobError>>,
    decoded: Vec<Result<D, JobError>>,
) -> impl Iterator<Item = Result<(C, D), JobError>> {
    let mut decoded = decoded.into_iter();
    codes.into_iter().map(move |code| {
        let code = code?;
        let lost = || Err(JobError::Failed("a code was lost".to_owned()));
        Ok((code, decoded.next().unwrap_or_else(lost)?))
    })
}
