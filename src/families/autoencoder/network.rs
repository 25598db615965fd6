//! Autoencoders: a deterministic encoder from images to codes, a decoder from codes to images. There is no distribution
//! over either.

use crate::{
    families::{
        decoder::{self, Decoder, Head, Observation},
        image_graph::{ImageGraph, ImageInput},
        network::{NetworkError, expect_shape},
    },
    graph::{protobuf::Model, signature::Expected},
    runtime::{Engine, Threads},
};

/// What a manifest says about the two graphs.
#[derive(Debug, Clone)]
pub struct Contract {
    /// Size of the code.
    pub latent_size: usize,
    /// Image input of the encoder.
    pub image: ImageInput,
    /// Its output, the code.
    pub code: String,
    /// Input of the decoder, the code.
    pub decoder_input: String,
    /// Its output, an image in units of level / (levels − 1).
    pub picture: String,
}

/// An autoencoder.
#[derive(Debug)]
pub struct Network {
    contract: Contract,
    encoder: ImageGraph,
    decoder: Decoder,
}

impl Network {
    /// Checks the graphs against their contract and makes them runnable.
    pub fn load(
        engine: &dyn Engine,
        name: &str,
        encoder: Model,
        decoder: &Model,
        contract: Contract,
    ) -> Result<Self, NetworkError> {
        let shape = contract.image.shape;
        let code = [Expected::float(&contract.code, &[contract.latent_size])];
        let of_decoder = decoder::Contract {
            shape,
            latent_size: contract.latent_size,
            input: contract.decoder_input.clone(),
            label: None,
            head: Head::picture(shape, contract.picture.clone()),
        };
        Ok(Self {
            encoder: ImageGraph::load(engine, &format!("{name} (encoder)"), encoder, &contract.image, &code)?,
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
        let (rows, name) = (images.len(), &self.contract.code);
        let outputs = self.encoder.run(images, &[name], threads)?;
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
