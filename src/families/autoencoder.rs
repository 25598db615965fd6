//! Autoencoders: a deterministic bottleneck, which gives codes and images of codes, and no distribution over either.

mod import;
pub mod network;

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use self::network::Network;
use super::{
    Contract, Family, Gate, GateError, NO_PIXELS, Proved, Tables,
    codes::{Coder, codes_between, finite, in_place, only_means},
    decoder::Observation,
    gate::{failed, time_of},
    image_graph::ImageInput,
    import::{Mismatch, Plan},
    manifest::Scored,
};
use crate::{
    detection::evidence::{Answers, SquaredErrors},
    domain::image::Image,
    import::{interview::Interview, reading::Reading},
    model::{
        Call, Capabilities, PerImage, Refusal,
        classify::Classifies,
        codes::{DecodeAsk, Decodes, Encodes, Interpolates, Reconstruction, Reconstructs, check_codes},
        compress::Compresses,
        detect::Judges,
        draw::{Completes, Draws},
        info::Density,
        score::Scores,
        work::Batches,
    },
    runtime::Threads,
    scheduling::{Class, JobError},
};

/// Deterministic bottleneck: features, no density.
#[derive(Debug)]
pub struct Autoencoder;

/// Golden numbers: Σ (reconstruction − image)² in units of level / (levels − 1).
const GOLDEN: (&str, &str) = ("golden squared errors", "");

/// `[graphs]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Graphs {
    encoder: OneToOne,
    decoder: OneToOne,
}

/// A graph with one input and one output.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneToOne {
    file: String,
    input: String,
    output: String,
}

#[derive(Debug)]
struct Own {
    encoder: String,
    decoder: String,
    contract: network::Contract,
    golden: Scored,
}

impl Family for Autoencoder {
    fn name(&self) -> &'static str {
        "autoencoder"
    }

    fn read(&self, tables: &mut Tables) -> Result<Box<dyn Contract>, String> {
        let Graphs { encoder, decoder } = tables.needed("graphs")?;
        tables.no_density()?;
        Ok(Box::new(Own {
            contract: network::Contract {
                latent_size: tables.latent_size()?,
                image: ImageInput::read(tables, encoder.input)?,
                code: encoder.output,
                decoder_input: decoder.input,
                picture: decoder.output,
            },
            encoder: encoder.file,
            decoder: decoder.file,
            golden: tables.scored()?,
        }))
    }

    fn gives(&self) -> &'static str {
        "a code for each image, and a picture for each code"
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
        self.golden.files().collect()
    }

    fn declarable(&self) -> &'static [&'static str] {
        &["pictures", "input", "random", "batch"]
    }

    fn prove(&self, gate: &mut Gate<'_>) -> Result<Proved, GateError> {
        let (images, expected) = gate.golden_scores(&self.golden, None)?;
        let golden = Image::levels_of(&images);
        let files = format!("{}, {}", self.encoder, self.decoder);
        let failed = |cause| failed(&files, cause);
        let contract = &self.contract;
        let to_pictures = gate.declared().to_pictures(contract.image.shape.levels());
        let encoder = gate.graph(&self.encoder, &[(&contract.code, &[])])?;
        let decoder = gate.graph(&self.decoder, &[(&contract.picture, &to_pictures)])?;
        gate.suspect(&self.encoder, contract.image.suspicion(&encoder));
        let (engine, label) = (gate.engine(), gate.label());
        let network = Network::load(&*engine, &label, encoder, &decoder, self.contract.clone()).map_err(failed)?;
        drop(decoder);
        gate.contract_kept();
        let (encoding, decoding) = gate.settle("reconstructions", |gate| {
            self.keeps_apart(gate, &network)?;
            let codes = network.encode(&golden, Threads::All).map_err(failed)?.concat();
            let pictures = network.decode(&codes, Threads::All).map_err(failed)?;
            for looks in network.decoder().head().suspicions(&pictures) {
                gate.suspect(&self.decoder, Some(looks));
            }
            let errors: Vec<f64> = pictures
                .iter()
                .zip(&golden)
                .map(|(picture, levels)| picture.squared_errors(levels).iter().sum())
                .collect();
            gate.golden(GOLDEN, self.golden.tolerance(), &expected, &errors)?;
            let code = &codes[..network.latent_size()];
            let encoding = time_of(|| network.encode(&golden[..1], Threads::One).map(drop)).map_err(failed)?;
            let decoding = time_of(|| network.decode(code, Threads::One).map(drop)).map_err(failed)?;
            Ok((encoding, decoding))
        })?;
        let (resources, name) = (gate.resources(), &gate.manifest().name);
        let network = Arc::new(network);
        let (encoder, decoder) = (Arc::clone(&network), Arc::clone(&network));
        let model = Arc::new(Model {
            encode: resources.batches(name, "encode", encoding, move |images: &[Image], threads| {
                let levels = Image::levels_of(images);
                encoder.encode(&levels, threads).map_err(|error| error.to_string())
            }),
            decode: resources.batches(name, "decode", decoding, move |codes: &[Vec<f32>], threads| {
                decoder
                    .decode(&codes.concat(), threads)
                    .map_err(|error| error.to_string())
            }),
            latent_size: network.latent_size(),
        });
        let coder = Coder {
            queue: Arc::clone(&model.encode),
            size: model.latent_size,
            what: "the code",
        };
        let no_density = "an autoencoder has no density: its reconstruction error is not a likelihood";
        let no_prior = "an autoencoder has no density and no prior over its codes to draw from";
        let no_label = "only a classifier, or a density conditioned on labels, can name a label";
        let capabilities =
            Capabilities::new("an autoencoder has codes and images of codes, and no distribution over either")
                .offer::<dyn Encodes>(Arc::new(coder))
                .offer::<dyn Decodes>(Arc::clone(&model) as _)
                .offer::<dyn Reconstructs>(Arc::clone(&model) as _)
                .offer::<dyn Interpolates>(model)
                .decline::<dyn Scores>(no_density)
                .decline::<dyn Judges>(no_density)
                .decline::<dyn Draws>(no_prior)
                .decline::<dyn Completes>(no_prior)
                .decline::<dyn Classifies>(no_label)
                .decline::<dyn Compresses>(NO_PIXELS)
                .offer::<dyn SquaredErrors>(network);
        Ok(Proved {
            latent_size: Some(self.contract.latent_size),
            ..Proved::new(Density::None, capabilities)
        })
    }
}

impl Own {
    /// No code and no picture may depend on those that share its run.
    fn keeps_apart(&self, gate: &mut Gate<'_>, network: &Network) -> Result<(), GateError> {
        gate.keeps_images_apart(&self.encoder, |images| {
            let codes = network.encode(images, Threads::All)?;
            Ok(codes.into_iter().map(|code| vec![code]).collect())
        })?;
        network.decoder().keeps_apart(gate, &self.decoder).map(drop)
    }
}

/// An autoencoder with its queues.
struct Model {
    encode: Batches<Image, Vec<f32>>,
    decode: Batches<Vec<f32>, Observation>,
    latent_size: usize,
}

#[async_trait]
impl Decodes for Model {
    async fn decode(&self, codes: Vec<Vec<f32>>, ask: &DecodeAsk, call: &Call) -> Result<PerImage<Image>, Refusal> {
        check_codes(&codes, self.latent_size)?;
        only_means(ask.observation)?;
        let pictures = call.run(&self.decode, codes).await?;
        Ok(pictures.into_iter().map(|picture| picture?.mean_image()).collect())
    }

    fn code_size(&self) -> usize {
        self.latent_size
    }
}

#[async_trait]
impl Reconstructs for Model {
    /// Images through encoder and decoder, and how far they come out from where they went in.
    async fn reconstruct(
        &self,
        images: Vec<Image>,
        map: bool,
        call: &Call,
    ) -> Result<PerImage<Reconstruction>, Refusal> {
        let count = images.len() as u64;
        let cost = self.encode.estimate(count) + self.decode.estimate(count);
        let permit = call.admit(Class::Interactive, cost)?;
        let codes = self.encode.run(&permit, images.clone(), call.deadline).await;
        let good = codes.iter().flatten().cloned().collect();
        let pictures = self.decode.run(&permit, good, call.deadline).await;
        let reconstruction = |(image, both): (&Image, Result<(Vec<f32>, Observation), JobError>)| {
            let (_, picture) = both?;
            let errors = picture.squared_errors(image.levels());
            Reconstruction::new(picture.mean_image()?, errors, None, map)
        };
        Ok(images
            .iter()
            .zip(in_place(codes, pictures))
            .map(reconstruction)
            .collect())
    }
}

#[async_trait]
impl Interpolates for Model {
    async fn interpolate(&self, from: Image, to: Image, steps: u32, call: &Call) -> Result<Vec<Image>, Refusal> {
        let cost = self.encode.estimate(2) + self.decode.estimate(u64::from(steps));
        let permit = call.admit(Class::Interactive, cost)?;
        let mut ends = Vec::new();
        for code in self.encode.run(&permit, vec![from, to], call.deadline).await {
            let code = code?;
            finite("the code", &code)?;
            ends.push(code);
        }
        let codes = codes_between(&ends[0], &ends[1], steps);
        let pictures = self.decode.run(&permit, codes, call.deadline).await;
        pictures.into_iter().map(|picture| picture?.mean_image()).collect()
    }
}

impl SquaredErrors for Network {
    fn squared_errors(&self, images: &[&[u8]], threads: Threads) -> Answers<Vec<f64>> {
        let text = |error: super::NetworkError| error.to_string();
        let codes = self.encode(images, threads).map_err(text)?.concat();
        let pictures = self.decode(&codes, threads).map_err(text)?;
        Ok(pictures
            .iter()
            .zip(images)
            .map(|(picture, levels)| picture.squared_errors(levels))
            .collect())
    }
}
