//! What an autoregressive model must prove: that it is causal, and that its scores are its own normalised predictions.

use super::{
    super::{Network, Timings},
    Candidate, GOLDEN_SCORES, Gate, GateError, causality, failed, time_of,
};
use crate::{
    domain::{image::Image, likelihood},
    network::{
        NetworkError,
        autoregressive::{Autoregressive, Compilation, Contract, Given, Head, StepContract},
    },
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
        .and_then(|network| verified(network, &golden))
        .map_err(|cause| failed(file, cause))?;
    gate.contract_kept();
    let finding = match network.compilation() {
        Compilation::Wavefront(_) | Compilation::Causal(_) => {
            "no prediction can see its own or a later dimension: proven from the graph".to_owned()
        }
        Compilation::Unknown(_) => causality::probe(&network, &golden, file)?,
    };
    gate.passed("causality", finding);
    prove(gate, candidate, file, network, (&golden, &expected))
}

/// The same for a network of which there is only the step that computes a pixel.
pub(super) fn load_step(
    gate: &mut Gate<'_>,
    candidate: &Candidate<'_>,
    file: &str,
    contract: &StepContract,
) -> Result<(Network, Timings), GateError> {
    let (images, expected) = gate.golden_scores(candidate.manifest, None)?;
    let golden = given(&images, 1);
    let model = gate.graph(file)?;
    let network = Autoregressive::load_step(candidate.engine, candidate.label, &model, contract)
        .and_then(|network| verified(network, &golden))
        .map_err(|cause| failed(file, cause))?;
    gate.contract_kept();
    let recurrence = &contract.recurrence;
    let finding = format!(
        "no prediction can see its own or a later dimension: the {} states and {} levels that a step reads all come before its pixel, and a golden \
         image gets the same predictions alone and in company",
        recurrence.neighbours().len(),
        recurrence.window().len()
    );
    gate.passed("causality", finding);
    prove(gate, candidate, file, network, (&golden, &expected))
}

fn verified(
    mut network: Autoregressive,
    golden: &[Given<'_>],
) -> Result<Autoregressive, NetworkError> {
    network.verify_program(golden)?;
    Ok(network)
}

/// What holds for every causal network.
fn prove(
    gate: &mut Gate<'_>,
    candidate: &Candidate<'_>,
    file: &str,
    network: Autoregressive,
    (golden, expected): (&[Given<'_>], &[f64]),
) -> Result<(Network, Timings), GateError> {
    if let Some(cropping) = network.cropping() {
        gate.passed("cropping", cropping.to_string());
    }
    gate.passed("sampling", network.compilation().to_string());
    let scores = normalised_scores(&network, golden, file)?;
    gate.passed(
        "normalisation",
        "scores are the log-softmax of the logits".to_owned(),
    );
    let tolerance = candidate.manifest.golden.tolerance;
    gate.golden(GOLDEN_SCORES, tolerance, expected, &scores)?;
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
        let mut reference = 0.0;
        for (index, &level) in levels.iter().enumerate() {
            let logits: Vec<f64> = logits.at(image, index).map(f64::from).collect();
            let total = normaliser(network.head(), &logits);
            if !total.is_finite() {
                let shape = network.shape();
                return Err(GateError::Undefined {
                    file: file.to_owned(),
                    image,
                    dimension: causality::describe(shape.order_of(index), shape),
                });
            }
            reference += logit(network.head(), &logits, level) - total;
        }
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

/// log Σ exp(logit) over levels.
fn normaliser(head: Head, logits: &[f64]) -> f64 {
    match head {
        Head::Categorical => likelihood::log_sum_exp(logits),
        Head::Bernoulli => likelihood::log_sum_exp(&[0.0, logits[0]]),
    }
}

fn logit(head: Head, logits: &[f64], level: u8) -> f64 {
    match (head, level) {
        (Head::Categorical, level) => logits[usize::from(level)],
        (Head::Bernoulli, 0) => 0.0,
        (Head::Bernoulli, _) => logits[0],
    }
}
