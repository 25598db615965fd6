//! Classifiers: logits of labels, and the features that they are computed from.

use std::sync::Arc;

use crate::families::network::{NetworkError, batch_shape, expect_shape, levels_input};
use crate::{
    domain::image::ImageShape,
    graph::{
        self,
        protobuf::{ElementType, Model},
        rewrite::{self, InputMap},
        signature::{self, Expected},
    },
    runtime::{Engine, Program, Threads},
};

/// What a manifest says about the graph.
#[derive(Debug, Clone)]
pub struct Contract {
    /// Size of the images.
    pub shape: ImageShape,
    /// From level to graph value.
    pub map: InputMap,
    /// Labels.
    pub classes: usize,
    /// Image input.
    pub input: String,
    /// Logits of labels, float `[batch, classes]`; their softmax is p(label | image).
    pub output: String,
    /// Features, float `[batch, size]`, if the graph gives them.
    pub features: Option<String>,
}

/// A classifier.
#[derive(Debug)]
pub struct Network {
    contract: Contract,
    program: Arc<dyn Program>,
    feature_size: Option<usize>,
}

/// What a classifier makes of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// One for each label.
    pub logits: Vec<f32>,
    /// Features; none if the graph does not give them.
    pub features: Vec<f32>,
}

impl Network {
    /// Checks the graph against its contract and makes it runnable.
    pub fn load(engine: &dyn Engine, name: &str, model: &Model, contract: Contract) -> Result<Self, NetworkError> {
        let shape = contract.shape;
        let expected = |name, form: &[usize]| Expected {
            name,
            element_type: ElementType::Float,
            forms: vec![form.to_vec()],
        };
        let image = [shape.channels(), shape.height(), shape.width()];
        let feature_size = match &contract.features {
            Some(features) => Some(signature::row_size(model, features)?),
            None => None,
        };
        let mut outputs = vec![expected(&contract.output, &[contract.classes])];
        if let (Some(name), Some(size)) = (&contract.features, feature_size) {
            outputs.push(expected(name, &[size]));
        }
        signature::check(model, &[expected(&contract.input, &image)], &outputs)?;
        let graph = rewrite::take_levels(model, &contract.input, shape, contract.map)?;
        Ok(Self {
            program: engine.load(&format!("{name} (classifier)"), &graph::serialize(&graph))?,
            feature_size,
            contract,
        })
    }

    /// Number of features, if the graph gives them.
    pub fn feature_size(&self) -> Option<usize> {
        self.feature_size
    }

    /// Logits and features of images given as levels in channel, row, column order.
    pub fn classify(&self, images: &[&[u8]], threads: Threads) -> Result<Vec<Prediction>, NetworkError> {
        let contract = &self.contract;
        let rows = images.len();
        let levels = images.concat();
        let shape = batch_shape(contract.shape, rows);
        let names: Vec<&str> = std::iter::once(&contract.output)
            .chain(&contract.features)
            .map(String::as_str)
            .collect();
        let outputs = self.program.run(&[levels_input(&levels, &shape)], &names, threads)?;
        expect_shape(names[0], &outputs[0], &[rows, contract.classes])?;
        if let (Some(size), Some(output)) = (self.feature_size, outputs.get(1)) {
            expect_shape(names[1], output, &[rows, size])?;
        }
        let prediction = |row| Prediction {
            logits: outputs[0].row(row, rows).to_vec(),
            features: outputs
                .get(1)
                .map_or_else(Vec::new, |output| output.row(row, rows).to_vec()),
        };
        Ok((0..rows).map(prediction).collect())
    }
}
