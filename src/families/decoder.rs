//! Decoders and generators: graphs from codes, and from labels if they are given any, to images or distributions over
//! images.
//!
//! Every family with such a graph shares this room; what a graph gives of an image is its [`Head`]'s affair.

mod golden;
mod head;
mod mixture;
mod observation;

use std::sync::Arc;

pub use self::{
    golden::GoldenImages,
    head::{Density, Head, Outputs},
    observation::Observation,
};
use super::{
    Gate, GateError, NetworkError,
    gate::batch_independence,
    manifest::LabelInput,
    network::{expect_shape, load},
};
use crate::{
    domain::image::ImageShape,
    graph::{
        protobuf::Model,
        signature::{self, Expected},
    },
    runtime::{Engine, Input, Program, Threads, Values},
};

/// What a manifest says about the graph.
#[derive(Debug, Clone)]
pub struct Contract {
    /// Size of the images.
    pub shape: ImageShape,
    /// Size of the code.
    pub latent_size: usize,
    /// Code input.
    pub input: String,
    /// The label that images are made for, if any.
    pub label: Option<LabelInput>,
    /// What it gives of an image.
    pub head: Head,
}

/// A decoder or a generator.
#[derive(Debug)]
pub struct Decoder {
    contract: Contract,
    program: Arc<dyn Program>,
}

/// What an image is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Seed {
    /// The code.
    pub code: Vec<f32>,
    /// The label; ignored by graphs without one.
    pub label: u32,
}

impl Decoder {
    /// Checks the graph against its contract and makes it runnable.
    pub fn load(engine: &dyn Engine, name: &str, model: &Model, mut contract: Contract) -> Result<Self, NetworkError> {
        contract.head = contract.head.of_graph(model)?;
        let mut inputs = vec![Expected::float(&contract.input, &[contract.latent_size])];
        inputs.extend(contract.label.as_ref().map(|label| Expected::integer(&label.input)));
        let outputs = contract.head.outputs();
        let outputs: Vec<_> = outputs.map(|(name, form)| Expected::float(name, &form)).collect();
        signature::check(model, &inputs, &outputs)?;
        Ok(Self {
            program: load(engine, name, model.clone())?,
            contract,
        })
    }

    /// Size of the code.
    pub fn latent_size(&self) -> usize {
        self.contract.latent_size
    }

    /// Number of labels; 1 without.
    pub fn classes(&self) -> u32 {
        self.contract.label.as_ref().map_or(1, |label| label.classes)
    }

    /// What it gives of an image.
    pub fn head(&self) -> &Head {
        &self.contract.head
    }

    /// What becomes of codes.
    pub fn decode(&self, seeds: &[Seed], threads: Threads) -> Result<Vec<Observation>, NetworkError> {
        let codes: Vec<f32> = seeds.iter().flat_map(|seed| &seed.code).copied().collect();
        let labels: Vec<i64> = seeds.iter().map(|seed| i64::from(seed.label)).collect();
        self.run(&codes, &labels, threads)
    }

    /// The same of codes without labels, which follow one another in `codes`.
    pub fn decode_codes(&self, codes: &[f32], threads: Threads) -> Result<Vec<Observation>, NetworkError> {
        self.run(codes, &vec![0; codes.len() / self.contract.latent_size], threads)
    }

    fn run(&self, codes: &[f32], labels: &[i64], threads: Threads) -> Result<Vec<Observation>, NetworkError> {
        let (contract, rows) = (&self.contract, labels.len());
        let (code_shape, one_axis) = ([rows, contract.latent_size], [rows]);
        let mut inputs = vec![Input {
            name: &contract.input,
            shape: &code_shape,
            values: Values::Floats(codes),
        }];
        inputs.extend(contract.label.as_ref().map(|label| Input {
            name: &label.input,
            shape: &one_axis,
            values: Values::Ints(labels),
        }));
        let names: Vec<&str> = contract.head.outputs().map(|(name, _)| name).collect();
        let outputs = self.program.run(&inputs, &names, threads)?;
        for ((name, form), output) in contract.head.outputs().zip(&outputs) {
            expect_shape(name, output, &[&[rows], &form[..]].concat())?;
        }
        let given = |row| -> Vec<&[f32]> { outputs.iter().map(|output| output.row(row, rows)).collect() };
        Ok((0..rows).map(|row| contract.head.observe(&given(row))).collect())
    }

    /// Nothing that the graph gives of a code may depend on those that share its run. Answers what it gives of the
    /// strange ones with which that is tried.
    pub(super) fn keeps_apart(&self, gate: &mut Gate<'_>, file: &str) -> Result<Vec<Observation>, GateError> {
        let strange = batch_independence::codes(self.contract.latent_size, &gate.probe(file));
        let classes = self.classes();
        let mut seen = Vec::new();
        gate.keeps_apart(file, &mut |items| {
            let seed = |&item: &usize| Seed {
                code: strange[item].clone(),
                label: item as u32 % classes,
            };
            let seeds: Vec<Seed> = items.iter().map(seed).collect();
            let observations = self.decode(&seeds, Threads::All)?;
            let numbers = observations.iter().map(|own| vec![own.numbers()]).collect();
            seen.extend(observations);
            Ok(numbers)
        })?;
        if !self.heeds_its_code(&seen) {
            gate.warn(format!(
                "{file} makes the same picture, but for less than a level, of codes as different as can be"
            ));
        }
        Ok(seen)
    }

    /// Whether any number of these pictures differs by half a level.
    fn heeds_its_code(&self, seen: &[Observation]) -> bool {
        let half = 0.5 / (self.contract.shape.levels() - 1) as f32;
        let pictures: Vec<Vec<f32>> = seen.iter().map(Observation::mean).collect();
        let differ = |(a, b): (&f32, &f32)| (a - b).abs() > half;
        let others = pictures.iter().skip(1);
        pictures.is_empty() || others.flat_map(|other| pictures[0].iter().zip(other)).any(differ)
    }
}
