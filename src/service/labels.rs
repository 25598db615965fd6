//! Conditioning on labels: what a request asks of a model of p(x | y), and what the model says when every label is asked.

use std::time::Instant;

use super::{
    ServedModel, Service,
    error::ServiceError,
    requests::PerImage,
    work::{Labelled, Scoring},
};
use crate::{
    domain::{
        bayes::{self, Beliefs, Prior},
        family::Density,
        image::Image,
        random::{Random, Stream},
    },
    scheduling::{Class, JobError, Lane},
};

/// What a request asks of a model.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    /// The model is not conditioned on labels: p(x).
    None,
    /// p(x | y) of this label.
    Label(u32),
    /// The model is conditioned on labels and none was named: p(x) = Σ p(x | y) p(y).
    Open(Prior),
}

/// What the model of every label says of one image.
#[derive(Debug)]
pub(super) struct Witness {
    /// log p(xᵢ | x₍<ᵢ₎, y): a map a label.
    pub(super) maps: Vec<Vec<f32>>,
    /// What they come to.
    pub(super) beliefs: Beliefs,
}

impl ServedModel {
    /// What a request with this label, or without one, asks of the model.
    pub(super) fn condition(&self, label: Option<&str>) -> Result<Condition, ServiceError> {
        match (&self.version.manifest.labels, label) {
            (None, None) => Ok(Condition::None),
            (Some(labels), None) => Ok(Condition::Open(Prior::new(&labels.prior))),
            (None, Some(_)) => Err(invalid(
                "this model is not conditioned on labels".to_owned(),
            )),
            (Some(labels), Some(label)) => number_of(&labels.names, label).map(Condition::Label),
        }
    }

    /// Whether its density is conditioned on labels: p(x | y).
    pub fn is_conditional(&self) -> bool {
        self.family().density() != Density::None && self.version.manifest.labels.is_some()
    }

    /// Names of its labels, in the order of their numbers; none without labels.
    pub fn label_names(&self) -> &[String] {
        let labels = self.version.manifest.labels.as_ref();
        labels.map_or(&[], |labels| &labels.names)
    }

    /// The name of a label, for an answer.
    pub(super) fn label_name(&self, label: u32) -> String {
        let name = self.label_names().get(label as usize);
        name.cloned().unwrap_or_default()
    }

    /// The names of the labels of some images, for an answer; none without labels.
    pub(super) fn names_of(&self, labels: &[u32]) -> Vec<String> {
        if self.label_names().is_empty() {
            return Vec::new();
        }
        labels.iter().map(|&label| self.label_name(label)).collect()
    }
}

impl Condition {
    /// The labels of `n` images to be drawn: the one that was named, or each image's own from the prior, so that images come from
    /// p(x); 0 without labels.
    pub(super) fn draw(&self, n: u32, seed: u64) -> Vec<u32> {
        match self {
            Self::None => vec![0; n as usize],
            Self::Label(label) => vec![*label; n as usize],
            Self::Open(prior) => draw(prior.log(), n, seed),
        }
    }
}

/// Labels of `n` images from a distribution, given by its logarithms. The random number of an image depends on its place alone.
pub(super) fn draw(log_probabilities: &[f64], n: u32, seed: u64) -> Vec<u32> {
    (0..n)
        .map(|index| {
            let uniform = Random::new(seed, Stream::Label, u64::from(index)).uniform(0);
            bayes::draw(log_probabilities, uniform) as u32
        })
        .collect()
}

/// The number of a label that a request names, or gives as a number.
fn number_of(names: &[String], label: &str) -> Result<u32, ServiceError> {
    let by_name = names.iter().position(|name| name == label);
    let by_number = || label.parse().ok().filter(|&number| number < names.len());
    by_name
        .or_else(by_number)
        .map(|index| index as u32)
        .ok_or_else(|| {
            invalid(format!(
                "there is no such label; ask for a number below {} or one of: {}",
                names.len(),
                names.join(", ")
            ))
        })
}

pub(super) fn invalid(reason: String) -> ServiceError {
    ServiceError::InvalidOption {
        option: "label",
        reason,
    }
}

/// Asks the model of every label about each image: as many scores an image as there are labels.
pub(super) async fn ask_all(
    service: &Service,
    lane: &Lane<Scoring>,
    images: &[Image],
    prior: &Prior,
    deadline: Instant,
) -> Result<PerImage<Vec<Vec<f32>>>, ServiceError> {
    let labels = prior.log().len();
    let rows = images.len() * labels;
    let permit = service.admit(Class::Interactive, lane.estimate(rows as u64), deadline)?;
    let items = images
        .iter()
        .flat_map(|image| {
            (0..labels as u32).map(|label| Labelled {
                image: image.clone(),
                label,
            })
        })
        .collect();
    let mut maps = lane.run(&permit, items, deadline).await.into_iter();
    Ok(images
        .iter()
        .map(|_| {
            let own: Vec<Result<Vec<f32>, JobError>> = maps.by_ref().take(labels).collect();
            let own: Vec<Vec<f32>> = own.into_iter().collect::<Result<_, _>>()?;
            if own.iter().flatten().any(|value| value.is_nan()) {
                return Err(ServiceError::not_a_number());
            }
            Ok(own)
        })
        .collect())
}

/// What the model of every label says of each image.
pub(super) async fn witnesses(
    service: &Service,
    lane: &Lane<Scoring>,
    images: &[Image],
    prior: &Prior,
    deadline: Instant,
) -> Result<PerImage<Witness>, ServiceError> {
    let all = ask_all(service, lane, images, prior, deadline).await?;
    Ok(images
        .iter()
        .zip(all)
        .map(|(image, maps)| {
            let maps = maps?;
            let beliefs = Beliefs::new(image.shape(), &maps, prior);
            Ok(Witness { maps, beliefs })
        })
        .collect())
}
