//! Classifiers: logits of labels, and the features that they are computed from.

use std::iter;

use crate::{
    detection::evidence::{Answers, Features, GivesFeatures, Layer},
    families::{
        feature_output::FeatureOutput,
        gate::batch_independence::Parts,
        image_graph::{ImageGraph, ImageInput},
        network::{NetworkError, expect_shape},
    },
    graph::{protobuf::Model, signature::Expected},
    runtime::{Engine, Threads},
};

/// What a manifest says about the graph.
#[derive(Debug, Clone)]
pub struct Contract {
    /// Labels.
    pub classes: usize,
    /// Image input.
    pub input: ImageInput,
    /// Logits of labels, float `[batch, classes]`; their softmax is p(label | image).
    pub output: String,
    /// Features, each float `[batch, F]` or each float `[batch, F, h, w]`; none if the graph gives none.
    pub features: Vec<String>,
}

/// A classifier.
#[derive(Debug)]
pub struct Network {
    contract: Contract,
    graph: ImageGraph,
    features: Option<FeatureOutput>,
}

/// What a classifier makes of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// One for each label.
    pub logits: Vec<f32>,
    /// Features, layer by layer; none if the graph does not give them.
    pub features: Vec<Vec<f32>>,
}

impl Prediction {
    /// Logits, and the features of every layer.
    pub(super) fn parts(self) -> Parts {
        iter::once(self.logits).chain(self.features).collect()
    }
}

impl Network {
    /// Checks the graph against its contract and makes it runnable.
    pub fn load(engine: &dyn Engine, name: &str, model: Model, contract: Contract) -> Result<Self, NetworkError> {
        let features = match contract.features.as_slice() {
            [] => None,
            names => Some(FeatureOutput::new(&model, names)?),
        };
        let mut outputs = vec![Expected::float(&contract.output, &[contract.classes])];
        outputs.extend(features.iter().flat_map(FeatureOutput::expected));
        let graph = ImageGraph::load(
            engine,
            &format!("{name} (classifier)"),
            model,
            &contract.input,
            &outputs,
        )?;
        Ok(Self {
            graph,
            features,
            contract,
        })
    }

    /// Numbers in the features, if the graph gives them and they are vectors.
    pub fn vector_size(&self) -> Option<usize> {
        self.features.as_ref().and_then(FeatureOutput::vector_size)
    }

    /// Whether the graph gives features.
    pub fn has_features(&self) -> bool {
        self.features.is_some()
    }

    /// Logits and features of images given as levels in channel, row, column order.
    pub fn classify(&self, images: &[&[u8]], threads: Threads) -> Result<Vec<Prediction>, NetworkError> {
        let contract = &self.contract;
        let rows = images.len();
        let names: Vec<&str> = std::iter::once(&contract.output)
            .chain(&contract.features)
            .map(String::as_str)
            .collect();
        let mut outputs = self.graph.run(images, &names, threads)?;
        expect_shape(names[0], &outputs[0], &[rows, contract.classes])?;
        let features = match &self.features {
            Some(features) => features.read(&outputs.split_off(1), rows)?,
            None => vec![Vec::new(); rows],
        };
        let prediction = |(row, features)| Prediction {
            logits: outputs[0].row(row, rows).to_vec(),
            features,
        };
        Ok(features.into_iter().enumerate().map(prediction).collect())
    }
}

impl GivesFeatures for Network {
    fn layers(&self) -> &[Layer] {
        self.features.as_ref().map_or(&[], FeatureOutput::layers)
    }

    fn has_logits(&self) -> bool {
        true
    }

    fn features(&self, images: &[&[u8]], threads: Threads) -> Answers<Features> {
        let predictions = self.classify(images, threads).map_err(|error| error.to_string())?;
        let features = |Prediction { logits, features }| Features {
            layers: features,
            logits: Some(logits),
        };
        Ok(predictions.into_iter().map(features).collect())
    }
}
