//! Autoencoders: a deterministic encoder from images to codes, a decoder from codes to images. There is no distribution
//! over either.

use std::sync::Arc;

use crate::families::{
    decoder::{self, Decoder, Head, Observation},
    network::{NetworkError, batch_shape, expect_shape, levels_input, load},
};
use crate::{
    domain::image::ImageShape,
    graph::{
        protobuf::{ElementType, Model},
        rewrite::{self, InputMap},
        signature::{self, Expected},
    },
    runtime::{Engine, Program, Threads},
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
    /// Names in the encoder: image → code.
    pub encoder: Names,
    /// Names in the decoder: code → image, in units of level / (levels − 1).
    pub decoder: Names,
}

/// Names of a graph's input and output.
#[derive(Debug, Clone)]
pub struct Names {
    /// Input.
    pub input: String,
    /// Output.
    pub output: String,
}

/// An autoencoder.
#[derive(Debug)]
pub struct Network {
    contract: Contract,
    encoder: Arc<dyn Program>,
    decoder: Decoder,
}

impl Network {
    /// Checks the graphs against their contract and makes them runnable.
    pub fn load(
        engine: &dyn Engine,
        name: &str,
        encoder: &Model,
        decoder: &Model,
        contract: Contract,
    ) -> Result<Self, NetworkError> {
        let shape = contract.shape;
        let image = [shape.channels(), shape.height(), shape.width()];
        let code = [contract.latent_size];
        let expected = |name, form: &[usize]| Expected {
            name,
            element_type: ElementType::Float,
            forms: vec![form.to_vec()],
        };
        let input = expected(&contract.encoder.input, &image);
        signature::check(encoder, &[input], &[expected(&contract.encoder.output, &code)])?;
        let encoder = rewrite::take_levels(encoder, &contract.encoder.input, shape, contract.map)?;
        let of_decoder = decoder::Contract {
            shape,
            latent_size: contract.latent_size,
            input: contract.decoder.input.clone(),
            label: None,
            head: Head::picture(shape, contract.decoder.output.clone()),
        };
        Ok(Self {
            encoder: load(engine, &format!("{name} (encoder)"), encoder)?,
            decoder: Decoder::load(engine, &format!("{name} (decoder)"), decoder, of_decoder)?,
            contract,
        })
    }

    /// Size of the code.
    pub fn latent_size(&self) -> usize {
        self.contract.latent_size
    }

    /// The codes of images given as levels in channel, row, column order.
    pub fn encode(&self, images: &[&[u8]], threads: Threads) -> Result<Vec<Vec<f32>>, NetworkError> {
        let (rows, name) = (images.len(), &self.contract.encoder.output);
        let levels = images.concat();
        let shape = batch_shape(self.contract.shape, rows);
        let outputs = self.encoder.run(&[levels_input(&levels, &shape)], &[name], threads)?;
        expect_shape(name, &outputs[0], &[rows, self.contract.latent_size])?;
        Ok((0..rows).map(|row| outputs[0].row(row, rows).to_vec()).collect())
    }

    /// The decoder.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The images of codes, which follow one another in `codes`.
    pub fn decode(&self, codes: &[f32], threads: Threads) -> Result<Vec<Observation>, NetworkError> {
        self.decoder.decode_codes(codes, threads)
    }
}
