//! The tables of a `vae`'s manifest: which parts there are, and what each is named.

use serde::Deserialize;

use super::{STATISTIC, network};
use crate::{
    domain::image::Image,
    families::{
        Gate, GateError, Tables, decoder,
        decoder::{GoldenImages, Head, Outputs},
        image_graph::ImageInput,
        manifest::{CalibrationFile, Scored, Tolerance, label_input, refuse, tolerance},
    },
    media,
    model::labels::Labels,
};

/// What a manifest says.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) parts: Parts,
    pub(super) labels: Option<Labels>,
    pub(super) latent_size: usize,
}

/// What there is of a VAE, and what it is proved by.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for each version, while it loads")]
pub(super) enum Parts {
    /// Both.
    Whole {
        encoder: EncoderFile,
        decoder: DecoderFile,
        golden: Scored,
        calibration: Option<CalibrationFile>,
    },
    /// The encoder alone.
    Encoder { encoder: EncoderFile, golden: GoldenCodes },
    /// The decoder alone.
    Decoder { decoder: DecoderFile, golden: GoldenImages },
}

/// An encoder's graph.
#[derive(Debug)]
pub(super) struct EncoderFile {
    pub(super) file: String,
    pub(super) contract: network::Contract,
}

/// A decoder's graph.
#[derive(Debug)]
pub(super) struct DecoderFile {
    pub(super) file: String,
    pub(super) contract: decoder::Contract,
}

/// `[golden]` of an encoder alone.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GoldenCodes {
    /// npy file of images: uint8 of shape (n, H, W) or (n, H, W, C).
    pub(super) images: String,
    /// npy file of posterior means: float32 of shape (n, L).
    pub(super) means: String,
    /// npy file of the logarithms of posterior variances, of the same shape.
    pub(super) log_variances: String,
    absolute_tolerance: f64,
    relative_tolerance: f64,
    bf16_tolerance: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Graphs {
    encoder: Option<EncoderTable>,
    decoder: Option<DecoderTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EncoderTable {
    file: String,
    input: String,
    mean: String,
    log_variance: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecoderTable {
    file: String,
    input: String,
    label: Option<String>,
    mean: Option<String>,
    log_scale: Option<String>,
    logits: Option<String>,
    parameters: Option<String>,
}

impl GoldenCodes {
    pub(super) fn files(&self) -> impl Iterator<Item = &str> {
        [&self.images, &self.means, &self.log_variances]
            .into_iter()
            .map(String::as_str)
    }

    pub(super) fn tolerance(&self) -> Result<Tolerance, String> {
        tolerance(self.absolute_tolerance, self.relative_tolerance, self.bf16_tolerance)
    }

    /// Golden images, and the means and then the log-variances of all.
    pub(super) fn read(&self, gate: &Gate<'_>, latent_size: usize) -> Result<(Vec<Image>, Vec<f64>), GateError> {
        let Self {
            images,
            means,
            log_variances,
            ..
        } = self;
        let pictures = media::read_images(gate.read(images)?, gate.manifest().shape, usize::MAX)
            .map_err(|error| GateError::file(images, error))?;
        let mut numbers = Vec::new();
        for file in [means, log_variances] {
            let own =
                media::read_numbers(gate.read(file)?, &[latent_size]).map_err(|error| GateError::file(file, error))?;
            if pictures.is_empty() || own.len() != pictures.len() * latent_size {
                let cause = format!(
                    "it has {} rows for {} golden images; there must be one each, and at least one image",
                    own.len() / latent_size,
                    pictures.len()
                );
                return Err(GateError::file(file, cause));
            }
            numbers.extend(own);
        }
        Ok((pictures, numbers))
    }
}

/// Takes the tables of a `vae`.
pub(super) fn read(tables: &mut Tables) -> Result<Own, String> {
    let Graphs { encoder, decoder } = tables.needed("graphs")?;
    let (shape, latent_size, labels) = (tables.shape(), tables.latent_size()?, tables.labels()?);
    let encoder = encoder
        .map(|table| encoder_file(tables, table, latent_size))
        .transpose()?;
    let read_decoder = |table: DecoderTable| {
        let outputs = Outputs {
            mean: table.mean,
            log_scale: table.log_scale,
            logits: table.logits,
            parameters: table.parameters,
        };
        Ok::<_, String>(DecoderFile {
            file: table.file,
            contract: decoder::Contract {
                shape,
                latent_size,
                input: table.input,
                label: label_input(table.label, labels.as_ref(), "graphs.decoder")?,
                head: Head::read(shape, tables.likelihood()?.as_ref(), outputs, "graphs.decoder")?,
            },
        })
    };
    let decoder = decoder.map(read_decoder).transpose()?;
    let parts = match (encoder, decoder) {
        (Some(encoder), Some(decoder)) => {
            refuse(labels.is_some(), || {
                "labels: a vae with an encoder is not conditioned on labels; without [graphs.encoder] and [input] its \
                 decoder draws images for labels"
                    .to_owned()
            })?;
            if decoder.contract.head.no_likelihood().is_some() {
                tables.none("calibration", "without a likelihood it has no statistic to calibrate")?;
            }
            Parts::Whole {
                encoder,
                decoder,
                golden: tables.scored()?,
                calibration: tables.calibration(STATISTIC)?,
            }
        }
        (Some(encoder), None) => {
            tables.none("likelihood", "an encoder alone gives codes, and nothing of images")?;
            tables.none("calibration", "an encoder alone has no statistic to calibrate")?;
            refuse(labels.is_some(), || {
                "labels: an encoder alone is not given labels".to_owned()
            })?;
            let golden: GoldenCodes = tables.needed("golden")?;
            golden.tolerance()?;
            Parts::Encoder { encoder, golden }
        }
        (None, Some(decoder)) => {
            tables.none("calibration", "a decoder alone has no statistic to calibrate")?;
            tables.none("input", "a decoder alone takes codes, not images")?;
            let golden: GoldenImages = tables.needed("golden")?;
            golden.tolerance()?;
            Parts::Decoder { decoder, golden }
        }
        (None, None) => return Err(tables.needs("[graphs.encoder], [graphs.decoder] or both")),
    };
    Ok(Own {
        parts,
        labels,
        latent_size,
    })
}

fn encoder_file(tables: &mut Tables, table: EncoderTable, latent_size: usize) -> Result<EncoderFile, String> {
    Ok(EncoderFile {
        file: table.file,
        contract: network::Contract {
            input: ImageInput::read(tables, table.input)?,
            latent_size,
            mean: table.mean,
            log_variance: table.log_variance,
        },
    })
}
