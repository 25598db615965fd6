//! One part of a VAE without the other: what it proves, and what it can do.

use std::sync::Arc;

use super::{
    NO_DECODER, NO_ENCODER, NO_LABEL,
    manifest::{DecoderFile, EncoderFile, GoldenCodes, Own},
};
use crate::{
    families::{
        Gate, GateError, NO_PIXELS, Proved,
        decoder::{GoldenImages, Observation},
    },
    model::{
        Capabilities,
        classify::Classifies,
        codes::{Decodes, Encodes, Interpolates, Reconstructs},
        compress::Compresses,
        detect::Judges,
        draw::{Completes, Draws},
        info::Density,
        score::Scores,
    },
};

/// Golden numbers of an encoder alone: means and log-variances.
const GOLDEN_CODES: (&str, &str) = ("golden codes", "");
/// Golden numbers of a decoder alone: dimensions of images in units of level / (levels − 1).
const GOLDEN_IMAGES: (&str, &str) = ("golden images", "");

impl Own {
    /// An encoder alone must give the golden posteriors.
    pub(super) fn prove_encoder(
        &self,
        gate: &mut Gate<'_>,
        file: &EncoderFile,
        golden: &GoldenCodes,
    ) -> Result<Proved, GateError> {
        let (images, expected) = golden.read(gate, self.latent_size)?;
        let images: Vec<&[u8]> = images.iter().map(|image| image.levels()).collect();
        let encoder = file.load(gate)?;
        gate.contract_kept();
        let time = gate.settle("codes", |gate| {
            let posteriors = file.try_on(gate, &encoder, &images)?;
            let means = posteriors.iter().flat_map(|posterior| &posterior.mean);
            let spreads = posteriors.iter().flat_map(|posterior| &posterior.log_variance);
            let actual: Vec<f64> = means.chain(spreads).copied().map(f64::from).collect();
            let tolerance = golden.tolerance().map_err(GateError::Manifest)?;
            gate.golden(GOLDEN_CODES, tolerance, &expected, &actual)?;
            file.time(&encoder, images[0])
        })?;
        let encoder = EncoderFile::serve(gate, Arc::new(encoder), time);
        let no_density = "this version has an encoder only, which gives codes of images: a bound on the density needs \
            the decoder and its likelihood";
        let capabilities = Capabilities::new("this version is the encoder of a VAE alone, which only encodes")
            .offer::<dyn Encodes>(encoder)
            .decline::<dyn Scores>(no_density)
            .decline::<dyn Judges>(no_density)
            .decline::<dyn Draws>(NO_DECODER)
            .decline::<dyn Completes>(NO_DECODER)
            .decline::<dyn Decodes>(NO_DECODER)
            .decline::<dyn Reconstructs>(NO_DECODER)
            .decline::<dyn Interpolates>(NO_DECODER)
            .decline::<dyn Classifies>(NO_LABEL)
            .decline::<dyn Compresses>(NO_PIXELS);
        Ok(Proved {
            latent_size: Some(self.latent_size),
            ..Proved::new(Density::None, capabilities)
        })
    }

    /// A decoder alone must give the golden images of its codes.
    pub(super) fn prove_decoder(
        &self,
        gate: &mut Gate<'_>,
        file: &DecoderFile,
        golden: &GoldenImages,
    ) -> Result<Proved, GateError> {
        let (seeds, expected) = golden.read(gate, &file.contract)?;
        let decoder = file.load(gate)?;
        gate.contract_kept();
        let time = gate.settle("images", |gate| {
            let observations = file.try_on(gate, &decoder, &seeds)?;
            let means = observations.iter().flat_map(Observation::mean);
            let actual: Vec<f64> = means.map(f64::from).collect();
            let tolerance = golden.tolerance().map_err(GateError::Manifest)?;
            gate.golden(GOLDEN_IMAGES, tolerance, &expected, &actual)?;
            file.time(&decoder, &seeds[0])
        })?;
        let head = &file.contract.head;
        let no_density = match head.no_likelihood() {
            None => {
                "this version has a decoder only: the density of an image is an integral over all codes, and a bound \
                 on it needs the encoder"
                    .to_owned()
            }
            Some(reason) => format!("this version has a decoder only, and {reason}"),
        };
        let decoder = file.serve(gate, Arc::new(decoder), time);
        let capabilities = Capabilities::new("this version is the decoder of a VAE alone, which makes images of codes")
            .offer::<dyn Draws>(Arc::clone(&decoder) as _)
            .offer::<dyn Decodes>(decoder)
            .decline::<dyn Interpolates>(NO_ENCODER)
            .decline::<dyn Scores>(no_density.clone())
            .decline::<dyn Judges>(no_density)
            .decline::<dyn Completes>(NO_ENCODER)
            .decline::<dyn Encodes>(NO_ENCODER)
            .decline::<dyn Reconstructs>(NO_ENCODER)
            .decline::<dyn Classifies>(NO_LABEL)
            .decline::<dyn Compresses>(NO_PIXELS);
        Ok(Proved {
            likelihood: head.name(),
            labels: self.labels.clone(),
            latent_size: Some(self.latent_size),
            ..Proved::new(Density::Implicit, capabilities)
        })
    }
}
