//! What an autoencoder must prove.

use super::{
    super::{Network, Timings},
    Candidate, Gate, GateError, company, failed, time_of, units,
};
use crate::{
    domain::image::Image,
    graph::weights,
    network::autoencoder::{Autoencoder, Contract},
    runtime::Threads,
};

/// Golden numbers of autoencoders: Σ (reconstruction − image)² in units of level / (levels − 1).
const GOLDEN: (&str, &str) = ("golden squared errors", "");

pub(super) fn load(
    gate: &mut Gate<'_>,
    candidate: &Candidate<'_>,
    (encoder, decoder): (&str, &str),
    contract: &Contract,
) -> Result<(Network, Timings), GateError> {
    let (images, expected) = gate.golden_scores(candidate.manifest, None)?;
    let golden: Vec<&[u8]> = images.iter().map(Image::levels).collect();
    let files = format!("{encoder}, {decoder}");
    let failed = |cause| failed(&files, cause);
    let (declared, levels) = (candidate.manifest.declared, contract.shape.levels());
    let to_pictures = declared.to_pictures(levels);
    let first = gate.graph(encoder, &[])?;
    let second = gate.graph(decoder, &[(&contract.decoder.output, &to_pictures)])?;
    let factor = weights::input_factor(&first, &contract.encoder.input);
    gate.suspect(encoder, units::input(contract.map.scale, factor, levels));
    let network = Autoencoder::load(
        candidate.engine,
        candidate.label,
        &first,
        &second,
        contract.clone(),
    )
    .map_err(failed)?;
    gate.contract_kept();
    let strange = company::images(contract.shape.dimensions(), levels, &gate.probe(encoder, 0));
    gate.keeps_apart(encoder, &mut |items| {
        let images: Vec<&[u8]> = items.iter().map(|&item| &strange[item][..]).collect();
        network.encode(&images, Threads::All)
    })?;
    let strange = company::codes(contract.latent_size, &gate.probe(decoder, 0));
    gate.keeps_apart(decoder, &mut |items| {
        let codes: Vec<f32> = items
            .iter()
            .flat_map(|&item| strange[item].clone())
            .collect();
        let pictures = network.decode(&codes, Threads::All)?;
        Ok(pictures
            .iter()
            .map(|picture| picture.values().to_vec())
            .collect())
    })?;
    let codes = network
        .encode(&golden, Threads::All)
        .map_err(failed)?
        .concat();
    let pictures = network.decode(&codes, Threads::All).map_err(failed)?;
    let values: Vec<f32> = pictures.iter().flat_map(|p| p.values()).copied().collect();
    gate.suspect(decoder, units::pictures(&values, false));
    let errors: Vec<f64> = pictures
        .iter()
        .zip(&golden)
        .map(|(picture, levels)| picture.squared_errors(levels).sum())
        .collect();
    let tolerance = candidate.manifest.golden.tolerance;
    gate.golden(GOLDEN, tolerance, &expected, &errors)?;
    let code = &codes[..network.latent_size()];
    let timings = Timings {
        forward: time_of(|| network.encode(&golden[..1], Threads::One).map(drop))
            .map_err(failed)?,
        backward: time_of(|| network.decode(code, Threads::One).map(drop)).map_err(failed)?,
    };
    Ok((Network::Autoencoder(network.into()), timings))
}
