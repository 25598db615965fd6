//! Generators of adversarially trained models: codes in, images out. The density of these images is implicit.

use std::sync::Arc;

use crate::families::{NetworkError, codes::Picture, manifest::LabelInput};
use crate::{
    domain::image::ImageShape,
    graph::{
        self,
        protobuf::{ElementType, Model},
        signature::{self, Expected},
    },
    runtime::{Engine, Input, Program, Threads, Values},
};

/// What a manifest says about the graph.
#[derive(Debug, Clone)]
pub struct Contract {
    /// Size of the images.
    pub shape: ImageShape,
    /// Size of the code, whose prior is a standard normal distribution.
    pub latent_size: usize,
    /// Code input.
    pub input: String,
    /// The label that images are drawn for, if any.
    pub label: Option<LabelInput>,
    /// Image output, in units of level / (levels − 1).
    pub output: String,
}

/// A generator.
#[derive(Debug)]
pub struct Network {
    contract: Contract,
    program: Arc<dyn Program>,
}

/// What an image is generated from.
#[derive(Debug, Clone, PartialEq)]
pub struct Seed {
    /// The code.
    pub code: Vec<f32>,
    /// The label; ignored by generators without one.
    pub label: u32,
}

impl Network {
    /// Checks the graph against its contract and makes it runnable.
    pub fn load(engine: &dyn Engine, name: &str, model: &Model, contract: Contract) -> Result<Self, NetworkError> {
        let shape = contract.shape;
        let expected = |name, element_type, form: &[usize]| Expected {
            name,
            element_type,
            forms: vec![form.to_vec()],
        };
        let mut inputs = vec![expected(&contract.input, ElementType::Float, &[contract.latent_size])];
        let label = contract.label.as_ref();
        inputs.extend(label.map(|label| expected(&label.input, ElementType::Int64, &[])));
        let image = [shape.channels(), shape.height(), shape.width()];
        let output = expected(&contract.output, ElementType::Float, &image);
        signature::check(model, &inputs, &[output])?;
        Ok(Self {
            program: engine.load(&format!("{name} (generator)"), &graph::serialize(model))?,
            contract,
        })
    }

    /// Size of the code.
    pub fn latent_size(&self) -> usize {
        self.contract.latent_size
    }

    /// The images of codes.
    pub fn generate(&self, seeds: &[Seed], threads: Threads) -> Result<Vec<Picture>, NetworkError> {
        let contract = &self.contract;
        let rows = seeds.len();
        let codes: Vec<f32> = seeds.iter().flat_map(|seed| &seed.code).copied().collect();
        let labels: Vec<i64> = seeds.iter().map(|seed| i64::from(seed.label)).collect();
        let (code_shape, one_axis) = ([rows, contract.latent_size], [rows]);
        let mut inputs = vec![Input {
            name: &contract.input,
            shape: &code_shape,
            values: Values::Floats(&codes),
        }];
        inputs.extend(contract.label.as_ref().map(|label| Input {
            name: &label.input,
            shape: &one_axis,
            values: Values::Ints(&labels),
        }));
        let outputs = self.program.run(&inputs, &[&contract.output], threads)?;
        Picture::all(&contract.output, contract.shape, rows, &outputs[0])
    }
}
