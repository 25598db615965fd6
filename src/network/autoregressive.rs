//! Autoregressive networks: one pass gives the distribution of every dimension given the dimensions before it.

use std::{fmt, sync::Arc};

use super::{NetworkError, expect_shape, wavefront::Wavefront};
use crate::{
    domain::{image::ImageShape, likelihood, random::Random, sampling},
    graph::{
        self,
        protobuf::{ElementType, Model},
        rewrite::{self, InputMap},
        signature::{self, Expected},
        wavefront::{Analysis, Interface},
    },
    runtime::{Engine, Input, Output, Program, RuntimeError, Threads, Values},
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
    /// The label that the distribution is conditioned on, if any.
    pub label: Option<LabelInput>,
}

/// The label input of a conditional model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelInput {
    /// Name in the graph: int64 [batch].
    pub input: String,
    /// Labels are 0 to `classes` − 1.
    pub classes: u32,
}

/// One image for a network.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// Levels in channel, row, column order.
    pub levels: &'a [u8],
    /// The label; ignored by models without one.
    pub label: u32,
}

impl<'a> From<&'a [u8]> for Given<'a> {
    fn from(levels: &'a [u8]) -> Self {
        Self { levels, label: 0 }
    }
}

/// An autoregressive network.
#[derive(Debug)]
pub struct Autoregressive {
    contract: Contract,
    score: Arc<dyn Program>,
    logits: Arc<dyn Program>,
    logits_form: Vec<usize>,
    compilation: Compilation,
    numerics: u64,
}

/// What the analysis of the graph came to.
#[derive(Debug)]
pub enum Compilation {
    /// It is causal, and images are drawn along wavefronts.
    Wavefront(Box<Wavefront>),
    /// It is causal, but has no program, for this reason; images are drawn by fixed-point iteration.
    Causal(String),
    /// It could not be analysed, for this reason; images are drawn by fixed-point iteration.
    Unknown(String),
}

/// Steps of a wavefront after which other work gets its turn.
pub const STEPS_IN_A_TURN: u64 = 4;

/// Of the hash FNV-1a, here over words of 32 bits.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
/// Likewise.
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// A compiled program may differ from the graph by this share of the largest logit: rounding in another order.
const PROGRAM_TOLERANCE: f32 = 1e-3;

impl fmt::Display for Compilation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wavefront(wavefront) => {
                let cost = wavefront.cost();
                write!(
                    f,
                    "along wavefronts: lag {}, {} steps, {:.3e} multiply-adds and {} kB of memory an image",
                    cost.lag,
                    cost.steps,
                    cost.multiply_adds as f64,
                    cost.bytes.div_ceil(1000)
                )
            }
            Self::Causal(reason) | Self::Unknown(reason) => {
                write!(f, "by fixed-point iteration over full passes: {reason}")
            }
        }
    }
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
        let mut inputs = vec![Expected {
            name: &contract.input,
            element_type: ElementType::Float,
            forms: vec![image],
        }];
        inputs.extend(contract.label.as_ref().map(|label| Expected {
            name: &label.input,
            element_type: ElementType::Int64,
            forms: vec![Vec::new()],
        }));
        let found = signature::check(
            model,
            &inputs,
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
        let compilation = compile(engine, name, model, &contract)?;
        Ok(Self {
            compilation,
            numerics: 0,
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

    /// The label that the distribution is conditioned on, if any.
    pub fn label(&self) -> Option<&LabelInput> {
        self.contract.label.as_ref()
    }

    /// What the analysis of the graph came to.
    pub fn compilation(&self) -> &Compilation {
        &self.compilation
    }

    /// Follows an image through the compiled program and compares its logits with those of a full pass. A program that does not
    /// reproduce them is given up, with the reason; the network itself is sound.
    pub fn verify_program(&mut self, golden: &[Given<'_>]) -> Result<(), NetworkError> {
        let (Compilation::Wavefront(wavefront), Some(given)) = (&self.compilation, golden.first())
        else {
            return Ok(());
        };
        let expected = self.logits(&[*given], Threads::All)?;
        let mut walk = wavefront.start(given.levels.to_vec(), given.label);
        let (mut difference, mut scale) = (0.0f32, 1.0f32);
        let mut numerics = FNV_OFFSET;
        wavefront.advance(
            &mut [&mut walk],
            wavefront.steps(),
            &mut |_, index, level, logits| {
                for (&actual, expected) in logits.iter().zip(expected.at(0, index)) {
                    // Infinite logits may agree; written so that NaN does not.
                    if actual != expected {
                        let own = (actual - expected).abs();
                        difference = if own <= difference { difference } else { own };
                    }
                    scale = scale.max(expected.abs());
                    numerics = (numerics ^ u64::from(actual.to_bits())).wrapping_mul(FNV_PRIME);
                }
                level
            },
        )?;
        wavefront.finish(walk);
        self.numerics = numerics;
        let reproduced = difference <= PROGRAM_TOLERANCE * scale;
        if !reproduced {
            self.compilation = Compilation::Causal(format!(
                "the compiled program differs from the graph by {difference:e}"
            ));
        }
        Ok(())
    }

    /// A number that says to the last bit how this runtime on this processor computes the program's logits of the first golden image;
    /// 0 without a program. Codes are only read where it is the same.
    pub fn numerics(&self) -> u64 {
        self.numerics
    }

    /// The first turn of drawing an image, for its time.
    pub fn draw_for_a_while(&self, given: Given<'_>) -> Result<(), NetworkError> {
        match &self.compilation {
            Compilation::Wavefront(wavefront) => {
                let mut walk = wavefront.start(given.levels.to_vec(), given.label);
                let keep = &mut |_: usize, _: usize, level: u8, _: &[f32]| level;
                wavefront.advance(&mut [&mut walk], STEPS_IN_A_TURN, keep)?;
                wavefront.finish(walk);
            }
            Compilation::Causal(_) | Compilation::Unknown(_) => {
                self.logits(&[given], Threads::One)?;
            }
        }
        Ok(())
    }

    /// log p(xᵢ | x₍<ᵢ₎) of every dimension in nats, in channel, row, column order.
    pub fn log_probabilities(
        &self,
        images: &[Given<'_>],
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
    pub fn logits(&self, images: &[Given<'_>], threads: Threads) -> Result<Logits, NetworkError> {
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
        images: &[Given<'_>],
        threads: Threads,
    ) -> Result<Vec<Output>, NetworkError> {
        let rows = images.len();
        let levels: Vec<u8> = images
            .iter()
            .flat_map(|image| image.levels)
            .copied()
            .collect();
        let labels: Vec<i64> = images.iter().map(|image| i64::from(image.label)).collect();
        let (shape, one_axis) = (self.batch_shape(rows), [rows]);
        let mut inputs = vec![Input {
            name: rewrite::LEVELS,
            shape: &shape,
            values: Values::Bytes(&levels),
        }];
        inputs.extend(self.contract.label.as_ref().map(|label| Input {
            name: &label.input,
            shape: &one_axis,
            values: Values::Ints(&labels),
        }));
        Ok(program.run(&inputs, outputs, threads)?)
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
        scratch: &mut Vec<f32>,
    ) -> u8 {
        let uniform = random.uniform(index as u32);
        self.head
            .draw(self.at(row, index), temperature, uniform, scratch)
    }
}

impl Head {
    /// Draws a level from the logits of one dimension. `scratch` is working space.
    ///
    /// # Panics
    /// If there are no logits.
    pub fn draw(
        self,
        mut logits: impl ExactSizeIterator<Item = f32>,
        temperature: f64,
        uniform: f64,
        scratch: &mut Vec<f32>,
    ) -> u8 {
        match self {
            Self::Categorical => sampling::categorical(logits, temperature, uniform, scratch),
            Self::Bernoulli => {
                let logit = logits.next().expect("a Bernoulli head has one logit");
                sampling::bernoulli(logit, temperature, uniform)
            }
        }
    }
}

/// Analyses the graph and compiles it if that is possible; fails only on a leak.
fn compile(
    engine: &dyn Engine,
    name: &str,
    model: &Model,
    contract: &Contract,
) -> Result<Compilation, NetworkError> {
    let simplified = rewrite::for_one(model)
        .map_err(|error| error.to_string())
        .and_then(|one| {
            let bytes = engine.simplify(name, &graph::serialize(&one));
            bytes.map_err(|error: RuntimeError| error.to_string())
        })
        .and_then(|bytes| graph::parse(&bytes).map_err(|error| error.to_string()));
    let simplified = match simplified {
        Ok(model) => model,
        Err(reason) => return Ok(Compilation::Unknown(reason)),
    };
    let interface = Interface {
        image: &contract.input,
        label: contract.label.as_ref().map(|label| label.input.as_str()),
        logits: &contract.output,
        shape: contract.shape,
        outcomes: match contract.head {
            Head::Categorical => contract.shape.levels(),
            Head::Bernoulli => 1,
        },
    };
    Ok(match graph::wavefront::analyse(&simplified, &interface)? {
        Analysis::Compiled(compiled) => {
            match Wavefront::load(engine, name, *compiled, contract.shape, contract.map) {
                Ok(wavefront) => Compilation::Wavefront(Box::new(wavefront)),
                Err(error) => Compilation::Causal(error.to_string()),
            }
        }
        Analysis::Causal(reason) => Compilation::Causal(reason.to_string()),
        Analysis::Unknown(reason) => Compilation::Unknown(reason.to_string()),
    })
}
