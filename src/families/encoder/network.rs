//! Encoders: features of images, from one layer of a network or several.

use std::sync::Arc;

use crate::{
    detection::evidence::{Answers, Features, GivesFeatures, Layer},
    domain::image::ImageShape,
    families::{
        network::{NetworkError, batch_shape, levels_input},
        sight::Sight,
    },
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
    /// Image input.
    pub input: String,
    /// Features, each float `[batch, F]` or each float `[batch, F, h, w]`.
    pub outputs: Vec<String>,
}

/// An encoder.
#[derive(Debug)]
pub struct Network {
    shape: ImageShape,
    sight: Sight,
    program: Arc<dyn Program>,
}

impl Network {
    /// Checks the graph against its contract and makes it runnable.
    pub fn load(engine: &dyn Engine, name: &str, model: &Model, contract: &Contract) -> Result<Self, NetworkError> {
        let shape = contract.shape;
        let image = Expected {
            name: &contract.input,
            element_type: ElementType::Float,
            forms: vec![vec![shape.channels(), shape.height(), shape.width()]],
        };
        let sight = Sight::new(model, &contract.outputs)?;
        signature::check(model, &[image], &sight.expected().collect::<Vec<_>>())?;
        let graph = rewrite::take_levels(model, &contract.input, shape, contract.map)?;
        Ok(Self {
            program: engine.load(&format!("{name} (encoder)"), &graph::serialize(&graph))?,
            shape,
            sight,
        })
    }

    /// Numbers in the features, if they are vectors.
    pub fn vector_size(&self) -> Option<usize> {
        self.sight.vector_size()
    }

    /// Features of images given as levels in channel, row, column order: for each the numbers of every layer.
    pub fn encode(&self, images: &[&[u8]], threads: Threads) -> Result<Vec<Vec<Vec<f32>>>, NetworkError> {
        let levels = images.concat();
        let shape = batch_shape(self.shape, images.len());
        let names: Vec<&str> = self.sight.names().collect();
        let outputs = self.program.run(&[levels_input(&levels, &shape)], &names, threads)?;
        self.sight.read(&outputs, images.len())
    }
}

impl GivesFeatures for Network {
    fn layers(&self) -> &[Layer] {
        self.sight.layers()
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
