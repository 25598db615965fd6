//! What a VAE must prove.

use super::{
    super::{Network, Timings},
    Candidate, GOLDEN_SCORES, Gate, GateError, company, failed, time_of, units,
};
use crate::{
    domain::image::Image,
    graph::weights,
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
    let (declared, levels) = (candidate.manifest.declared, contract.shape.levels());
    let to_log_variance = declared.to_log_variance();
    let first = gate.graph(
        encoder,
        &[(&contract.encoder.log_variance, to_log_variance)],
    )?;
    let second = gate.graph(
        decoder,
        &[
            (&contract.decoder.mean, &declared.to_pictures(levels)),
            (&contract.decoder.log_scale, &declared.to_log_scale(levels)),
        ],
    )?;
    let factor = weights::input_factor(&first, &contract.encoder.input);
    gate.suspect(encoder, units::input(contract.map.scale, factor, levels));
    let vae = Vae::load(
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
        let posteriors = vae.encode(&images, Threads::All)?;
        Ok(posteriors
            .iter()
            .map(|p| [&p.mean[..], &p.log_variance].concat())
            .collect())
    })?;
    let strange = company::codes(contract.latent_size, &gate.probe(decoder, 0));
    gate.keeps_apart(decoder, &mut |items| {
        let codes: Vec<f32> = items
            .iter()
            .flat_map(|&item| strange[item].clone())
            .collect();
        let observations = vae.decode(&codes, Threads::All)?;
        Ok(observations
            .iter()
            .map(|o| [o.mean(), o.log_scale()].concat())
            .collect())
    })?;
    let posteriors = vae.encode(&golden, Threads::All).map_err(failed)?;
    let codes: Vec<f32> = posteriors.iter().flat_map(|p| p.mean.clone()).collect();
    let observations = vae.decode(&codes, Threads::All).map_err(failed)?;
    let log_variances: Vec<f32> = posteriors
        .iter()
        .flat_map(|p| p.log_variance.clone())
        .collect();
    let means: Vec<f32> = observations
        .iter()
        .flat_map(|o| o.mean())
        .copied()
        .collect();
    let log_scales: Vec<f32> = observations
        .iter()
        .flat_map(|o| o.log_scale())
        .copied()
        .collect();
    gate.suspect(encoder, units::posterior(&codes, &log_variances));
    gate.suspect(decoder, units::pictures(&means, true));
    gate.suspect(decoder, units::log_scale(&log_scales));
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
