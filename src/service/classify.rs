//! Classification: which label an image has, and what speaks for each.

use std::time::Instant;

use super::{
    ServedModel, Service,
    error::ServiceError,
    labels::{self, Condition, Witness},
    requests::{Classification, ClassifyAnswer, ClassifyOptions},
    work::Scoring,
};
use crate::{
    domain::{family::Capability, image::Image},
    scheduling::Lane,
};

/// By Bayes' rule from a density that is conditioned on labels: p(y | x) = p(x | y) p(y) / p(x).
pub(super) async fn by_bayes(
    service: &Service,
    model: &ServedModel,
    lane: &Lane<Scoring>,
    images: Vec<Image>,
    options: &ClassifyOptions,
    deadline: Instant,
) -> Result<ClassifyAnswer, ServiceError> {
    let Condition::Open(prior) = model.condition(None)? else {
        return Err(model.unsupported(Capability::Classify));
    };
    let witnesses = labels::witnesses(service, lane, &images, &prior, deadline).await?;
    let results = witnesses
        .into_iter()
        .map(|witness| Ok(classification(witness?, options.map)))
        .collect();
    Ok(ClassifyAnswer {
        labels: model.label_names().to_vec(),
        results,
    })
}

fn classification(Witness { maps, beliefs }: Witness, map: bool) -> Classification {
    let evidence = |map: &Vec<f32>| {
        let evidence = beliefs.pixel_evidence(map);
        evidence.into_iter().map(|value| value as f32).collect()
    };
    Classification {
        maps: map.then(|| maps.iter().map(evidence).collect()),
        log_posterior: beliefs.log_posterior,
        log_likelihoods: Some(beliefs.log_likelihoods),
        log_evidence: Some(beliefs.log_evidence),
    }
}
