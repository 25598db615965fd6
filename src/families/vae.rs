//! Variational autoencoders (Kingma and Welling 2014): a lower bound on the density, and a latent code.

mod bound;
mod codes;
mod evidence;
mod import;
pub mod network;
mod work;

use std::sync::Arc;

use serde::Deserialize;

use self::{network::Network, work::Decoder};
use super::{
    Contract, Family, Gate, GateError, Proved, Tables,
    gate::{GOLDEN_SCORES, failed, time_of, units},
    import::{Mismatch, Plan},
    manifest::{CalibrationFile, Head, Scored, refuse},
    two_sided::{TwoSided, no_calibration},
};
use crate::{
    detection::evidence::{Latents, SquaredErrors, Surprises},
    domain::image::Image,
    graph::{convert::Step, protobuf, weights},
    import::{interview::Interview, reading::Reading},
    model::{
        Capabilities,
        classify::Classifies,
        codes::{Decodes, Encodes, Interpolates, Reconstructs},
        compress::Compresses,
        detect::Judges,
        draw::{Completes, Draws},
        info::Density,
        score::Scores,
        work::Batches,
    },
    runtime::Threads,
    scheduling::{Class, Lane},
};

/// Variational autoencoder.
#[derive(Debug)]
pub struct Vae;

/// What versions are calibrated on.
const STATISTIC: &str = "elbo_at_mean";

/// `[graphs]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Graphs {
    encoder: EncoderTable,
    decoder: DecoderTable,
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
    mean: String,
    log_scale: String,
}

#[derive(Debug)]
struct Own {
    encoder: String,
    decoder: String,
    contract: network::Contract,
    golden: Scored,
    calibration: Option<CalibrationFile>,
}

impl Family for Vae {
    fn name(&self) -> &'static str {
        "vae"
    }

    fn read(&self, tables: &mut Tables) -> Result<Box<dyn Contract>, String> {
        let Graphs { encoder, decoder } = tables.needed("graphs")?;
        refuse(tables.head()? != Head::DiscretizedLogistic, || {
            "likelihood.head: a vae has a \"discretized-logistic\" head".to_owned()
        })?;
        Ok(Box::new(Own {
            encoder: encoder.file,
            decoder: decoder.file,
            contract: network::Contract {
                shape: tables.shape(),
                latent_size: tables.latent_size()?,
                map: tables.input_map()?,
                encoder: network::EncoderNames {
                    input: encoder.input,
                    mean: encoder.mean,
                    log_variance: encoder.log_variance,
                },
                decoder: network::DecoderNames {
                    input: decoder.input,
                    mean: decoder.mean,
                    log_scale: decoder.log_scale,
                },
            },
            golden: tables.scored()?,
            calibration: tables.calibration(STATISTIC)?,
        }))
    }

    fn import<'a>(&self, brought: &'a [Reading], interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
        import::import(brought, interview)
    }
}

impl Contract for Own {
    fn graphs(&self) -> Vec<&str> {
        vec![&self.encoder, &self.decoder]
    }

    fn files(&self) -> Vec<&str> {
        let calibration = self.calibration.iter().map(|file| file.scores.as_str());
        self.golden.files().chain(calibration).collect()
    }

    fn declarable(&self) -> &'static [&'static str] {
        &["pictures", "log_scale", "log_variance", "input", "batch"]
    }

    fn prove(&self, gate: &mut Gate<'_>) -> Result<Proved, GateError> {
        let (images, expected) = gate.golden_scores(&self.golden, None)?;
        let golden: Vec<&[u8]> = images.iter().map(Image::levels).collect();
        let files = format!("{}, {}", self.encoder, self.decoder);
        let failed = |cause| failed(&files, cause);
        let (encoder, decoder) = self.converted(gate)?;
        let (engine, label) = (gate.engine(), gate.label());
        let vae = Network::load(&*engine, &label, &encoder, &decoder, self.contract.clone()).map_err(failed)?;
        gate.contract_kept();
        let (encoding, decoding) = gate.settle("bounds", |gate| {
            self.keeps_apart(gate, &vae)?;
            let posteriors = vae.encode(&golden, Threads::All).map_err(failed)?;
            let codes: Vec<f32> = posteriors.iter().flat_map(|p| p.mean.clone()).collect();
            let observations = vae.decode(&codes, Threads::All).map_err(failed)?;
            self.have_units(gate, &posteriors, &observations);
            let scores: Vec<f64> = posteriors
                .iter()
                .zip(&observations)
                .zip(&golden)
                .map(|((posterior, observation), levels)| posterior.elbo_at_mean(observation, levels))
                .collect();
            gate.passed(
                "normalisation",
                "the discretised logistic likelihood sums to 1 by construction".to_owned(),
            );
            gate.golden(GOLDEN_SCORES, self.golden.tolerance(), &expected, &scores)?;
            let code = &codes[..vae.latent_size()];
            let encoding = time_of(|| vae.encode(&golden[..1], Threads::One).map(drop)).map_err(failed)?;
            let decoding = time_of(|| vae.decode(code, Threads::One).map(drop)).map_err(failed)?;
            Ok((encoding, decoding))
        })?;
        let calibration = gate.calibration(self.calibration.as_ref(), STATISTIC)?;
        let (workshop, name) = (gate.workshop(), &gate.manifest().name);
        let network = Arc::new(vae);
        let encoder = Arc::clone(&network);
        let model = Arc::new(Model {
            encode: workshop.batches(name, "encode", encoding, move |images: &[Image], threads| {
                let levels: Vec<&[u8]> = images.iter().map(Image::levels).collect();
                encoder.encode(&levels, threads).map_err(|error| error.to_string())
            }),
            decode: workshop.lane(
                name,
                "decode",
                Class::Interactive,
                Decoder(Arc::clone(&network)),
                decoding,
            ),
            latent_size: network.latent_size(),
        });
        let dimensions = self.contract.shape.dimensions();
        let info = calibration.as_ref().map(|(_, info)| info.clone());
        let judge = calibration.map(|(calibration, info)| {
            let scores = TwoSided {
                calibration,
                info,
                dimensions,
            };
            Arc::new(bound::Judge {
                model: Arc::clone(&model),
                scores,
            }) as Arc<dyn Judges>
        });
        let no_label = "only a classifier, or a density conditioned on labels, can name a label";
        let not_exact = "it has a lower bound on the density of an image, and not the exact probability of each pixel";
        let capabilities = Capabilities::new(
            "a VAE has a posterior over codes and a likelihood of images given a code, and nothing else",
        )
        .offer::<dyn Scores>(Arc::clone(&model) as _)
        .with::<dyn Judges>(judge.ok_or_else(no_calibration))
        .offer::<dyn Draws>(Arc::clone(&model) as _)
        .offer::<dyn Completes>(Arc::clone(&model) as _)
        .offer::<dyn Encodes>(Arc::clone(&model) as _)
        .offer::<dyn Decodes>(Arc::clone(&model) as _)
        .offer::<dyn Reconstructs>(Arc::clone(&model) as _)
        .offer::<dyn Interpolates>(model)
        .decline::<dyn Classifies>(no_label)
        .decline::<dyn Compresses>(super::NO_PIXELS)
        .decline::<dyn Surprises>(not_exact)
        .decline::<dyn SquaredErrors>("its decoder gives a distribution over images, whose likelihood says more")
        .offer::<dyn Latents>(network);
        Ok(Proved {
            likelihood: "discretized-logistic",
            latent_size: Some(self.contract.latent_size),
            calibration: info,
            ..Proved::new(Density::LowerBound, capabilities)
        })
    }
}

/// A VAE with its queues.
struct Model {
    encode: Batches<Image, network::Posterior>,
    decode: Arc<Lane<Decoder>>,
    latent_size: usize,
}

impl Own {
    /// Encoder and decoder, in the server's units.
    fn converted(&self, gate: &mut Gate<'_>) -> Result<(protobuf::Model, protobuf::Model), GateError> {
        let (declared, levels) = (gate.declared(), self.contract.shape.levels());
        let names = &self.contract.encoder;
        let to_log_variance = declared.to_log_variance();
        let encoder = gate.graph(&self.encoder, &[(&names.log_variance, to_log_variance)])?;
        let factor = weights::input_factor(&encoder, &names.input);
        let scale = self.contract.map.largest_scale();
        gate.suspect(&self.encoder, units::input(scale, factor, levels));
        let names = &self.contract.decoder;
        let (to_pictures, to_log_scale) = (declared.to_pictures(levels), declared.to_log_scale(levels));
        let conversions: [(&str, &[Step]); 2] = [(&names.mean, &to_pictures), (&names.log_scale, &to_log_scale)];
        Ok((encoder, gate.graph(&self.decoder, &conversions)?))
    }

    /// Nothing that the graphs give may depend on what shares its run.
    fn keeps_apart(&self, gate: &mut Gate<'_>, vae: &Network) -> Result<(), GateError> {
        gate.keeps_images_apart(&self.encoder, |images| {
            let posteriors = vae.encode(images, Threads::All)?;
            Ok(posteriors
                .iter()
                .map(|p| [&p.mean[..], &p.log_variance].concat())
                .collect())
        })?;
        gate.keeps_codes_apart(&self.decoder, self.contract.latent_size, |codes| {
            let observations = vae.decode(codes, Threads::All)?;
            Ok(observations
                .iter()
                .map(|o| [o.mean(), o.log_scale()].concat())
                .collect())
        })
    }

    /// Asks what the numbers of golden images are that look like something else.
    fn have_units(
        &self,
        gate: &mut Gate<'_>,
        posteriors: &[network::Posterior],
        observations: &[network::Observation],
    ) {
        let codes: Vec<f32> = posteriors.iter().flat_map(|p| p.mean.clone()).collect();
        let spreads = posteriors.iter().flat_map(|p| p.log_variance.clone());
        let spreads: Vec<f32> = spreads.collect();
        gate.suspect(&self.encoder, units::posterior(&codes, &spreads));
        let means: Vec<&[f32]> = observations.iter().map(|o| o.mean()).collect();
        gate.suspect(&self.decoder, units::pictures(&means.concat(), true));
        let scales: Vec<&[f32]> = observations.iter().map(|o| o.log_scale()).collect();
        gate.suspect(&self.decoder, units::log_scale(&scales.concat()));
    }
}
