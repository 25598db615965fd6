//! Encoders: features of images, and nothing else. Backbones of other tasks, and whatever else sees images as numbers.

mod import;
pub mod network;

use std::sync::Arc;

use serde::Deserialize;

use self::network::Network;
use super::{
    Contract, Family, Gate, GateError, NO_PIXELS, Proved, Tables,
    codes::Coder,
    gate::{failed, time_of},
    image_graph::ImageInput,
    import::{Mismatch, Plan},
    manifest::Scored,
};
use crate::{
    detection::evidence::GivesFeatures,
    domain::image::Image,
    graph::convert::Step,
    import::{interview::Interview, reading::Reading},
    model::{
        Capabilities, Reason,
        classify::Classifies,
        codes::{Decodes, Encodes, Interpolates, Reconstructs},
        compress::Compresses,
        detect::Judges,
        draw::{Completes, Draws},
        info::Density,
        score::Scores,
    },
    runtime::Threads,
};

/// Image → features.
#[derive(Debug)]
pub struct Encoder;

/// Golden numbers: the mean of all features of an image, and the root of their mean square.
const GOLDEN: (&str, &str) = ("golden features", "");

/// Golden numbers of an image.
const GOLDEN_NUMBERS: usize = 2;

/// Golden images that are encoded at once: the working memory that they take stays taken.
const COMPANY: usize = 4;

/// `[graphs]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Graphs {
    features: Layers,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Layers {
    file: String,
    input: String,
    outputs: Vec<String>,
}

#[derive(Debug)]
struct Own {
    file: String,
    contract: network::Contract,
    golden: Scored,
}

impl Family for Encoder {
    fn name(&self) -> &'static str {
        "encoder"
    }

    fn read(&self, tables: &mut Tables) -> Result<Box<dyn Contract>, String> {
        let Layers { file, input, outputs } = tables.needed::<Graphs>("graphs")?.features;
        tables.no_density()?;
        tables.none("labels", "it gives features of images and knows no labels")?;
        if outputs.is_empty() {
            return Err("graphs.features.outputs: at least one is needed".to_owned());
        }
        Ok(Box::new(Own {
            file,
            contract: network::Contract {
                input: ImageInput::read(tables, input)?,
                outputs,
            },
            golden: tables.scored()?,
        }))
    }

    fn gives(&self) -> &'static str {
        "its numbers are features, whatever for"
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
        &["input", "random", "batch"]
    }

    fn prove(&self, gate: &mut Gate<'_>) -> Result<Proved, GateError> {
        let (images, expected) = gate.golden_scores(&self.golden, Some(GOLDEN_NUMBERS))?;
        let golden = Image::levels_of(&images);
        let failed = |cause| failed(&self.file, cause);
        let outputs: Vec<(&str, &[Step])> = self
            .contract
            .outputs
            .iter()
            .map(|name| (name.as_str(), &[][..]))
            .collect();
        let graph = gate.graph(&self.file, &outputs)?;
        gate.suspect(&self.file, self.contract.input.suspicion(&graph));
        let (engine, label) = (gate.engine(), gate.label());
        let network = Network::load(&*engine, &label, graph, &self.contract).map_err(failed)?;
        gate.contract_kept();
        let time = gate.settle("features", |gate| {
            gate.keeps_images_apart(&self.file, |images| network.encode(images, Threads::All))?;
            let mut numbers = Vec::with_capacity(expected.len());
            for images in golden.chunks(COMPANY) {
                let all = network.encode(images, Threads::All).map_err(failed)?;
                numbers.extend(all.iter().flat_map(|layers| summary(&layers.concat())));
            }
            gate.golden(GOLDEN, self.golden.tolerance(), &expected, &numbers)?;
            time_of(|| network.encode(&golden[..1], Threads::One).map(drop)).map_err(failed)
        })?;
        let size = network.vector_size();
        let network = Arc::new(network);
        let encoder = Arc::clone(&network);
        let encodes: Result<Arc<dyn Encodes>, Reason> = match size {
            None => Err("its features are maps, which detectors are made of; a code is a vector".into()),
            Some(size) => Ok(Arc::new(Coder {
                queue: gate.resources().batches(
                    &gate.manifest().name,
                    "encode",
                    time,
                    move |images: &[Image], threads| {
                        let levels = Image::levels_of(images);
                        let all = encoder.encode(&levels, threads).map_err(|error| error.to_string())?;
                        Ok(all.into_iter().map(|layers| layers.concat()).collect())
                    },
                ),
                size,
                what: "a feature",
            })),
        };
        let no_density = "an encoder gives features of images and no distribution: calibrate makes a detector of it";
        let no_decoder = "an encoder has features and nothing that makes an image of them";
        let capabilities = Capabilities::new(no_density)
            .with::<dyn Encodes>(encodes)
            .decline::<dyn Scores>(no_density)
            .decline::<dyn Judges>(no_density)
            .decline::<dyn Classifies>("an encoder gives features of images and knows no labels")
            .decline::<dyn Draws>(no_density)
            .decline::<dyn Completes>(no_density)
            .decline::<dyn Decodes>(no_decoder)
            .decline::<dyn Reconstructs>(no_decoder)
            .decline::<dyn Interpolates>(no_decoder)
            .decline::<dyn Compresses>(NO_PIXELS)
            .offer::<dyn GivesFeatures>(network);
        Ok(Proved {
            latent_size: size,
            ..Proved::new(Density::None, capabilities)
        })
    }
}

/// The mean of numbers, and the root of their mean square.
fn summary(numbers: &[f32]) -> [f64; GOLDEN_NUMBERS] {
    let count = numbers.len() as f64;
    let sum: f64 = numbers.iter().map(|&x| f64::from(x)).sum();
    let squares: f64 = numbers.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    [sum / count, (squares / count).sqrt()]
}
