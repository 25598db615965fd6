//! Golden images of codes: what the training framework made of them.

use serde::Deserialize;

use super::{Contract, Seed};
use crate::{
    families::{
        Gate, GateError,
        manifest::{Tolerance, tolerance},
    },
    media,
};

/// `[golden]` of a graph that makes images of codes, all npy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenImages {
    /// float32 of shape (n, L).
    latents: String,
    /// int64 of shape (n), if the graph takes labels.
    labels: Option<String>,
    /// float32 of shape (n, C, H, W), in units of level / (levels − 1); of a distribution over images its mean.
    images: String,
    absolute_tolerance: f64,
    relative_tolerance: f64,
    bf16_tolerance: Option<f64>,
}

impl GoldenImages {
    /// Its files.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        [&self.latents, &self.images]
            .into_iter()
            .chain(&self.labels)
            .map(String::as_str)
    }

    /// How far off the server may be.
    pub fn tolerance(&self) -> Result<Tolerance, String> {
        tolerance(self.absolute_tolerance, self.relative_tolerance, self.bf16_tolerance)
    }

    /// Golden codes, and the dimensions of their images.
    pub fn read(&self, gate: &Gate<'_>, contract: &Contract) -> Result<(Vec<Seed>, Vec<f64>), GateError> {
        let Self {
            latents,
            labels,
            images,
            ..
        } = self;
        let table = |file: &str, columns: &[usize]| {
            media::read_numbers(gate.read(file)?, columns).map_err(|error| GateError::file(file, error))
        };
        let size = contract.latent_size;
        let codes = table(latents, &[size])?;
        let count = codes.len() / size;
        let shape = contract.shape;
        let expected = table(images, &[shape.channels(), shape.height(), shape.width()])?;
        if count == 0 || expected.len() != count * shape.dimensions() {
            let found = expected.len() / shape.dimensions();
            let cause = format!("it has {found} images of {count} codes; there must be one each, and at least one");
            return Err(GateError::file(images, cause));
        }
        let numbers = match (labels, &contract.label) {
            (None, None) => vec![0; count],
            (Some(file), Some(label)) => {
                let valid = |&number: &f64| number.fract() == 0.0 && (0.0..f64::from(label.classes)).contains(&number);
                let numbers = table(file, &[])?;
                if numbers.len() != count || !numbers.iter().all(valid) {
                    let cause = format!(
                        "it must have a label for each of {count} codes, a whole number below {}",
                        label.classes
                    );
                    return Err(GateError::file(file, cause));
                }
                numbers.into_iter().map(|number| number as u32).collect()
            }
            _ => {
                let reason = "golden.labels: they must be there exactly if the graph takes labels";
                return Err(GateError::Manifest(reason.to_owned()));
            }
        };
        let seeds = codes.chunks(size).zip(numbers).map(|(code, label)| Seed {
            code: code.iter().map(|&value| value as f32).collect(),
            label,
        });
        Ok((seeds.collect(), expected))
    }
}
