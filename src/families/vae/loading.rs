//! The graphs of a VAE at the load gate: each part is read, tried and looked at by itself.

use std::{sync::Arc, time::Duration};

use super::{
    manifest::{DecoderFile, EncoderFile},
    network::{Encoder, Posterior},
    parts::{DecoderPart, EncoderPart},
    work::Decode,
};
use crate::{
    domain::{
        image::Image,
        random::{Random, Stream},
    },
    families::{
        Gate, GateError,
        decoder::{Decoder, Observation, Seed},
        gate::{failed, time_of, units},
    },
    graph::convert::Step,
    runtime::Threads,
    scheduling::Class,
};

impl EncoderFile {
    /// The encoder, in the server's units.
    pub(super) fn load(&self, gate: &mut Gate<'_>) -> Result<Encoder, GateError> {
        let contract = &self.contract;
        let to_log_variance = gate.declared().to_log_variance();
        let outputs: [(&str, &[Step]); 2] = [(&contract.mean, &[]), (&contract.log_variance, to_log_variance)];
        let graph = gate.graph(&self.file, &outputs)?;
        gate.suspect(&self.file, contract.input.suspicion(&graph));
        let name = format!("{} (encoder)", gate.label());
        Encoder::load(&*gate.engine(), &name, graph, contract.clone()).map_err(|cause| failed(&self.file, cause))
    }

    /// Tries that no posterior depends on those that share its run, and asks what the posteriors of golden images look
    /// like. Answers these.
    pub(super) fn try_on(
        &self,
        gate: &mut Gate<'_>,
        encoder: &Encoder,
        golden: &[&[u8]],
    ) -> Result<Vec<Posterior>, GateError> {
        gate.keeps_images_apart(&self.file, |images| {
            let posteriors = encoder.encode(images, Threads::All)?;
            Ok(posteriors
                .into_iter()
                .map(|p| vec![[p.mean, p.log_variance].concat()])
                .collect())
        })?;
        let posteriors = encoder
            .encode(golden, Threads::All)
            .map_err(|cause| failed(&self.file, cause))?;
        let means: Vec<f32> = posteriors.iter().flat_map(|p| p.mean.clone()).collect();
        let spreads: Vec<f32> = posteriors.iter().flat_map(|p| p.log_variance.clone()).collect();
        gate.suspect(&self.file, units::posterior(&means, &spreads));
        if posteriors.len() > 1 {
            gate.passed("latent", active_units(&posteriors));
        }
        Ok(posteriors)
    }

    /// Time of one image.
    pub(super) fn time(&self, encoder: &Encoder, image: &[u8]) -> Result<Duration, GateError> {
        time_of(|| encoder.encode(&[image], Threads::One).map(drop)).map_err(|cause| failed(&self.file, cause))
    }

    /// The encoder with its queue.
    pub(super) fn serve(gate: &Gate<'_>, encoder: Arc<Encoder>, time: Duration) -> Arc<EncoderPart> {
        let (resources, name) = (gate.resources(), &gate.manifest().name);
        Arc::new(EncoderPart {
            latent_size: encoder.latent_size(),
            queue: resources.batches(name, "encode", time, move |images: &[Image], threads| {
                encoder
                    .encode(&Image::levels_of(images), threads)
                    .map_err(|error| error.to_string())
            }),
        })
    }
}

impl DecoderFile {
    /// The decoder, in the server's units.
    pub(super) fn load(&self, gate: &mut Gate<'_>) -> Result<Decoder, GateError> {
        let contract = &self.contract;
        let conversions = contract.head.conversions(gate.declared());
        let conversions: Vec<(&str, &[Step])> = conversions.iter().map(|(name, steps)| (*name, &steps[..])).collect();
        let graph = gate.graph(&self.file, &conversions)?;
        let name = format!("{} (decoder)", gate.label());
        Decoder::load(&*gate.engine(), &name, &graph, contract.clone()).map_err(|cause| failed(&self.file, cause))
    }

    /// Tries that nothing depends on the codes that share a run, and asks what the numbers of golden codes look like.
    /// Answers these.
    pub(super) fn try_on(
        &self,
        gate: &mut Gate<'_>,
        decoder: &Decoder,
        golden: &[Seed],
    ) -> Result<Vec<Observation>, GateError> {
        decoder.keeps_apart(gate, &self.file)?;
        let observations = decoder
            .decode(golden, Threads::All)
            .map_err(|cause| failed(&self.file, cause))?;
        for looks in decoder.head().suspicions(&observations) {
            gate.suspect(&self.file, Some(looks));
        }
        gate.passed("normalisation", self.contract.head.normalisation().to_owned());
        Ok(observations)
    }

    /// Time of one code.
    pub(super) fn time(&self, decoder: &Decoder, seed: &Seed) -> Result<Duration, GateError> {
        let seed = std::slice::from_ref(seed);
        time_of(|| decoder.decode(seed, Threads::One).map(drop)).map_err(|cause| failed(&self.file, cause))
    }

    /// The decoder with its queue.
    pub(super) fn serve(&self, gate: &Gate<'_>, decoder: Arc<Decoder>, time: Duration) -> Arc<DecoderPart> {
        let (resources, name) = (gate.resources(), &gate.manifest().name);
        Arc::new(DecoderPart {
            queue: resources.lane(name, "decode", Class::Interactive, Decode(decoder), time),
            latent_size: self.contract.latent_size,
            is_conditional: self.contract.label.is_some(),
            has_likelihood: self.contract.head.no_likelihood().is_none(),
        })
    }
}

/// Images that are drawn to look at their posteriors.
const DRAWN: usize = 64;
/// So many at once.
const COMPANY: usize = 16;

/// Asks what log-variances are if the codes of images that the decoder draws lie too near to the means that the encoder
/// gives of them: of its own draws a model knows the codes.
pub(super) fn look_at_widths(
    gate: &mut Gate<'_>,
    (encoder_file, encoder): (&str, &Encoder),
    (decoder_file, decoder): (&str, &Decoder),
) -> Result<(), GateError> {
    let is_weighted = gate.manifest().provenance.beta.is_some_and(|beta| beta > 1.0);
    if is_weighted || decoder.head().no_likelihood().is_some() {
        return Ok(());
    }
    let (size, seed) = (encoder.latent_size(), gate.seed(encoder_file));
    let random = Random::new(seed, Stream::Probe, 1);
    let code = |draw: usize| -> Vec<f32> {
        let numbers = (0..size).map(|unit| random.normal((draw * size + unit) as u32));
        numbers.map(|number| number as f32).collect()
    };
    let codes: Vec<Vec<f32>> = (0..DRAWN).map(code).collect();
    let mut posteriors = Vec::with_capacity(DRAWN);
    for (round, codes) in codes.chunks(COMPANY).enumerate() {
        let observations = decoder
            .decode_codes(&codes.concat(), Threads::All)
            .map_err(|cause| failed(decoder_file, cause))?;
        let draw = |(at, observation): (usize, &Observation)| {
            let number = 2 + round * COMPANY + at;
            observation.draw(1.0, &Random::new(seed, Stream::Probe, number as u64))
        };
        // What is no number is found elsewhere.
        let Ok(images) = observations.iter().enumerate().map(draw).collect::<Result<Vec<_>, _>>() else {
            return Ok(());
        };
        let own = encoder.encode(&Image::levels_of(&images), Threads::All);
        posteriors.extend(own.map_err(|cause| failed(encoder_file, cause))?);
    }
    let both = posteriors.iter().map(|own| (&own.mean[..], &own.log_variance[..]));
    gate.suspect(encoder_file, units::width(&codes, both));
    Ok(())
}

/// Units of the code that tell images apart (Burda, Grosse and Salakhutdinov 2016): those whose posterior means vary.
fn active_units(posteriors: &[Posterior]) -> String {
    const ACTIVE: f64 = 0.01;
    let (count, size) = (posteriors.len() as f64, posteriors[0].mean.len());
    let is_active = |unit: &usize| {
        let values = || posteriors.iter().map(|posterior| f64::from(posterior.mean[*unit]));
        let mean = values().sum::<f64>() / count;
        values().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0) > ACTIVE
    };
    let active = (0..size).filter(is_active).count();
    let collapsed = if active == 0 {
        "; the posterior has collapsed onto the prior"
    } else {
        ""
    };
    format!(
        "{active} of {size} units are active over {count} golden images: their means have a variance above \
         {ACTIVE}{collapsed}"
    )
}
