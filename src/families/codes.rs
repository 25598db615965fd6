//! What families with codes share: codes of a prior, codes between two, and images that come out as real numbers.

use super::network::{NetworkError, batch_shape, expect_shape};
use crate::{
    domain::{
        image::{Image, ImageShape},
        random::{Random, Stream},
        sampling,
    },
    model::{
        Refusal,
        codes::Encoding,
        draw::{DrawAsk, Observation},
    },
    runtime::Output,
    scheduling::JobError,
};

/// An image as a decoder or a generator gives it: real numbers, not levels.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    shape: ImageShape,
    /// In channel, row, column order, in units of level / (levels − 1).
    values: Vec<f32>,
}

impl Picture {
    /// The images that an output of shape [rows, C, H, W] holds.
    pub(super) fn all(name: &str, shape: ImageShape, rows: usize, output: &Output) -> Result<Vec<Self>, NetworkError> {
        expect_shape(name, output, &batch_shape(shape, rows))?;
        let picture = |row| Self {
            shape,
            values: output.row(row, rows).to_vec(),
        };
        Ok((0..rows).map(picture).collect())
    }

    /// The numbers, in channel, row, column order, in units of level / (levels − 1).
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The image with the nearest levels, if every number is one.
    pub fn image(&self) -> Result<Image, Refusal> {
        image_of(
            self.shape,
            finite("a pixel", &self.values)?
                .iter()
                .map(|&value| sampling::nearest_level(f64::from(value), self.shape.levels())),
        )
    }

    /// The squared difference to an image at every dimension, in units of level / (levels − 1).
    pub fn squared_errors<'a>(&'a self, levels: &'a [u8]) -> impl Iterator<Item = f64> + 'a {
        let max = (self.shape.levels() - 1) as f64;
        levels
            .iter()
            .zip(&self.values)
            .map(move |(&level, &value)| (f64::from(level) / max - f64::from(value)).powi(2))
    }
}

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

/// The image that a model made. Levels come from the model's own shape, so this fails only if the code is wrong.
pub(super) fn image_of(shape: ImageShape, levels: impl IntoIterator<Item = u8>) -> Result<Image, Refusal> {
    Image::new(shape, levels.into_iter().collect::<Vec<u8>>()).map_err(Refusal::internal)
}

/// Decoders and generators without a distribution over images have nothing to draw.
pub(super) fn only_means(observation: Observation) -> Result<(), Refusal> {
    match observation {
        Observation::Mean => Ok(()),
        Observation::Sample => Err(Refusal::option(
            "observation",
            "this model makes an image of a code and no distribution over images, so there is nothing to draw: leave it out or ask for \
             \"mean\"",
        )),
    }
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
