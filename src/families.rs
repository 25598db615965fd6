//! Families of models: a room for each, with everything that anybody says of it, its part of the manifest, its
//! networks, its proof, what its models can do and why they cannot do the rest.
//!
//! Architecture invariant: a family is known by name in its own room and in [`Registry::standard`], nowhere else.
//! Nothing here knows of requests or transports.

pub mod autoencoder;
pub mod autoregressive;
pub mod bayes;
pub mod classifier;
mod codes;
pub mod decoder;
pub mod detector;
pub mod encoder;
mod feature_output;
mod files;
mod findings;
pub mod gan;
pub mod gate;
pub mod image_graph;
pub mod import;
pub mod manifest;
pub mod network;
pub mod pixelcnn;
pub mod pixelrnn;
pub mod recalibration;
mod snapshot;
mod two_sided;
pub mod vae;

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

pub use self::{
    findings::Findings,
    gate::{ASSUMED, Gate, GateError, GateSettings, prove, prove_apart},
    manifest::{Manifest, Tables},
    network::NetworkError,
    snapshot::{Declared, Snapshot},
};
use crate::import::{interview::Interview, reading::Reading};
pub use crate::model::work::Resources;
use crate::model::{
    Capabilities,
    info::{CalibrationInfo, Density, DrawingMethod, TilesInfo},
    labels::Labels,
};

/// Why other models than autoregressive ones compress nothing.
const NO_PIXELS: &str = "lossless coding needs the exact probability of each pixel given those before it, which only \
    an autoregressive model has";

/// A family of models.
pub trait Family: Debug + Send + Sync + 'static {
    /// The name used in manifests and answers.
    fn name(&self) -> &'static str;

    /// Takes the family's tables out of a manifest. What every manifest says has been taken already, and what nobody
    /// takes is refused.
    fn read(&self, tables: &mut Tables) -> Result<Box<dyn Contract>, String>;

    /// What the numbers of a graph are if it is of the family, for whoever has to choose.
    fn gives(&self) -> &'static str {
        ""
    }

    /// Says whether graphs that people bring are of the family, and how they are written for its contract. A family
    /// that is made of models, or of graphs in a form of its own, takes none.
    fn import<'a>(
        &self,
        _brought: &'a [Reading],
        _interview: &mut Interview,
    ) -> Result<import::Plan<'a>, import::Mismatch> {
        Err(import::Mismatch::Other(String::new()))
    }
}

/// What a version's manifest says beside what every manifest says.
pub trait Contract: Debug + Send + Sync {
    /// Files that decide on the numbers that a version computes: they identify it. None if it has no graphs of its own.
    fn graphs(&self) -> Vec<&str> {
        Vec::new()
    }

    /// The other files that it names.
    fn files(&self) -> Vec<&str>;

    /// What its manifest may say of its graphs beside their names: keys of `[declared]`, and `batch` of `[serving]`.
    fn declarable(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether it takes images of any size from that of its manifest on.
    fn any_size(&self) -> bool {
        false
    }

    /// Names and versions of the models that it is made of, which are loaded before it.
    fn members(&self) -> Vec<(&str, u32)> {
        Vec::new()
    }

    /// Loads the version and has it prove itself, or says which check it failed.
    fn prove(&self, gate: &mut Gate<'_>) -> Result<Proved, GateError>;
}

/// What a version turns out to be that has proved itself.
#[derive(Debug)]
pub struct Proved {
    /// What it says about p(image).
    pub density: Density,
    /// The likelihood head; `none` without one.
    pub likelihood: &'static str,
    /// The labels that its density is conditioned on, or that it tells apart.
    pub labels: Option<Labels>,
    /// How images are drawn pixel by pixel, if they are.
    pub sampler: Option<DrawingMethod>,
    /// Numbers in its latent code, or in a classifier's features.
    pub latent_size: Option<usize>,
    /// What it is calibrated on.
    pub calibration: Option<CalibrationInfo>,
    /// What it serves without.
    pub weaknesses: Vec<String>,
    /// How it looks at images that are larger than its size, if it does.
    pub tiles: Option<TilesInfo>,
    /// What it can do.
    pub capabilities: Capabilities,
}

impl Proved {
    /// A version that says `density` about p(image), and nothing more so far.
    pub fn new(density: Density, capabilities: Capabilities) -> Self {
        Self {
            density,
            likelihood: "none",
            labels: None,
            sampler: None,
            latent_size: None,
            calibration: None,
            weaknesses: Vec::new(),
            tiles: None,
            capabilities,
        }
    }
}

/// The families that a server knows.
#[derive(Debug, Clone, Default)]
pub struct Registry(BTreeMap<&'static str, Arc<dyn Family>>);

impl Registry {
    /// Every family of this crate.
    pub fn standard() -> Self {
        Self::default()
            .with(pixelcnn::PixelCnn)
            .with(pixelrnn::PixelRnn)
            .with(vae::Vae)
            .with(autoencoder::Autoencoder)
            .with(gan::Gan)
            .with(classifier::Classifier)
            .with(encoder::Encoder)
            .with(bayes::Bayes)
            .with(detector::Detector)
    }

    /// One family more. It takes the place of one of the same name.
    #[must_use]
    pub fn with(mut self, family: impl Family) -> Self {
        self.0.insert(family.name(), Arc::new(family));
        self
    }

    /// The family of that name.
    pub fn family(&self, name: &str) -> Result<&dyn Family, String> {
        let family = self.0.get(name).map(|family| &**family);
        family.ok_or_else(|| {
            format!(
                "unknown family {name:?}: one of {}",
                self.names().collect::<Vec<_>>().join(", ")
            )
        })
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}
