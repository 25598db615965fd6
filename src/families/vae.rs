//! Variational autoencoders (Kingma and Welling 2014): a lower bound on the density, and a latent code.
//!
//! Encoder or decoder may be alone: a decoder draws and decodes, an encoder encodes, and either says what is missing
//! for the rest. A decoder that gives no distribution over images has no likelihood to bound.

mod alone;
mod bound;
mod codes;
mod completion;
mod evidence;
mod import;
mod loading;
mod manifest;
pub mod network;
mod parts;
mod work;

use std::sync::Arc;

use self::{
    evidence::Network,
    manifest::{DecoderFile, EncoderFile, Own, Parts},
    parts::{DecoderPart, EncoderPart},
};
use super::{
    Contract, Family, Gate, GateError, NO_PIXELS, Proved, Tables,
    decoder::Seed,
    gate::GOLDEN_SCORES,
    import::{Mismatch, Plan},
    manifest::{CalibrationFile, Scored},
    two_sided::{Judge, TwoSided},
};
use crate::{
    detection::evidence::{Latents, SquaredErrors, Surprises},
    domain::image::Image,
    import::{interview::Interview, reading::Reading},
    model::{
        Capabilities, Reason,
        classify::Classifies,
        codes::{Decodes, Encodes, Interpolates, Reconstructs},
        compress::Compresses,
        detect::{Judges, Measures},
        draw::{Completes, Draws},
        info::Density,
        score::Scores,
    },
};

/// Variational autoencoder.
#[derive(Debug)]
pub struct Vae;

/// What versions are calibrated on.
const STATISTIC: &str = "elbo_at_mean";

/// Golden numbers without a likelihood: Σ (reconstruction − image)² in units of level / (levels − 1).
const GOLDEN_ERRORS: (&str, &str) = ("golden squared errors", "");

const NO_LABEL: &str = "only a classifier, or a density conditioned on labels, can name a label";
const NO_ENCODER: &str = "this version has a decoder only: there is no encoder from images to codes";
const NO_DECODER: &str = "this version has an encoder only: there is no decoder from codes to images";

impl Family for Vae {
    fn name(&self) -> &'static str {
        "vae"
    }

    fn read(&self, tables: &mut Tables) -> Result<Box<dyn Contract>, String> {
        Ok(Box::new(manifest::read(tables)?))
    }

    fn gives(&self) -> &'static str {
        "mean and spread of a code for each image, or a picture for each code"
    }

    fn import<'a>(&self, brought: &'a [Reading], interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
        import::import(brought, interview)
    }
}

impl Contract for Own {
    fn graphs(&self) -> Vec<&str> {
        match &self.parts {
            Parts::Whole { encoder, decoder, .. } => vec![&encoder.file, &decoder.file],
            Parts::Encoder { encoder, .. } => vec![&encoder.file],
            Parts::Decoder { decoder, .. } => vec![&decoder.file],
        }
    }

    fn files(&self) -> Vec<&str> {
        match &self.parts {
            Parts::Whole {
                golden, calibration, ..
            } => {
                let calibration = calibration.iter().flat_map(CalibrationFile::files);
                golden.files().chain(calibration).collect()
            }
            Parts::Encoder { golden, .. } => golden.files().collect(),
            Parts::Decoder { golden, .. } => golden.files().collect(),
        }
    }

    fn declarable(&self) -> &'static [&'static str] {
        match &self.parts {
            Parts::Whole { .. } => &[
                "logits",
                "pictures",
                "log_scale",
                "log_variance",
                "mixture",
                "input",
                "batch",
            ],
            Parts::Encoder { .. } => &["log_variance", "input", "batch"],
            Parts::Decoder { .. } => &["logits", "pictures", "log_scale", "mixture", "batch"],
        }
    }

    fn prove(&self, gate: &mut Gate<'_>) -> Result<Proved, GateError> {
        match &self.parts {
            Parts::Whole {
                encoder,
                decoder,
                golden,
                calibration,
            } => self.prove_whole(gate, encoder, decoder, golden, calibration.as_ref()),
            Parts::Encoder { encoder, golden } => self.prove_encoder(gate, encoder, golden),
            Parts::Decoder { decoder, golden } => self.prove_decoder(gate, decoder, golden),
        }
    }
}

/// Whether training weighted the KL term, which no graph shows: a bound does not.
fn is_weighted(gate: &mut Gate<'_>) -> Result<bool, GateError> {
    match gate.manifest().provenance.beta {
        None => Ok(false),
        Some(beta) if beta.is_finite() && beta >= 0.0 => {
            gate.passed(
                "bound",
                format!("trained with a KL term of weight {beta}; scored with β = 1, with which it is a bound"),
            );
            Ok(true)
        }
        Some(beta) => Err(GateError::Manifest(format!(
            "provenance.beta: {beta} is no weight; it is finite, and not negative"
        ))),
    }
}

/// A VAE with its queues.
struct Model {
    encoder: Arc<EncoderPart>,
    decoder: Arc<DecoderPart>,
    /// Whether training weighted the KL term.
    is_weighted: bool,
}

impl Own {
    fn prove_whole(
        &self,
        gate: &mut Gate<'_>,
        encoder_file: &EncoderFile,
        decoder_file: &DecoderFile,
        golden: &Scored,
        calibration: Option<&CalibrationFile>,
    ) -> Result<Proved, GateError> {
        let (images, expected) = gate.golden_scores(golden, None)?;
        let levels = Image::levels_of(&images);
        let head = &decoder_file.contract.head;
        let (encoder, decoder) = (encoder_file.load(gate)?, decoder_file.load(gate)?);
        gate.contract_kept();
        let (encoding, decoding) = gate.settle("bounds", |gate| {
            let posteriors = encoder_file.try_on(gate, &encoder, &levels)?;
            let seed = |mean: &Vec<f32>| Seed {
                code: mean.clone(),
                label: 0,
            };
            let seeds: Vec<Seed> = posteriors.iter().map(|posterior| seed(&posterior.mean)).collect();
            let observations = decoder_file.try_on(gate, &decoder, &seeds)?;
            loading::look_at_widths(gate, (&encoder_file.file, &encoder), (&decoder_file.file, &decoder))?;
            let pairs = posteriors.iter().zip(&observations).zip(&levels);
            let bounds: Option<Vec<f64>> = pairs
                .map(|((posterior, observation), levels)| posterior.elbo_at_mean(observation, levels))
                .collect();
            match bounds {
                Some(bounds) => gate.golden(GOLDEN_SCORES, golden.tolerance(), &expected, &bounds)?,
                None => {
                    let pairs = observations.iter().zip(&levels);
                    let errors: Vec<f64> = pairs.map(|(o, levels)| o.squared_errors(levels).iter().sum()).collect();
                    gate.golden(GOLDEN_ERRORS, golden.tolerance(), &expected, &errors)?;
                }
            }
            Ok((
                encoder_file.time(&encoder, levels[0])?,
                decoder_file.time(&decoder, &seeds[0])?,
            ))
        })?;
        let calibration = gate.calibration(calibration, STATISTIC)?;
        let info = calibration.as_ref().ok().map(|(_, info)| info.clone());
        let (encoder, decoder) = (Arc::new(encoder), Arc::new(decoder));
        let network = Arc::new(Network {
            encoder: Arc::clone(&encoder),
            decoder: Arc::clone(&decoder),
        });
        let model = Arc::new(Model {
            encoder: EncoderFile::serve(gate, encoder, encoding),
            decoder: decoder_file.serve(gate, decoder, decoding),
            is_weighted: is_weighted(gate)?,
        });
        let (density, capabilities) = match head.no_likelihood() {
            Some(reason) => (Density::Implicit, without_likelihood(model, network, reason)),
            None => {
                let dimensions = decoder_file.contract.shape.dimensions();
                let scores = calibration.map(|(calibration, info)| TwoSided {
                    calibration,
                    info,
                    dimensions,
                });
                (Density::LowerBound, with_likelihood(model, network, scores))
            }
        };
        Ok(Proved {
            likelihood: head.name(),
            latent_size: Some(self.latent_size),
            calibration: info,
            ..Proved::new(density, capabilities)
        })
    }
}

/// What a VAE can do whatever its decoder says of images.
fn with_codes(model: &Arc<Model>) -> Capabilities {
    Capabilities::new("a VAE has a posterior over codes and a likelihood of images given a code, and nothing else")
        .offer::<dyn Draws>(Arc::clone(&model.decoder) as _)
        .offer::<dyn Encodes>(Arc::clone(&model.encoder) as _)
        .offer::<dyn Decodes>(Arc::clone(&model.decoder) as _)
        .offer::<dyn Reconstructs>(Arc::clone(model) as _)
        .offer::<dyn Interpolates>(Arc::clone(model) as _)
        .decline::<dyn Classifies>(NO_LABEL)
        .decline::<dyn Compresses>(NO_PIXELS)
        .decline::<dyn Surprises>(
            "it has a lower bound on the density of an image, and not the exact probability of each pixel",
        )
}

fn with_likelihood(model: Arc<Model>, network: Arc<Network>, scores: Result<TwoSided, Reason>) -> Capabilities {
    let judge = scores.map(|scores| {
        let measures = Arc::clone(&model) as _;
        Arc::new(Judge { measures, scores }) as Arc<dyn Judges>
    });
    with_codes(&model)
        .offer::<dyn Scores>(Arc::clone(&model) as _)
        .with::<dyn Judges>(judge)
        .offer::<dyn Measures>(Arc::clone(&model) as _)
        .offer::<dyn Completes>(model)
        .decline::<dyn SquaredErrors>("its decoder gives a distribution over images, whose likelihood says more")
        .offer::<dyn Latents>(network)
}

fn without_likelihood(model: Arc<Model>, network: Arc<Network>, reason: &'static str) -> Capabilities {
    with_codes(&model)
        .decline::<dyn Scores>(reason)
        .decline::<dyn Judges>(reason)
        .decline::<dyn Measures>(reason)
        .decline::<dyn Completes>(reason)
        .decline::<dyn Latents>(reason)
        .offer::<dyn SquaredErrors>(network)
}
