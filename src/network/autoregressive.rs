//! Autoregressive networks: one pass gives the distribution of every dimension given the dimensions before it.

use std::sync::Arc;

use super::{NetworkError, expect_shape};
use crate::{
    domain::{image::ImageShape, likelihood, random::Random, sampling},
    graph::{
        self,
        protobuf::ElementType,
        rewrite::{self, InputMap},
        signature::{self, Expected},
    },
    runtime::{Engine, Input, Output, Program, Threads, Values},
};

/// How logits become a distribution over levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// Softmax over the levels.
    Categorical,
    /// Sigmoid: two levels only.
    Bernoulli,
}

/// What a manifest says about the graph.
#[derive(Debug, Clone)]
pub struct Contract {
    /// Size of the images.
    pub shape: ImageShape,
    /// Likelihood head.
    pub head: Head,
    /// From level to graph value.
    pub map: InputMap,
    /// Name of the image input.
    pub input: String,
    /// Name of the logits output.
    pub output: String,
}

/// An autoregressive network.
#[derive(Debug)]
pub struct Autoregressive {
    contract: Contract,
    score: Arc<dyn Program>,
    logits: Arc<dyn Program>,
    logits_form: Vec<usize>,
}

/// The logits of a batch.
#[derive(Debug)]
pub struct Logits {
    shape: ImageShape,
    head: Head,
    rows: usize,
    output: Output,
}

impl Autoregressive {
    /// Checks the graph against its contract and makes it runnable, once for scores and once for logits.
    pub fn load(
        engine: &dyn Engine,
        name: &str,
        model: &graph::protobuf::Model,
        contract: Contract,
    ) -> Result<Self, NetworkError> {
        let shape = contract.shape;
        let image = vec![shape.channels(), shape.height(), shape.width()];
        let forms = match contract.head {
            Head::Bernoulli => vec![image.clone()],
            Head::Categorical => {
                let (k, c, h, w) = (shape.levels(), image[0], image[1], image[2]);
                let flat = (c == 1).then(|| vec![k, h, w]);
                flat.into_iter().chain([vec![k, c, h, w]]).collect()
            }
        };
        let found = signature::check(
            model,
            &Expected {
                name: &contract.input,
                element_type: ElementType::Float,
                forms: vec![image],
            },
            &[Expected {
                name: &contract.output,
                element_type: ElementType::Float,
                forms: forms.clone(),
            }],
        )?;
        let logits_form = forms[found[0]].clone();
        let kind = match (contract.head, logits_form.len()) {
            (Head::Bernoulli, _) => rewrite::Logits::Bernoulli,
            (Head::Categorical, 3) => rewrite::Logits::CategoricalFlat,
            (Head::Categorical, _) => rewrite::Logits::Categorical,
        };
        let score = rewrite::score(
            model,
            &contract.input,
            &contract.output,
            shape,
            contract.map,
            kind,
        )?;
        let logits = rewrite::take_levels(model, &contract.input, shape, contract.map)?;
        Ok(Self {
            score: engine.load(&format!("{name} (score)"), &graph::serialize(&score))?,
            logits: engine.load(&format!("{name} (logits)"), &graph::serialize(&logits))?,
            logits_form,
            contract,
        })
    }

    /// Size of the images.
    pub fn shape(&self) -> ImageShape {
        self.contract.shape
    }

    /// Likelihood head.
    pub fn head(&self) -> Head {
        self.contract.head
    }

    /// log p(xᵢ | x₍<ᵢ₎) of every dimension in nats, for images given as levels in channel, row, column order.
    pub fn log_probabilities(
        &self,
        images: &[&[u8]],
        threads: Threads,
    ) -> Result<Vec<Vec<f32>>, NetworkError> {
        let rows = images.len();
        let names: &[&str] = match self.contract.head {
            Head::Categorical => &[rewrite::CHOSEN, rewrite::TOTAL],
            Head::Bernoulli => &[rewrite::MARGIN],
        };
        let outputs = self.run(&*self.score, names, images, threads)?;
        let [_, c, h, w] = self.batch_shape(rows);
        for (name, output) in names.iter().zip(&outputs) {
            if output.values.len() != rows * c * h * w {
                expect_shape(name, output, &[rows, c, h, w])?;
            }
        }
        // Logarithms in double precision: the same for every batch, unlike those of the runtime's vectorised kernels.
        let values = |row| -> Vec<f32> {
            match self.contract.head {
                Head::Categorical => {
                    let (chosen, total) = (outputs[0].row(row, rows), outputs[1].row(row, rows));
                    chosen
                        .iter()
                        .zip(total)
                        .map(|(&chosen, &total)| (f64::from(chosen) - f64::from(total).ln()) as f32)
                        .collect()
                }
                Head::Bernoulli => outputs[0]
                    .row(row, rows)
                    .iter()
                    .map(|&margin| -likelihood::softplus(f64::from(margin)) as f32)
                    .collect(),
            }
        };
        Ok((0..rows).map(values).collect())
    }

    /// The logits of every dimension.
    pub fn logits(&self, images: &[&[u8]], threads: Threads) -> Result<Logits, NetworkError> {
        let mut outputs = self.run(&*self.logits, &[&self.contract.output], images, threads)?;
        let output = outputs.swap_remove(0);
        let expected: Vec<usize> = std::iter::once(images.len())
            .chain(self.logits_form.iter().copied())
            .collect();
        expect_shape(&self.contract.output, &output, &expected)?;
        Ok(Logits {
            shape: self.contract.shape,
            head: self.contract.head,
            rows: images.len(),
            output,
        })
    }

    fn run(
        &self,
        program: &dyn Program,
        outputs: &[&str],
        images: &[&[u8]],
        threads: Threads,
    ) -> Result<Vec<Output>, NetworkError> {
        let levels = images.concat();
        Ok(program.run(
            &Input {
                name: rewrite::LEVELS,
                shape: &self.batch_shape(images.len()),
                values: Values::Bytes(&levels),
            },
            outputs,
            threads,
        )?)
    }

    fn batch_shape(&self, rows: usize) -> [usize; 4] {
        let shape = self.contract.shape;
        [rows, shape.channels(), shape.height(), shape.width()]
    }
}

impl Logits {
    /// The logits of one dimension (storage index) of one image: one a level, or the single log-odds of a Bernoulli head.
    pub fn at(&self, row: usize, index: usize) -> impl ExactSizeIterator<Item = f32> + '_ {
        let dimensions = self.shape.dimensions();
        let values = self.row(row);
        let count = values.len() / dimensions;
        (0..count).map(move |level| values[level * dimensions + index])
    }

    /// All logits of one image: level by level, each in channel, row, column order.
    pub fn row(&self, row: usize) -> &[f32] {
        self.output.row(row, self.rows)
    }

    /// Draws the level of one dimension with the uniform number that belongs to it.
    pub fn draw(
        &self,
        row: usize,
        index: usize,
        temperature: f64,
        random: &Random,
        scratch: &mut Vec<f64>,
    ) -> u8 {
        let uniform = random.uniform(index as u32);
        match self.head {
            Head::Categorical => {
                sampling::categorical(self.at(row, index), temperature, uniform, scratch)
            }
            Head::Bernoulli => {
                let dimensions = self.shape.dimensions();
                let logit = self.output.values[row * dimensions + index];
                sampling::bernoulli(logit, temperature, uniform)
            }
        }
    }
}
