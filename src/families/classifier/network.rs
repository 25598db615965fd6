//! Classifiers: logits of labels, and the features that they are computed from.

use std::sync::Arc;

use crate::{
    detection::evidence::{Answers, Features, GivesFeatures, Layer},
    domain::image::ImageShape,
    families::{
        network::{NetworkError, batch_shape, expect_shape, levels_input, load},
        sight::Sight,
    },
    graph::{
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
    /// Features, each float `[batch, F]` or each float `[batch, F, h, w]`; none if the graph gives none.
    pub features: Vec<String>,
}

/// A classifier.
#[derive(Debug)]
pub struct Network {
    contract: Contract,
    program: Arc<dyn Program>,
    sight: Option<Sight>,
}

/// What a classifier makes of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// One for each label.
    pub logits: Vec<f32>,
    /// Features, layer by layer; none if the graph does not give them.
    pub features: Vec<Vec<f32>>,
}

impl Network {
    /// Checks the graph against its contract and makes it runnable.
    pub fn load(engine: &dyn Engine, name: &str, model: Model, contract: Contract) -> Result<Self, NetworkError> {
        let shape = contract.shape;
        let expected = |name, form: &[usize]| Expected {
            name,
            element_type: ElementType::Float,
            forms: vec![form.to_vec()],
        };
        let image = [shape.channels(), shape.height(), shape.width()];
        let sight = match contract.features.as_slice() {
            [] => None,
            names => Some(Sight::new(&model, names)?),
        };
        let mut outputs = vec![expected(&contract.output, &[contract.classes])];
        outputs.extend(sight.iter().flat_map(Sight::expected));
        signature::check(&model, &[expected(&contract.input, &image)], &outputs)?;
        let graph = rewrite::take_levels(&model, &contract.input, shape, contract.map)?;
        drop(model);
        Ok(Self {
            program: load(engine, &format!("{name} (classifier)"), graph)?,
            sight,
            contract,
        })
    }

    /// Numbers in the features, if the graph gives them and they are vectors.
    pub fn vector_size(&self) -> Option<usize> {
        self.sight.as_ref().and_then(Sight::vector_size)
    }

    /// Whether the graph gives features.
    pub fn has_features(&self) -> bool {
        self.sight.is_some()
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
        let mut outputs = self.program.run(&[levels_input(&levels, &shape)], &names, threads)?;
        expect_shape(names[0], &outputs[0], &[rows, contract.classes])?;
        let features = match &self.sight {
            Some(sight) => sight.read(&outputs.split_off(1), rows)?,
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
        self.sight.as_ref().map_or(&[], Sight::layers)
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
