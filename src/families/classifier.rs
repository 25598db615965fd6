//! Classifiers: p(label | image). Labels compete, images do not.

mod import;
pub mod network;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::Deserialize;

use self::network::{Network, Prediction};
use super::{
    Contract, Family, Gate, GateError, NO_PIXELS, Proved, Tables,
    autoregressive::scores::no_doubts,
    codes::encoding,
    gate::{failed, time_of, units},
    image_graph::ImageInput,
    import::{Mismatch, Plan},
    manifest::Scored,
};
use crate::{
    detection::evidence::{Answers, GivesFeatures, Predicts, log_posterior},
    domain::image::Image,
    graph::convert::Step,
    import::{interview::Interview, output_range, reading::Reading},
    model::{
        Call, Capabilities, PerImage, Reason, Refusal,
        classify::{Classification, Classifies, ClassifyAsk},
        codes::{Decodes, Encodes, Encoding, Interpolates, Reconstructs},
        compress::Compresses,
        detect::Judges,
        draw::{Completes, Draws},
        info::Density,
        labels::Labels,
        score::Scores,
        work::Batches,
    },
    runtime::Threads,
    scheduling::JobError,
};

/// p(label | image).
#[derive(Debug)]
pub struct Classifier;

/// Golden numbers: log p(label | image) of every label.
const GOLDEN: (&str, &str) = ("golden posteriors", " nats");

/// `[graphs]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Graphs {
    logits: Logits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Logits {
    file: String,
    input: String,
    output: String,
    features: Option<Outputs>,
}

/// One output, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Outputs {
    One(String),
    Several(Vec<String>),
}

impl Outputs {
    fn names(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Several(names) => names,
        }
    }
}

#[derive(Debug)]
struct Own {
    file: String,
    contract: network::Contract,
    labels: Labels,
    golden: Scored,
}

impl Family for Classifier {
    fn name(&self) -> &'static str {
        "classifier"
    }

    fn read(&self, tables: &mut Tables) -> Result<Box<dyn Contract>, String> {
        let Logits {
            file,
            input,
            output,
            features,
        } = tables.needed::<Graphs>("graphs")?.logits;
        tables.no_density()?;
        let labels = tables.labels()?.ok_or_else(|| tables.needs("[labels]"))?;
        Ok(Box::new(Own {
            file,
            contract: network::Contract {
                input: ImageInput::read(tables, input)?,
                classes: labels.names.len(),
                output,
                features: features.map(Outputs::names).unwrap_or_default(),
            },
            labels,
            golden: tables.scored()?,
        }))
    }

    fn gives(&self) -> &'static str {
        "its numbers are logits or probabilities of labels of which one is right"
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
        &["logits", "input", "random", "batch"]
    }

    fn prove(&self, gate: &mut Gate<'_>) -> Result<Proved, GateError> {
        let (images, expected) = gate.golden_scores(&self.golden, Some(self.contract.classes))?;
        let golden = Image::levels_of(&images);
        let failed = |cause| failed(&self.file, cause);
        let contract = &self.contract;
        let to_logits = gate.declared().to_logits(false);
        let features = contract.features.iter().map(|name| (name.as_str(), &[][..]));
        let outputs: Vec<(&str, &[Step])> = std::iter::once((contract.output.as_str(), to_logits))
            .chain(features)
            .collect();
        let graph = gate.graph(&self.file, &outputs)?;
        gate.suspect(&self.file, contract.input.suspicion(&graph));
        let made = output_range::made(&graph, &contract.output);
        let (engine, label) = (gate.engine(), gate.label());
        let network = Network::load(&*engine, &label, graph, contract.clone()).map_err(failed)?;
        gate.contract_kept();
        let time = gate.settle("posteriors", |gate| {
            gate.keeps_images_apart(&self.file, |images| {
                let predictions = network.classify(images, Threads::All)?;
                Ok(predictions.into_iter().map(Prediction::parts).collect())
            })?;
            let predictions = network.classify(&golden, Threads::All).map_err(failed)?;
            let logits: Vec<f32> = predictions.iter().flat_map(|p| p.logits.clone()).collect();
            gate.suspect(&self.file, units::predictions(&logits, contract.classes, made));
            if predictions.len() > 1 && predictions.iter().all(|own| own.logits == predictions[0].logits) {
                gate.warn(format!(
                    "{} gives all {} golden images the same probabilities of labels",
                    self.file,
                    predictions.len()
                ));
            }
            let posteriors: Vec<f64> = predictions
                .iter()
                .flat_map(|prediction| log_posterior(&prediction.logits))
                .collect();
            gate.golden(GOLDEN, self.golden.tolerance(), &expected, &posteriors)?;
            time_of(|| network.classify(&golden[..1], Threads::One).map(drop)).map_err(failed)
        })?;
        let latent_size = network.vector_size();
        Ok(Proved {
            labels: Some(self.labels.clone()),
            latent_size,
            ..Proved::new(Density::None, capabilities(gate, network, time))
        })
    }
}

/// What a classifier can do, one image of which takes about `time`.
fn capabilities(gate: &Gate<'_>, network: Network, time: Duration) -> Capabilities {
    let network = Arc::new(network);
    let classifier = Arc::clone(&network);
    let classify = move |images: &[Image], threads| {
        let levels = Image::levels_of(images);
        classifier.classify(&levels, threads).map_err(|error| error.to_string())
    };
    let name = &gate.manifest().name;
    let queue = gate.resources().batches(name, "classify", time, classify);
    let no_features = || Reason::from("its graph gives no features, only logits of labels");
    let encodes: Result<Arc<dyn Encodes>, Reason> = match network.vector_size() {
        Some(size) => Ok(Arc::new(Features {
            classify: Arc::clone(&queue),
            size,
        })),
        None if network.has_features() => {
            Err("its features are maps, which detectors are made of; a code is a vector".into())
        }
        None => Err(no_features()),
    };
    let features: Result<Arc<dyn GivesFeatures>, Reason> = match network.has_features() {
        true => Ok(Arc::clone(&network) as _),
        false => Err(no_features()),
    };
    let no_density =
        "a classifier models p(label | image): labels compete, images do not, so it has no density over images";
    let no_decoder = "a classifier has features and nothing that makes an image of them";
    Capabilities::new(no_density)
        .offer::<dyn Classifies>(Arc::new(Model { classify: queue }))
        .with::<dyn Encodes>(encodes)
        .decline::<dyn Scores>(no_density)
        .decline::<dyn Judges>(no_density)
        .decline::<dyn Draws>(no_density)
        .decline::<dyn Completes>(no_density)
        .decline::<dyn Decodes>(no_decoder)
        .decline::<dyn Reconstructs>(no_decoder)
        .decline::<dyn Interpolates>(no_decoder)
        .decline::<dyn Compresses>(NO_PIXELS)
        .with::<dyn GivesFeatures>(features)
        .offer::<dyn Predicts>(network)
}

/// A queue of images to be classified.
type Queue = Batches<Image, Prediction>;

/// A classifier with its queue.
struct Model {
    classify: Queue,
}

/// A classifier that gives features, with the same queue.
struct Features {
    classify: Queue,
    size: usize,
}

#[async_trait]
impl Classifies for Model {
    async fn classify(
        &self,
        images: Vec<Image>,
        ask: &ClassifyAsk,
        call: &Call,
    ) -> Result<PerImage<Classification>, Refusal> {
        no_doubts(ask)?;
        no_map(ask)?;
        let predictions = call.run(&self.classify, images).await?;
        let classification = |prediction: Result<Prediction, JobError>| {
            Ok(Classification {
                log_posterior: posterior(&prediction?.logits)?,
                log_likelihoods: None,
                log_evidence: None,
                maps: None,
                doubts: None,
            })
        };
        Ok(predictions.into_iter().map(classification).collect())
    }
}

#[async_trait]
impl Encodes for Features {
    async fn encode(&self, images: Vec<Image>, call: &Call) -> Result<PerImage<Encoding>, Refusal> {
        let predictions = call.run(&self.classify, images).await?;
        Ok(predictions
            .into_iter()
            .map(|prediction| encoding("a feature", prediction?.features.concat()))
            .collect())
    }

    fn code_size(&self) -> usize {
        self.size
    }

    fn has_variance(&self) -> bool {
        false
    }
}

impl Predicts for Network {
    fn logits(&self, images: &[&[u8]], threads: Threads) -> Answers<Vec<f32>> {
        let predictions = self.classify(images, threads).map_err(|error| error.to_string())?;
        Ok(predictions.into_iter().map(|prediction| prediction.logits).collect())
    }
}

/// log p(y | x), unless the classifier gave no numbers.
pub(super) fn posterior(logits: &[f32]) -> Result<Vec<f64>, Refusal> {
    let log_posterior = log_posterior(logits);
    if log_posterior.iter().any(|value| value.is_nan()) {
        return Err(Refusal::not_a_number("the probability of a label"));
    }
    Ok(log_posterior)
}

/// Only a density knows what each dimension says.
pub(super) fn no_map(ask: &ClassifyAsk) -> Result<(), Refusal> {
    if !ask.map {
        return Ok(());
    }
    Err(Refusal::option(
        "map",
        "a classifier sees the image as a whole: what each dimension says about a label only a density that is \
         conditioned on labels can tell",
    ))
}
