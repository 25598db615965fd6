//! Encoders of variational autoencoders: from images to posteriors over codes.

use crate::{
    domain::{likelihood, random::Random},
    families::{
        decoder::Observation,
        image_graph::{ImageGraph, ImageInput},
        network::{NetworkError, expect_shape},
    },
    graph::{protobuf::Model, signature::Expected},
    runtime::{Engine, Threads},
};

/// What a manifest says about the graph.
#[derive(Debug, Clone)]
pub struct Contract {
    /// Image input.
    pub input: ImageInput,
    /// Size of the code.
    pub latent_size: usize,
    /// Posterior mean.
    pub mean: String,
    /// Logarithm of the posterior variance.
    pub log_variance: String,
}

/// An encoder.
#[derive(Debug)]
pub struct Encoder {
    contract: Contract,
    graph: ImageGraph,
}

/// q(z | x) = N(μ, diag σ²).
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    /// μ, of the size of the code.
    pub mean: Vec<f32>,
    /// log σ², of the same size.
    pub log_variance: Vec<f32>,
}

impl Encoder {
    /// Checks the graph against its contract and makes it runnable.
    pub fn load(engine: &dyn Engine, name: &str, model: Model, contract: Contract) -> Result<Self, NetworkError> {
        let code = [contract.latent_size];
        let outputs = [&contract.mean, &contract.log_variance].map(|name| Expected::float(name, &code));
        Ok(Self {
            graph: ImageGraph::load(engine, name, model, &contract.input, &outputs)?,
            contract,
        })
    }

    /// Size of the code.
    pub fn latent_size(&self) -> usize {
        self.contract.latent_size
    }

    /// The posteriors of images given as levels in channel, row, column order.
    pub fn encode(&self, images: &[&[u8]], threads: Threads) -> Result<Vec<Posterior>, NetworkError> {
        let (contract, rows) = (&self.contract, images.len());
        let outputs = [&*contract.mean, &contract.log_variance];
        let outputs = self.graph.run(images, &outputs, threads)?;
        let code = [rows, contract.latent_size];
        expect_shape(&contract.mean, &outputs[0], &code)?;
        expect_shape(&contract.log_variance, &outputs[1], &code)?;
        Ok((0..rows)
            .map(|row| Posterior {
                mean: outputs[0].row(row, rows).to_vec(),
                log_variance: outputs[1].row(row, rows).to_vec(),
            })
            .collect())
    }
}

impl Posterior {
    /// KL(q(z | x) ‖ p(z)) in nats.
    pub fn kl(&self) -> f64 {
        likelihood::kl_to_standard_normal(&self.mean, &self.log_variance)
    }

    /// log p(x | z = μ) − KL(q(z | x) ‖ p(z)) in nats, where `observation` is what the posterior mean decodes to; none
    /// without a likelihood.
    pub fn elbo_at_mean(&self, observation: &Observation, levels: &[u8]) -> Option<f64> {
        Some(observation.log_likelihood(levels)? - self.kl())
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
