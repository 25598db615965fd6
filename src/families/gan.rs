//! Generative adversarial networks: images from an implicit density that cannot be evaluated.

mod import;
pub mod network;

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use self::network::{Network, Seed};
use super::{
    Contract, Family, Gate, GateError, NO_PIXELS, Proved, Tables,
    codes::{Picture, codes_of_prior, only_means},
    gate::{company, failed, time_of, units},
    import::{Mismatch, Plan},
    manifest::{Tolerance, label_input, tolerance},
};
use crate::{
    import::{interview::Interview, reading::Reading},
    media,
    model::{
        Call, Capabilities, Refusal,
        classify::Classifies,
        codes::{Decodes, Encodes, Interpolates, Reconstructs},
        compress::Compresses,
        detect::Judges,
        draw::{Completes, DrawAsk, Drawn, Draws, Order, Sampler},
        info::Density,
        labels::Labels,
        score::Scores,
        work::Batches,
    },
    runtime::Threads,
};

/// Generative adversarial network.
#[derive(Debug)]
pub struct Gan;

/// Golden numbers: dimensions of images in units of level / (levels − 1).
const GOLDEN: (&str, &str) = ("golden images", "");

/// `[graphs]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Graphs {
    generator: Generator,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generator {
    file: String,
    input: String,
    label: Option<String>,
    output: String,
}

/// `[golden]`: images of codes, all npy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Golden {
    /// float32 of shape (n, L).
    latents: String,
    /// int64 of shape (n), if the generator takes labels.
    labels: Option<String>,
    /// float32 of shape (n, C, H, W), in units of level / (levels − 1).
    images: String,
    absolute_tolerance: f64,
    relative_tolerance: f64,
}

#[derive(Debug)]
struct Own {
    file: String,
    contract: network::Contract,
    labels: Option<Labels>,
    golden: Golden,
    tolerance: Tolerance,
}

impl Family for Gan {
    fn name(&self) -> &'static str {
        "gan"
    }

    fn read(&self, tables: &mut Tables) -> Result<Box<dyn Contract>, String> {
        let Generator {
            file,
            input,
            label,
            output,
        } = tables.needed::<Graphs>("graphs")?.generator;
        tables.no_density()?;
        tables.none("input", "it takes codes, not images")?;
        let labels = tables.labels()?;
        let golden: Golden = tables.needed("golden")?;
        Ok(Box::new(Own {
            file,
            contract: network::Contract {
                shape: tables.shape(),
                latent_size: tables.latent_size()?,
                input,
                output,
                label: label_input(label, labels.as_ref(), "graphs.generator")?,
            },
            labels,
            tolerance: tolerance(golden.absolute_tolerance, golden.relative_tolerance)?,
            golden,
        }))
    }

    fn import<'a>(&self, brought: &'a [Reading], interview: &mut Interview) -> Result<Plan<'a>, Mismatch> {
        import::import(brought, interview)
    }
}

impl Contract for Own {
    fn graphs(&self) -> Vec<&str> {
        vec![&self.file]
    }

    fn files(&self) -> Vec<&str> {
        let Golden {
            latents,
            labels,
            images,
            ..
        } = &self.golden;
        [latents, images]
            .into_iter()
            .chain(labels)
            .map(String::as_str)
            .collect()
    }

    fn declarable(&self) -> &'static [&'static str] {
        &["pictures", "random", "batch"]
    }

    /// It must draw the images of its golden codes.
    fn prove(&self, gate: &mut Gate<'_>) -> Result<Proved, GateError> {
        let failed = |cause| failed(&self.file, cause);
        let (seeds, expected) = self.golden(gate)?;
        let to_pictures = gate.declared().to_pictures(self.contract.shape.levels());
        let graph = gate.graph(&self.file, &[(&self.contract.output, &to_pictures)])?;
        let (engine, label) = (gate.engine(), gate.label());
        let network = Network::load(&*engine, &label, &graph, self.contract.clone()).map_err(failed)?;
        gate.contract_kept();
        let time = gate.settle("samples", |gate| {
            self.keeps_apart(gate, &network)?;
            let pictures = network.generate(&seeds, Threads::All).map_err(failed)?;
            let drawn: Vec<f64> = pictures
                .iter()
                .flat_map(Picture::values)
                .copied()
                .map(f64::from)
                .collect();
            gate.golden(GOLDEN, self.tolerance, &expected, &drawn)?;
            time_of(|| network.generate(&seeds[..1], Threads::One).map(drop)).map_err(failed)
        })?;
        let model = Model {
            latent_size: network.latent_size(),
            conditional: self.labels.is_some(),
            generate: gate
                .workshop()
                .batches(&gate.manifest().name, "sample", time, move |seeds: &[Seed], threads| {
                    network.generate(seeds, threads).map_err(|error| error.to_string())
                }),
        };
        let implicit = "the density of a GAN is implicit: it can be drawn from but not evaluated";
        let no_encoder = "a GAN has a generator only: there is no encoder from images to codes";
        let no_label = "only a classifier, or a density conditioned on labels, can name a label";
        let capabilities = Capabilities::new("a GAN has a generator, which only draws")
            .offer::<dyn Draws>(Arc::new(model))
            .decline::<dyn Scores>(implicit)
            .decline::<dyn Judges>(implicit)
            .decline::<dyn Completes>("the density of a GAN is implicit and cannot be conditioned on known pixels")
            .decline::<dyn Decodes>(
                "the codes of a GAN come from its prior alone, because nothing makes a code of an image: sample draws them",
            )
            .decline::<dyn Encodes>(no_encoder)
            .decline::<dyn Reconstructs>(no_encoder)
            .decline::<dyn Interpolates>(no_encoder)
            .decline::<dyn Classifies>(no_label)
            .decline::<dyn Compresses>(NO_PIXELS);
        Ok(Proved {
            labels: self.labels.clone(),
            latent_size: Some(self.contract.latent_size),
            ..Proved::new(Density::Implicit, capabilities)
        })
    }
}

impl Own {
    /// No picture may depend on those that are drawn with it.
    fn keeps_apart(&self, gate: &mut Gate<'_>, network: &Network) -> Result<(), GateError> {
        let strange = company::codes(self.contract.latent_size, &gate.probe(&self.file));
        let classes = self.contract.label.as_ref().map_or(1, |label| label.classes);
        let others = gate.keeps_apart(&self.file, &mut |items| {
            let seed = |&item: &usize| Seed {
                code: strange[item].clone(),
                label: item as u32 % classes,
            };
            let seeds: Vec<Seed> = items.iter().map(seed).collect();
            let pictures = network.generate(&seeds, Threads::All)?;
            Ok(pictures.iter().map(|picture| picture.values().to_vec()).collect())
        })?;
        gate.suspect(&self.file, units::pictures(&others.concat(), false));
        Ok(())
    }

    /// Golden codes, and the dimensions of their images.
    fn golden(&self, gate: &Gate<'_>) -> Result<(Vec<Seed>, Vec<f64>), GateError> {
        let Golden {
            latents,
            labels,
            images,
            ..
        } = &self.golden;
        let contract = &self.contract;
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
                let reason = "golden.labels: they must be there exactly if the generator takes labels";
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

/// A generator with its queue.
struct Model {
    latent_size: usize,
    conditional: bool,
    generate: Batches<Seed, Picture>,
}

#[async_trait]
impl Draws for Model {
    /// Images of codes drawn from the prior, which temperature widens or narrows.
    async fn draw(&self, ask: &DrawAsk, call: &Call) -> Result<Drawn, Refusal> {
        only_means(ask.observation)?;
        let labels = ask.condition.draw(ask.n, ask.seed);
        let seeds = codes_of_prior(self.latent_size, ask)
            .into_iter()
            .zip(&labels)
            .map(|(code, &label)| Seed { code, label })
            .collect();
        let pictures = call.run(&self.generate, seeds).await?;
        let images: Result<_, Refusal> = pictures.into_iter().map(|picture| picture?.image()).collect();
        Ok(Drawn {
            images: images?,
            labels: if self.conditional { labels } else { Vec::new() },
            sampler: Sampler::decoder(),
        })
    }

    fn order(&self) -> Order {
        Order::AtOnce
    }
}
