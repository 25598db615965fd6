//! What an autoregressive model must prove: that it is causal, and that its scores are its own normalised predictions.

use super::{
    Common, STATISTIC, Timings, causality,
    network::{Compilation, Given, Head, Logits, Network},
};
use crate::{
    domain::{image::Image, likelihood},
    families::{
        NetworkError, Proved,
        gate::{GOLDEN_SCORES, Gate, GateError, failed, time_of},
    },
    graph::protobuf,
    runtime::Threads,
};

/// A graph that is to prove itself.
pub(in crate::families) struct Candidate<'a> {
    /// Its file.
    pub(in crate::families) file: &'a str,
    /// What decides on its predictions beside the file, as text.
    pub(in crate::families) contract: String,
    /// What the manifest says beside the graph.
    pub(in crate::families) common: &'a Common,
}

impl Candidate<'_> {
    /// Has the network that `load` makes of the graph prove itself. What `causal` says of a network whose graph could be analysed is the
    /// finding of causality.
    pub(in crate::families) fn prove(
        &self,
        gate: &mut Gate<'_>,
        load: impl FnOnce(&protobuf::Model) -> Result<Network, NetworkError>,
        causal: &str,
    ) -> Result<Proved, GateError> {
        let (file, common) = (self.file, self.common);
        let failed = |cause| failed(file, cause);
        let labels = common.labels.as_ref().map(|labels| labels.names.len());
        let (images, expected) = gate.golden_scores(&common.golden, labels)?;
        let golden = given(&images, labels.unwrap_or(1) as u32);
        let mut network = load(&gate.graph(file)?).map_err(failed)?;
        gate.contract_kept();
        let (verdict, timings) = gate.settle("predictions", |gate| {
            let verdict = network.verify_program(&golden).map_err(failed)?;
            let finding = match network.compilation() {
                Compilation::Wavefront(_) | Compilation::Causal(_) => causal.to_owned(),
                Compilation::Unknown(_) => causality::probe(&network, &golden, file)?,
            };
            gate.passed("causality", finding);
            if let Some(cropping) = network.cropping() {
                gate.passed("cropping", cropping.to_string());
            }
            gate.passed("sampling", network.compilation().to_string());
            let scores = normalised_scores(&network, &golden, file)?;
            gate.passed(
                "normalisation",
                "scores are the log-softmax of the logits".to_owned(),
            );
            gate.golden(GOLDEN_SCORES, common.golden.tolerance(), &expected, &scores)?;
            let one = &golden[..1];
            let timings = Timings {
                score: time_of(|| network.log_probabilities(one, Threads::One).map(drop))
                    .map_err(failed)?,
                draw: time_of(|| network.draw_for_a_while(one[0])).map_err(failed)?,
            };
            Ok((verdict, timings))
        })?;
        network.accept(&verdict);
        let calibration = gate.calibration(common.calibration.as_ref(), STATISTIC)?;
        Ok(super::proved(
            gate,
            (file, &self.contract),
            common,
            (network, timings),
            calibration,
        ))
    }
}

/// Log-likelihoods in nats by the scoring graph, once they agree with the logits.
fn normalised_scores(
    network: &Network,
    golden: &[Given<'_>],
    file: &str,
) -> Result<Vec<f64>, GateError> {
    let company = network.company();
    let mut scores = Vec::with_capacity(golden.len());
    for (round, golden) in golden.chunks(company).enumerate() {
        let (maps, logits) = network
            .scored_logits(golden, Threads::All)
            .map_err(|cause| failed(file, cause))?;
        for (row, (map, given)) in maps.iter().zip(golden).enumerate() {
            let image = round * company + row;
            let score = likelihood::total(map);
            let reference = total(network, &logits, row, given).map_err(|index| {
                let shape = network.shape();
                GateError::Undefined {
                    file: file.to_owned(),
                    image,
                    dimension: causality::describe(shape.order_of(index), shape),
                }
            })?;
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
            scores.push(score);
        }
    }
    Ok(scores)
}

/// The log-likelihood in nats that the logits in `row` give, or the dimension where they give no distribution.
fn total(network: &Network, logits: &Logits, row: usize, given: &Given<'_>) -> Result<f64, usize> {
    let mut own = Vec::new();
    let mut sum = 0.0;
    for (index, &level) in given.levels.iter().enumerate() {
        own.clear();
        own.extend(logits.at(row, index).map(f64::from));
        let total = normaliser(network.head(), &own);
        if !total.is_finite() {
            return Err(index);
        }
        sum += logit(network.head(), &own, level) - total;
    }
    Ok(sum)
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
