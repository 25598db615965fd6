//! What a classifier must prove.

use super::{
    super::{Network, Timings},
    Candidate, Gate, GateError, failed, time_of,
};
use crate::{
    domain::image::Image,
    network::classifier::{Classifier, Contract},
    runtime::Threads,
};

/// Golden numbers of classifiers: log p(label | image) of every label.
const GOLDEN: (&str, &str) = ("golden posteriors", " nats");

pub(super) fn load(
    gate: &mut Gate<'_>,
    candidate: &Candidate<'_>,
    file: &str,
    contract: &Contract,
) -> Result<(Network, Timings), GateError> {
    let (images, expected) = gate.golden_scores(candidate.manifest, Some(contract.classes))?;
    let golden: Vec<&[u8]> = images.iter().map(Image::levels).collect();
    let failed = |cause| failed(file, cause);
    let model = gate.graph(file)?;
    let network = Classifier::load(candidate.engine, candidate.label, &model, contract.clone())
        .map_err(failed)?;
    gate.contract_kept();
    let predictions = network.classify(&golden, Threads::All).map_err(failed)?;
    let posteriors: Vec<f64> = predictions
        .iter()
        .flat_map(|prediction| prediction.log_posterior())
        .collect();
    let tolerance = candidate.manifest.golden.tolerance;
    gate.golden(GOLDEN, tolerance, &expected, &posteriors)?;
    let forward =
        time_of(|| network.classify(&golden[..1], Threads::One).map(drop)).map_err(failed)?;
    let timings = Timings {
        forward,
        backward: forward,
    };
    Ok((Network::Classifier(network.into()), timings))
}
