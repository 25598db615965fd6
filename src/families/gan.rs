//! Generative adversarial networks: images from an implicit density that cannot be evaluated.

mod import;

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use super::{
    Contract, Family, Gate, GateError, NO_PIXELS, Proved, Tables,
    codes::{codes_of_prior, only_means},
    decoder::{self, Decoder, GoldenImages, Head, Observation, Seed},
    gate::{failed, time_of},
    import::{Mismatch, Plan},
    manifest::{Tolerance, label_input},
};
use crate::{
    graph::convert::Step,
    import::{interview::Interview, reading::Reading},
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

#[derive(Debug)]
struct Own {
    file: String,
    contract: decoder::Contract,
    labels: Option<Labels>,
    golden: GoldenImages,
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
        let golden: GoldenImages = tables.needed("golden")?;
        Ok(Box::new(Own {
            file,
            contract: decoder::Contract {
                shape: tables.shape(),
                latent_size: tables.latent_size()?,
                input,
                head: Head::picture(tables.shape(), output),
                label: label_input(label, labels.as_ref(), "graphs.generator")?,
            },
            labels,
            tolerance: golden.tolerance()?,
            golden,
        }))
    }

    fn gives(&self) -> &'static str {
        "a picture for each code, by a generator"
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
        self.golden.files().collect()
    }

    fn declarable(&self) -> &'static [&'static str] {
        &["pictures", "random", "batch"]
    }

    /// It must draw the images of its golden codes.
    fn prove(&self, gate: &mut Gate<'_>) -> Result<Proved, GateError> {
        let failed = |cause| failed(&self.file, cause);
        let (seeds, expected) = self.golden.read(gate, &self.contract)?;
        let conversions = self.contract.head.conversions(gate.declared());
        let conversions: Vec<(&str, &[Step])> = conversions.iter().map(|(name, steps)| (*name, &steps[..])).collect();
        let graph = gate.graph(&self.file, &conversions)?;
        let (engine, label) = (gate.engine(), format!("{} (generator)", gate.label()));
        let network = Decoder::load(&*engine, &label, &graph, self.contract.clone()).map_err(failed)?;
        drop(graph);
        gate.contract_kept();
        let time = gate.settle("samples", |gate| {
            let strange = network.keeps_apart(gate, &self.file)?;
            for looks in network.head().suspicions(&strange) {
                gate.suspect(&self.file, Some(looks));
            }
            let pictures = network.decode(&seeds, Threads::All).map_err(failed)?;
            let drawn: Vec<f64> = pictures.iter().flat_map(Observation::mean).map(f64::from).collect();
            gate.golden(GOLDEN, self.tolerance, &expected, &drawn)?;
            time_of(|| network.decode(&seeds[..1], Threads::One).map(drop)).map_err(failed)
        })?;
        let model = Model {
            latent_size: network.latent_size(),
            conditional: self.labels.is_some(),
            generate: gate.resources().batches(
                &gate.manifest().name,
                "sample",
                time,
                move |seeds: &[Seed], threads| network.decode(seeds, threads).map_err(|error| error.to_string()),
            ),
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
                "the codes of a GAN come from its prior alone, because nothing makes a code of an image: sample draws \
                 them",
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

/// A generator with its queue.
struct Model {
    latent_size: usize,
    conditional: bool,
    generate: Batches<Seed, Observation>,
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
        let images: Result<_, Refusal> = pictures.into_iter().map(|picture| picture?.mean_image()).collect();
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
