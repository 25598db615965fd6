//! What a classifier must prove.

use super::{
    super::{Network, Timings},
    Candidate, Gate, GateError, company, failed, time_of, units,
};
use crate::{
    domain::image::Image,
    graph::weights,
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
    let to_logits = candidate.manifest.declared.to_logits(false);
    let model = gate.graph(file, &[(&contract.output, to_logits)])?;
    let (factor, levels) = (
        weights::input_factor(&model, &contract.input),
        contract.shape.levels(),
    );
    gate.suspect(file, units::input(contract.map.scale, factor, levels));
    let network = Classifier::load(candidate.engine, candidate.label, &model, contract.clone())
        .map_err(failed)?;
    gate.contract_kept();
    let strange = company::images(contract.shape.dimensions(), levels, &gate.probe(file, 0));
    gate.keeps_apart(file, &mut |items| {
        let images: Vec<&[u8]> = items.iter().map(|&item| &strange[item][..]).collect();
        let predictions = network.classify(&images, Threads::All)?;
        Ok(predictions
            .iter()
            .map(|p| [&p.logits[..], &p.features].concat())
            .collect())
    })?;
    let predictions = network.classify(&golden, Threads::All).map_err(failed)?;
    let logits: Vec<f32> = predictions.iter().flat_map(|p| p.logits.clone()).collect();
    gate.suspect(file, units::logits(&logits, contract.classes));
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
