//! What autoregressive families share: exact densities p(x) = Π p(xᵢ | x₍<ᵢ₎), scored, drawn from, completed, coded,
//! and by Bayes' rule told apart by label.

mod causality;
mod compression;
mod drawing;
mod draws;
mod labels;
pub mod network;
pub(super) mod proof;
pub(super) mod scores;
pub mod wavefront;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::{
    drawing::Drawing,
    network::{Compilation, Given, Network, SLOWER},
    scores::ByBayes,
};
use super::{
    Gate, Proved,
    manifest::{CalibrationFile, Scored, Tables},
    two_sided::{Judge, TwoSided},
};
use crate::{
    detection::evidence::Surprises,
    domain::{
        assurance::Assurance,
        bayes::Prior,
        conformal::Calibration,
        image::{Image, ImageShape},
    },
    model::{
        Capabilities, Reason,
        classify::Classifies,
        codes::{Decodes, Encodes, Interpolates, Reconstructs},
        compress::Compresses,
        detect::{Judges, Measures},
        draw::{Completes, Draws},
        info::{CalibrationInfo, Density, DrawingMethod},
        labels::Labels,
        score::Scores,
        work::Batches,
    },
    scheduling::{Class, Lane},
};

/// What versions are calibrated on.
const STATISTIC: &str = "log_likelihood";

/// What the manifest of an autoregressive model says beside its graph.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) head: network::Head,
    pub(super) labels: Option<Labels>,
    pub(super) golden: Scored,
    pub(super) calibration: Option<CalibrationFile>,
}

impl Common {
    /// Takes `[likelihood]`, `[golden]` and `[calibration]`; `labels` are the family's affair.
    pub(super) fn read(tables: &mut Tables, labels: Option<Labels>) -> Result<Self, String> {
        Ok(Self {
            head: network::Head::read(tables)?,
            labels,
            golden: tables.scored()?,
            calibration: tables.calibration(STATISTIC)?,
        })
    }

    /// Files that it names.
    pub(super) fn files(&self) -> Vec<&str> {
        let calibration = self.calibration.iter().flat_map(CalibrationFile::files);
        self.golden.files().chain(calibration).collect()
    }
}

/// An autoregressive model with its queues.
pub(super) struct Model {
    name: String,
    version: u32,
    shape: ImageShape,
    labels: Option<Labels>,
    network: Arc<Network>,
    score: Batches<Labelled, Vec<f32>>,
    draw: Arc<Lane<Drawing>>,
    /// Whatever decides on the predictions, for streams.
    identity: [u8; 8],
}

/// An image and the label that its distribution is conditioned on.
#[derive(Debug)]
struct Labelled {
    image: Image,
    /// Ignored by models without labels.
    label: u32,
}

impl Model {
    fn label_names(&self) -> &[String] {
        self.labels.as_ref().map_or(&[], |labels| &labels.names)
    }
}

/// What a row of each kind of work took.
#[derive(Serialize, Deserialize)]
struct Timings {
    score: std::time::Duration,
    draw: std::time::Duration,
}

/// The model of a network that has proved itself, and what it can do.
fn proved(
    gate: &Gate<'_>,
    (file, contract): (&str, &str),
    common: &Common,
    (network, timings): (Network, Timings),
    calibration: Result<(Calibration, CalibrationInfo), Reason>,
) -> Proved {
    let (manifest, resources) = (gate.manifest(), gate.resources());
    let network = Arc::new(network);
    let sha256 = gate.graph_sha256(file);
    let scoring = Arc::clone(&network);
    let model = Arc::new(Model {
        name: manifest.name.clone(),
        version: gate.version(),
        shape: manifest.shape,
        labels: common.labels.clone(),
        score: resources.batches(
            &manifest.name,
            "score",
            timings.score,
            move |items: &[Labelled], threads| {
                let given: Vec<Given<'_>> = items
                    .iter()
                    .map(|item| Given {
                        levels: item.image.levels(),
                        label: item.label,
                    })
                    .collect();
                scoring
                    .log_probabilities(&given, threads)
                    .map_err(|error| error.to_string())
            },
        ),
        draw: resources.lane(
            &manifest.name,
            "sample",
            Class::Bulk,
            Drawing::new(Arc::clone(&network)),
            timings.draw,
        ),
        identity: compression::identity(&sha256, contract),
        network: Arc::clone(&network),
    });
    let mut weaknesses = Vec::new();
    if let Compilation::Causal(reason) | Compilation::Unknown(reason) = network.compilation() {
        weaknesses.push(format!("images are drawn by full passes: {reason}"));
    }
    if let assurance @ Assurance::Tried { .. } = network.assurance() {
        weaknesses.push(format!("its causality was {assurance}, not proven"));
    }
    Proved {
        weaknesses,
        likelihood: common.head.name(),
        labels: common.labels.clone(),
        sampler: Some(method(&network)),
        calibration: calibration.as_ref().ok().map(|(_, info)| info.clone()),
        ..Proved::new(Density::Exact, capabilities(&model, common, calibration))
    }
}

fn capabilities(
    model: &Arc<Model>,
    common: &Common,
    calibration: Result<(Calibration, CalibrationInfo), Reason>,
) -> Capabilities {
    let no_code = "an autoregressive model factorises p(x) over pixels and has no latent code";
    let compresses: Result<Arc<dyn Compresses>, Reason> = match model.network.compilation() {
        Compilation::Wavefront(_) => Ok(Arc::clone(model) as _),
        Compilation::Causal(reason) | Compilation::Unknown(reason) => Err(Reason::from(format!(
            "its graph could not be compiled, and full passes are too slow: {reason}"
        ))),
    };
    let classifies: Result<Arc<dyn Classifies>, Reason> = match &common.labels {
        Some(labels) => Ok(Arc::new(ByBayes {
            model: Arc::clone(model),
            prior: Prior::new(&labels.prior),
        })),
        None => Err("it is not conditioned on labels: p(y|x) needs p(x|y) for every label".into()),
    };
    let surprises: Result<Arc<dyn Surprises>, Reason> = match &common.labels {
        None => Ok(Arc::clone(&model.network) as _),
        Some(_) => {
            Err("it is conditioned on labels, and an image without a label would take one pass for every label".into())
        }
    };
    let own = calibration.clone().map(|(calibration, _)| Arc::new(calibration));
    let judges: Result<Arc<dyn Judges>, Reason> = match calibration {
        Ok((calibration, info)) => Ok(Arc::new(Judge {
            scores: TwoSided {
                calibration,
                info,
                dimensions: model.shape.dimensions(),
            },
            measures: Arc::clone(model) as _,
        })),
        Err(reason) => Err(reason),
    };
    Capabilities::new("an autoregressive model has an exact density over pixels, and nothing else")
        .offer::<dyn Scores>(Arc::clone(model) as _)
        .offer::<dyn Draws>(Arc::clone(model) as _)
        .offer::<dyn Completes>(Arc::clone(model) as _)
        .with::<dyn Compresses>(compresses)
        .with::<dyn Classifies>(classifies)
        .with::<dyn Judges>(judges)
        .offer::<dyn Measures>(Arc::clone(model) as _)
        .decline::<dyn Encodes>(no_code)
        .decline::<dyn Decodes>(no_code)
        .decline::<dyn Reconstructs>(no_code)
        .decline::<dyn Interpolates>(no_code)
        .with::<dyn Surprises>(surprises)
        .with::<Calibration>(own)
        .offer::<Network>(Arc::clone(&model.network))
}

fn method(network: &Network) -> DrawingMethod {
    if let Some(program) = network.drawing_program() {
        let cost = program.cost();
        return DrawingMethod::Wavefront {
            lag: cost.lag,
            steps: cost.steps,
            multiply_adds: cost.multiply_adds,
            bytes_per_image: cost.bytes,
        };
    }
    let reason = match network.compilation() {
        Compilation::Wavefront(_) => SLOWER.to_owned(),
        Compilation::Causal(reason) | Compilation::Unknown(reason) => reason.clone(),
    };
    DrawingMethod::FixedPoint { reason }
}
