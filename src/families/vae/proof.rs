//! What a VAE must prove.

use super::{
    super::{Network, Timings},
    Candidate, GOLDEN_SCORES, Gate, GateError, failed, time_of,
};
use crate::{
    domain::image::Image,
    network::vae::{Contract, Vae},
    runtime::Threads,
};

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
    let vae = Vae::load(
        candidate.engine,
        candidate.label,
        &first,
        &second,
        contract.clone(),
    )
    .map_err(failed)?;
    gate.contract_kept();
    let posteriors = vae.encode(&golden, Threads::All).map_err(failed)?;
    let codes: Vec<f32> = posteriors.iter().flat_map(|p| p.mean.clone()).collect();
    let observations = vae.decode(&codes, Threads::All).map_err(failed)?;
    let scores: Vec<f64> = posteriors
        .iter()
        .zip(&observations)
        .zip(&golden)
        .map(|((posterior, observation), levels)| posterior.elbo_at_mean(observation, levels))
        .collect();
    gate.passed(
        "normalisation",
        "the discretised logistic likelihood sums to 1 by construction".to_owned(),
    );
    let tolerance = candidate.manifest.golden.tolerance;
    gate.golden(GOLDEN_SCORES, tolerance, &expected, &scores)?;
    let code = &codes[..vae.latent_size()];
    let timings = Timings {
        forward: time_of(|| vae.encode(&golden[..1], Threads::One).map(drop)).map_err(failed)?,
        backward: time_of(|| vae.decode(code, Threads::One).map(drop)).map_err(failed)?,
    };
    Ok((Network::Vae(vae.into()), timings))
}
