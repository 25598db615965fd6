//! Encoders: features of images, from one layer of a network or several.

use crate::{
    detection::evidence::{Answers, Features, GivesFeatures, Layer},
    families::{
        feature_output::FeatureOutput,
        image_graph::{ImageGraph, ImageInput},
        network::NetworkError,
    },
    graph::protobuf::Model,
    runtime::{Engine, Threads},
};

/// What a manifest says about the graph.
#[derive(Debug, Clone)]
pub struct Contract {
    /// Image input.
    pub input: ImageInput,
    /// Features, each float `[batch, F]` or each float `[batch, F, h, w]`.
    pub outputs: Vec<String>,
}

/// An encoder.
#[derive(Debug)]
pub struct Network {
    graph: ImageGraph,
    features: FeatureOutput,
}

impl Network {
    /// Checks the graph against its contract and makes it runnable.
    pub fn load(engine: &dyn Engine, name: &str, model: Model, contract: &Contract) -> Result<Self, NetworkError> {
        let features = FeatureOutput::new(&model, &contract.outputs)?;
        let outputs: Vec<_> = features.expected().collect();
        Ok(Self {
            graph: ImageGraph::load(engine, &format!("{name} (encoder)"), model, &contract.input, &outputs)?,
            features,
        })
    }

    /// Numbers in the features, if they are vectors.
    pub fn vector_size(&self) -> Option<usize> {
        self.features.vector_size()
    }

    /// Features of images given as levels in channel, row, column order: for each the numbers of every layer.
    pub fn encode(&self, images: &[&[u8]], threads: Threads) -> Result<Vec<Vec<Vec<f32>>>, NetworkError> {
        let names: Vec<&str> = self.features.names().collect();
        let outputs = self.graph.run(images, &names, threads)?;
        self.features.read(&outputs, images.len())
    }
}

impl GivesFeatures for Network {
    fn layers(&self) -> &[Layer] {
        self.features.layers()
    }

    fn has_logits(&self) -> bool {
        false
    }

    fn features(&self, images: &[&[u8]], threads: Threads) -> Answers<Features> {
        let all = self.encode(images, threads).map_err(|error| error.to_string())?;
        let features = |layers| Features { layers, logits: None };
        Ok(all.into_iter().map(features).collect())
    }
}
