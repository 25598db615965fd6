//! What an autoregressive model must prove: that it is causal, and that its scores are its own normalised predictions.

use super::{
    super::{Network, Timings},
    Candidate, GOLDEN_SCORES, Gate, GateError, causality, failed, time_of,
};
use crate::{
    domain::{image::Image, likelihood},
    network::autoregressive::{Autoregressive, Compilation, Contract, Given, Head},
    runtime::Threads,
};

pub(super) fn load(
    gate: &mut Gate<'_>,
    candidate: &Candidate<'_>,
    file: &str,
    contract: &Contract,
) -> Result<(Network, Timings), GateError> {
    let manifest = candidate.manifest;
    let labels = contract.label.as_ref().map(|label| label.classes);
    let (images, expected) = gate.golden_scores(manifest, labels.map(|count| count as usize))?;
    let golden = given(&images, labels.unwrap_or(1));
    let model = gate.graph(file)?;
    let network = Autoregressive::load(candidate.engine, candidate.label, &model, contract.clone())
        .and_then(|mut network| {
            network.verify_program(&golden)?;
            Ok(network)
        })
        .map_err(|cause| failed(file, cause))?;
    gate.contract_kept();
    let finding = match network.compilation() {
        Compilation::Wavefront(_) | Compilation::Causal(_) => {
            "no prediction can see its own or a later dimension: proven from the graph".to_owned()
        }
        Compilation::Unknown(_) => causality::probe(&network, &golden, file)?,
    };
    gate.passed("causality", finding);
    gate.passed("sampling", network.compilation().to_string());
    let scores = normalised_scores(&network, &golden, file)?;
    gate.passed(
        "normalisation",
        "scores are the log-softmax of the logits".to_owned(),
    );
    gate.golden(GOLDEN_SCORES, manifest.golden.tolerance, &expected, &scores)?;
    let failed = |cause| failed(file, cause);
    let forward = || {
        network
            .log_probabilities(&golden[..1], Threads::One)
            .map(drop)
    };
    let timings = Timings {
        forward: time_of(forward).map_err(failed)?,
        backward: time_of(|| network.draw_for_a_while(golden[0])).map_err(failed)?,
    };
    Ok((Network::Autoregressive(network.into()), timings))
}

/// Log-likelihoods in nats by the scoring graph, once they agree with the logits.
fn normalised_scores(
    network: &Autoregressive,
    golden: &[Given<'_>],
    file: &str,
) -> Result<Vec<f64>, GateError> {
    let failed = |cause| failed(file, cause);
    let maps = network
        .log_probabilities(golden, Threads::All)
        .map_err(failed)?;
    let scores: Vec<f64> = maps.iter().map(|map| likelihood::total(map)).collect();
    let logits = network.logits(golden, Threads::All).map_err(failed)?;
    for (image, (&score, given)) in scores.iter().zip(golden).enumerate() {
        let levels = given.levels;
        let reference: f64 = (0..levels.len())
            .map(|index| {
                let logits: Vec<f64> = logits.at(image, index).map(f64::from).collect();
                log_probability(network.head(), &logits, levels[index])
            })
            .sum();
        // −∞ on both sides is agreement too.
        let agree =
            score == reference || (score - reference).abs() <= 1e-3 + 1e-5 * reference.abs();
        if !agree {
            return Err(GateError::Inconsistent {
                file: file.to_owned(),
                image,
                score,
                logits: reference,
            });
        }
    }
    Ok(scores)
}

/// Golden images, each with every label.
fn given(images: &[Image], labels: u32) -> Vec<Given<'_>> {
    images
        .iter()
        .flat_map(|image| {
            (0..labels).map(|label| Given {
                levels: image.levels(),
                label,
            })
        })
        .collect()
}

fn log_probability(head: Head, logits: &[f64], level: u8) -> f64 {
    match head {
        Head::Categorical => logits[usize::from(level)] - likelihood::log_sum_exp(logits),
        Head::Bernoulli => {
            let both = [0.0, logits[0]];
            both[usize::from(level)] - likelihood::log_sum_exp(&both)
        }
    }
}
