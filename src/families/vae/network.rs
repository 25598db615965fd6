//! Variational autoencoders: an encoder from images to posteriors over codes, a decoder from codes to distributions
//! over images.

use std::sync::Arc;

use crate::families::{
    codes::{finite, image_of},
    network::{NetworkError, batch_shape, expect_shape, levels_input},
};
use crate::{
    domain::{
        image::{Image, ImageShape},
        likelihood,
        random::Random,
        sampling,
    },
    graph::{
        self,
        protobuf::ElementType,
        rewrite::{self, InputMap},
        signature::{self, Expected},
    },
    model::Refusal,
    runtime::{Engine, Input, Output, Program, Threads, Values},
};

/// What a manifest says about the two graphs.
#[derive(Debug, Clone)]
pub struct Contract {
    /// Size of the images.
    pub shape: ImageShape,
    /// Size of the code.
    pub latent_size: usize,
    /// From level to graph value.
    pub map: InputMap,
    /// Names in the encoder.
    pub encoder: EncoderNames,
    /// Names in the decoder.
    pub decoder: DecoderNames,
}

/// Names of the encoder's input and outputs.
#[derive(Debug, Clone)]
pub struct EncoderNames {
    /// Image input.
    pub input: String,
    /// Posterior mean.
    pub mean: String,
    /// Logarithm of the posterior variance.
    pub log_variance: String,
}

/// Names of the decoder's input and outputs.
#[derive(Debug, Clone)]
pub struct DecoderNames {
    /// Code.
    pub input: String,
    /// Mean of each dimension, in units of level / (levels − 1).
    pub mean: String,
    /// Logarithm of the scale, in the same units.
    pub log_scale: String,
}

/// A VAE with a discretised logistic likelihood.
#[derive(Debug)]
pub struct Network {
    contract: Contract,
    encoder: Arc<dyn Program>,
    decoder: Arc<dyn Program>,
}

/// q(z | x) = N(μ, diag σ²).
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    /// μ, of the size of the code.
    pub mean: Vec<f32>,
    /// log σ², of the same size.
    pub log_variance: Vec<f32>,
}

/// p(x | z): independent discretised logistic distributions.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    shape: ImageShape,
    mean: Vec<f32>,
    log_scale: Vec<f32>,
}

impl Network {
    /// Checks the graphs against their contract and makes them runnable.
    pub fn load(
        engine: &dyn Engine,
        name: &str,
        encoder: &graph::protobuf::Model,
        decoder: &graph::protobuf::Model,
        contract: Contract,
    ) -> Result<Self, NetworkError> {
        let shape = contract.shape;
        let image = vec![shape.channels(), shape.height(), shape.width()];
        let expected = |name, form: &[usize]| Expected {
            name,
            element_type: ElementType::Float,
            forms: vec![form.to_vec()],
        };
        let code = [contract.latent_size];
        signature::check(
            encoder,
            &[expected(&contract.encoder.input, &image)],
            &[
                expected(&contract.encoder.mean, &code),
                expected(&contract.encoder.log_variance, &code),
            ],
        )?;
        signature::check(
            decoder,
            &[expected(&contract.decoder.input, &code)],
            &[
                expected(&contract.decoder.mean, &image),
                expected(&contract.decoder.log_scale, &image),
            ],
        )?;
        let encoder = rewrite::take_levels(encoder, &contract.encoder.input, shape, contract.map)?;
        Ok(Self {
            encoder: engine.load(&format!("{name} (encoder)"), &graph::serialize(&encoder))?,
            decoder: engine.load(&format!("{name} (decoder)"), &graph::serialize(decoder))?,
            contract,
        })
    }

    /// Size of the code.
    pub fn latent_size(&self) -> usize {
        self.contract.latent_size
    }

    /// The posteriors of images given as levels in channel, row, column order.
    pub fn encode(&self, images: &[&[u8]], threads: Threads) -> Result<Vec<Posterior>, NetworkError> {
        let rows = images.len();
        let shape = batch_shape(self.contract.shape, rows);
        let levels = images.concat();
        let names = &self.contract.encoder;
        let outputs = self.encoder.run(
            &[levels_input(&levels, &shape)],
            &[&names.mean, &names.log_variance],
            threads,
        )?;
        let code = [rows, self.contract.latent_size];
        expect_shape(&names.mean, &outputs[0], &code)?;
        expect_shape(&names.log_variance, &outputs[1], &code)?;
        Ok((0..rows)
            .map(|row| Posterior {
                mean: outputs[0].row(row, rows).to_vec(),
                log_variance: outputs[1].row(row, rows).to_vec(),
            })
            .collect())
    }

    /// The distributions over images of codes given one after the other.
    ///
    /// # Panics
    /// If `codes` is not a whole number of codes.
    pub fn decode(&self, codes: &[f32], threads: Threads) -> Result<Vec<Observation>, NetworkError> {
        let size = self.contract.latent_size;
        assert_eq!(codes.len() % size, 0, "a whole number of codes");
        let (shape, rows) = (self.contract.shape, codes.len() / size);
        let names = &self.contract.decoder;
        let outputs = self.decoder.run(
            &[Input {
                name: &names.input,
                shape: &[rows, size],
                values: Values::Floats(codes),
            }],
            &[&names.mean, &names.log_scale],
            threads,
        )?;
        let image = [rows, shape.channels(), shape.height(), shape.width()];
        expect_shape(&names.mean, &outputs[0], &image)?;
        expect_shape(&names.log_scale, &outputs[1], &image)?;
        let row = |output: &Output, row| output.row(row, rows).to_vec();
        Ok((0..rows)
            .map(|index| Observation {
                shape,
                mean: row(&outputs[0], index),
                log_scale: row(&outputs[1], index),
            })
            .collect())
    }
}

impl Posterior {
    /// KL(q(z | x) ‖ p(z)) in nats.
    pub fn kl(&self) -> f64 {
        likelihood::kl_to_standard_normal(&self.mean, &self.log_variance)
    }

    /// log p(x | z = μ) − KL(q(z | x) ‖ p(z)) in nats, where `observation` is what the posterior mean decodes to.
    pub fn elbo_at_mean(&self, observation: &Observation, levels: &[u8]) -> f64 {
        observation.log_probabilities(levels).sum::<f64>() - self.kl()
    }

    /// A draw z = μ + σε and its log p(z) − log q(z | x). Dimension i of sample k uses number k · L + i.
    pub fn draw(&self, sample: usize, random: &Random) -> (Vec<f32>, f64) {
        let size = self.mean.len();
        let noise: Vec<f64> = (0..size).map(|i| random.normal((sample * size + i) as u32)).collect();
        let code: Vec<f32> = noise
            .iter()
            .zip(self.mean.iter().zip(&self.log_variance))
            .map(|(e, (&m, &v))| (f64::from(m) + (0.5 * f64::from(v)).exp() * e) as f32)
            .collect();
        let log_ratio = likelihood::log_prior_over_posterior(&noise, &self.log_variance, &code);
        (code, log_ratio)
    }
}

impl Observation {
    /// The mean of every dimension, in units of level / (levels − 1).
    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// The logarithm of every dimension's scale, in the same units.
    pub fn log_scale(&self) -> &[f32] {
        &self.log_scale
    }

    /// log p(xᵢ | z) of every dimension in nats.
    pub fn log_probabilities<'a>(&'a self, levels: &'a [u8]) -> impl Iterator<Item = f64> + 'a {
        levels
            .iter()
            .zip(self.mean.iter().zip(&self.log_scale))
            .map(|(&level, (&mean, &log_scale))| {
                likelihood::discretized_logistic(level, self.shape.levels(), mean, log_scale)
            })
    }

    /// The mean of the distribution, rounded to levels, if it is a number everywhere.
    pub fn mean_image(&self) -> Result<Image, Refusal> {
        let mean = finite("the mean of a pixel", &self.mean)?.iter();
        image_of(
            self.shape,
            mean.map(|&mean| sampling::nearest_level(f64::from(mean), self.shape.levels())),
        )
    }

    /// The best log-likelihood in nats that each level could have had, had the decoder put its mean where it is best
    /// for that level and kept its scale: on the level itself, or beyond the edge for the outermost levels, which is
    /// certainty.
    pub fn attainable<'a>(&'a self, levels: &'a [u8]) -> impl Iterator<Item = f64> + 'a {
        let max = self.shape.levels() - 1;
        levels.iter().zip(&self.log_scale).map(move |(&level, &log_scale)| {
            if level == 0 || usize::from(level) == max {
                return 0.0;
            }
            let mean = f32::from(level) / max as f32;
            likelihood::discretized_logistic(level, self.shape.levels(), mean, log_scale)
        })
    }

    /// A draw from the distribution, if there is one at every dimension.
    pub fn draw(&self, temperature: f64, random: &Random) -> Result<Image, Refusal> {
        let mean = finite("the mean of a pixel", &self.mean)?.iter();
        let both = mean.zip(finite("the scale of a pixel", &self.log_scale)?);
        image_of(
            self.shape,
            both.enumerate().map(|(index, (&mean, &log_scale))| {
                let uniform = random.uniform(index as u32);
                sampling::discretized_logistic(mean, log_scale, self.shape.levels(), temperature, uniform)
            }),
        )
    }

    /// The squared difference of the mean to an image at every dimension, in units of level / (levels − 1). A mean
    /// beyond the edge, which a likelihood with open edges asks for where it is certain of an outermost level, counts
    /// as that level: the image has no other.
    pub fn squared_errors<'a>(&'a self, levels: &'a [u8]) -> impl Iterator<Item = f64> + 'a {
        let max = (self.shape.levels() - 1) as f64;
        levels
            .iter()
            .zip(&self.mean)
            .map(move |(&level, &mean)| (f64::from(level) / max - f64::from(mean).clamp(0.0, 1.0)).powi(2))
    }
}
