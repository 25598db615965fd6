//! The members of a detector side by side: each runs once on a batch, and every statistic is taken from what they said.

mod members;

use std::{sync::Arc, time::Duration};

pub use self::members::{Members, Sight};
use super::{
    evidence::{Answers, GivesFeatures, Surprises, log_posterior},
    learners::{self, Knowledge},
    places::Places,
    rule::Measured,
    statistics::{Distances, Evidence, Inputs, Requirement, Statistic, stirring::transformations},
};
use crate::{
    domain::{
        bayes,
        image::{Image, ImageShape},
        likelihood,
    },
    model::{
        Refusal,
        work::{Batches, Resources},
    },
    runtime::Threads,
};

/// Members and the statistics that are taken from them.
#[derive(Debug)]
pub struct Panel {
    shape: ImageShape,
    members: Members,
    statistics: Vec<Statistic>,
    /// How features become places; none without them.
    places: Option<Places>,
    /// What was learnt of features of inliers.
    knowledge: Knowledge,
    /// Where stirring takes each dimension from; empty if no statistic stirs.
    transformations: Vec<Vec<usize>>,
}

/// What a panel measured of one image.
#[derive(Debug, Clone)]
pub struct Measurement {
    /// The statistics, in the panel's order.
    pub values: Measured,
    /// For each statistic that is a map what it says of every dimension, in [`Statistic::unit`].
    pub maps: Vec<(Statistic, Vec<f32>)>,
    /// The label that a member gives the image, if one gives labels.
    pub label: Option<usize>,
}

impl Panel {
    /// Puts members, what was learnt of their features, and statistics together. Answers what is missing or does not
    /// fit.
    pub fn new(members: Members, statistics: Vec<Statistic>, knowledge: Knowledge) -> Result<Self, String> {
        let shape = members.shape().ok_or("a detector needs at least one member")?;
        for &statistic in &statistics {
            for &requirement in statistic.requirements {
                if learners::of(requirement).is_some() && !knowledge.has(requirement) {
                    return Err(format!(
                        "the statistic {statistic} needs {:?}, which nothing was learnt for",
                        requirement.name()
                    ));
                }
                if !members.have(requirement) {
                    let requirement = requirement.name();
                    return Err(format!(
                        "the statistic {statistic} needs a member with the role {requirement:?}"
                    ));
                }
            }
        }
        let stirs = statistics
            .iter()
            .any(|s| s.requirements.contains(&Requirement::Stirring));
        Ok(Self {
            shape,
            places: members.places(),
            members,
            statistics,
            knowledge,
            transformations: if stirs { transformations(shape) } else { Vec::new() },
        })
    }

    /// Size of the images.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// What was learnt of features of inliers.
    pub fn knowledge(&self) -> &Knowledge {
        &self.knowledge
    }

    /// The statistics, in order.
    pub fn statistics(&self) -> &[Statistic] {
        &self.statistics
    }

    /// Numbers in a code of the latent member.
    pub fn latent_size(&self) -> usize {
        self.members.latent.as_ref().map_or(0, |latent| latent.latent_size())
    }

    /// Measures images given as levels in channel, row, column order. An image of which a member gives no number has no
    /// measurement.
    pub fn measure(&self, images: &[&[u8]], threads: Threads) -> Answers<Result<Measurement, Refusal>> {
        let mut evidence = vec![Evidence::default(); images.len()];
        let Members {
            density,
            local,
            background,
            latent,
            autoencoder,
            classifier,
            features,
            ..
        } = &self.members;
        if let Some(density) = density {
            give(&mut evidence, density.surprises(images, threads)?, |own| {
                &mut own.density
            });
        }
        if let Some(local) = local.as_ref().filter(|_| self.uses(Requirement::Local)) {
            give(&mut evidence, local.log_probabilities(images, threads)?, |own| {
                &mut own.local
            });
        }
        if let Some(background) = background.as_ref().filter(|_| self.uses(Requirement::Background)) {
            give(&mut evidence, background.log_probabilities(images, threads)?, |own| {
                &mut own.background
            });
        }
        if let Some(latent) = latent.as_ref().filter(|_| self.uses(Requirement::Latent)) {
            let latents = latent.latents(images, self.uses(Requirement::Samples), threads)?;
            give(&mut evidence, latents, |own| &mut own.latent);
        }
        if let Some(autoencoder) = autoencoder.as_ref().filter(|_| self.uses(Requirement::Autoencoder)) {
            give(&mut evidence, autoencoder.squared_errors(images, threads)?, |own| {
                &mut own.squared_errors
            });
        }
        if let Some(features) = features {
            self.look(&**features, images, &mut evidence, threads)?;
        }
        if let Some(classifier) = classifier.as_ref().filter(|_| self.uses(Requirement::Classifier)) {
            give(&mut evidence, classifier.logits(images, threads)?, |own| {
                &mut own.logits
            });
        }
        if let Some(density) = density.as_ref().filter(|_| !self.transformations.is_empty()) {
            self.stir(&**density, images, &mut evidence, threads)?;
        }
        Ok(images
            .iter()
            .zip(&evidence)
            .map(|(levels, evidence)| match evidence.not_a_number() {
                Some(what) => Err(Refusal::not_a_number(what)),
                None => Ok(self.measurement(levels, evidence)),
            })
            .collect())
    }

    /// The queue in which `model` has images measured, one of which takes about `time`.
    pub fn queue(
        self: &Arc<Self>,
        resources: &Resources,
        (model, operation): (&str, &str),
        time: Duration,
    ) -> Measuring {
        let panel = Arc::clone(self);
        resources.batches(model, operation, time, move |images: &[Image], threads| {
            let levels: Vec<&[u8]> = images.iter().map(Image::levels).collect();
            panel.measure(&levels, threads)
        })
    }

    fn uses(&self, requirement: Requirement) -> bool {
        self.statistics.iter().any(|s| s.requirements.contains(&requirement))
    }

    /// Takes features, logits that come with them, and distances from what was learnt.
    fn look(
        &self,
        features: &dyn GivesFeatures,
        images: &[&[u8]],
        evidence: &mut [Evidence],
        threads: Threads,
    ) -> Result<(), String> {
        let Some(places) = &self.places else {
            return Ok(());
        };
        let mut all = Vec::with_capacity(images.len() * places.count() * places.size());
        for (evidence, given) in evidence.iter_mut().zip(features.features(images, threads)?) {
            let own = places.of(&given.layers);
            all.extend_from_slice(&own);
            evidence.features = Some(own);
            evidence.logits = given.logits;
        }
        for (requirement, learnt) in self.knowledge.ready() {
            let (distances, plain) = learnt.with_plain(&all, threads);
            let count = places.count();
            for (at, (evidence, values)) in evidence.iter_mut().zip(distances.chunks(count)).enumerate() {
                let plain = plain.as_ref().map(|plain| plain[at * count..][..count].to_vec());
                let (grid, values) = (places.grid(), values.to_vec());
                evidence.learnt.push((*requirement, Distances { grid, values, plain }));
            }
        }
        Ok(())
    }

    fn stir(
        &self,
        density: &dyn Surprises,
        images: &[&[u8]],
        evidence: &mut [Evidence],
        threads: Threads,
    ) -> Result<(), String> {
        for transformation in &self.transformations {
            let turned: Vec<Vec<u8>> = images
                .iter()
                .map(|levels| transformation.iter().map(|&source| levels[source]).collect())
                .collect();
            let turned: Vec<&[u8]> = turned.iter().map(Vec::as_slice).collect();
            let maps = density.log_probabilities(&turned, threads)?;
            for (evidence, map) in evidence.iter_mut().zip(maps) {
                let own = evidence
                    .density
                    .as_ref()
                    .map_or(f64::NAN, |d| likelihood::total(&d.log_probability));
                let stirred = evidence.stirred.get_or_insert_default();
                stirred.push(own - likelihood::total(&map));
            }
        }
        Ok(())
    }

    fn measurement(&self, levels: &[u8], evidence: &Evidence) -> Measurement {
        let seen = Inputs {
            evidence,
            levels,
            shape: self.shape,
        };
        let values = self.statistics.iter().map(|statistic| statistic.of(&seen)).collect();
        let maps = self
            .statistics
            .iter()
            .filter_map(|&statistic| Some((statistic, statistic.map(&seen)?)))
            .collect();
        let label = |logits: &Vec<f32>| bayes::most_probable(&log_posterior(logits));
        Measurement {
            values,
            maps,
            label: evidence.logits.as_ref().map(label),
        }
    }
}

/// A queue of images to be measured.
pub type Measuring = Batches<Image, Result<Measurement, Refusal>>;

/// Puts what a member said of each image into its evidence.
fn give<T>(evidence: &mut [Evidence], answers: Vec<T>, place: impl Fn(&mut Evidence) -> &mut Option<T>) {
    for (evidence, answer) in evidence.iter_mut().zip(answers) {
        *place(evidence) = Some(answer);
    }
}
