//! What an autoencoder must prove.

use super::{
    super::{Network, Timings},
    Candidate, Gate, GateError, failed, time_of,
};
use crate::{
    domain::image::Image,
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
    let (first, second) = (gate.graph(encoder)?, gate.graph(decoder)?);
    let network = Autoencoder::load(
        candidate.engine,
        candidate.label,
        &first,
        &second,
        contract.clone(),
    )
    .map_err(failed)?;
    gate.contract_kept();
    let codes = network
        .encode(&golden, Threads::All)
        .map_err(failed)?
        .concat();
    let pictures = network.decode(&codes, Threads::All).map_err(failed)?;
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
