//! The members of a detector: which model has which role, and whether it can fill it.

use std::{sync::Arc, time::Duration};

use crate::{
    detection::{
        evidence::{Features, GivesFeatures, Latents, Predicts, SquaredErrors, Surprises, log_posterior},
        places::Places,
        statistics::Requirement,
    },
    domain::{
        bayes,
        image::{Image, ImageShape},
    },
    model::{
        Model, Reason, Refusal,
        work::{Batches, Resources},
    },
};

/// The members of a detector by role.
#[derive(Debug, Clone, Default)]
pub struct Members {
    /// The main density.
    pub(super) density: Option<Arc<dyn Surprises>>,
    /// A density that sees only the nearest pixels.
    pub(super) local: Option<Arc<dyn Surprises>>,
    /// A density of backgrounds.
    pub(super) background: Option<Arc<dyn Surprises>>,
    /// A posterior over codes.
    pub(super) latent: Option<Arc<dyn Latents>>,
    /// A bottleneck.
    pub(super) autoencoder: Option<Arc<dyn SquaredErrors>>,
    /// A distribution over labels.
    pub(super) classifier: Option<Arc<dyn Predicts>>,
    /// A network that sees images as features.
    pub(super) features: Option<Arc<dyn GivesFeatures>>,
    shape: Option<ImageShape>,
    /// Names of the labels that the classifier gives, or else the network of the features.
    labels: Vec<String>,
}

/// What a network sees of one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Sight {
    /// Some of its places, one after the other.
    pub places: Vec<f32>,
    /// The label that the network gives it; 0 without labels.
    pub label: usize,
}

impl Members {
    /// Size of what they take, if there are any.
    pub fn shape(&self) -> Option<ImageShape> {
        self.shape
    }

    /// Names of the labels that a member gives every image, in the order of their numbers; none if no member does.
    pub fn labels(&self) -> &[String] {
        if self.have(Requirement::Classifier) {
            &self.labels
        } else {
            &[]
        }
    }

    /// Gives a model a role, if it can fill it.
    pub fn add(&mut self, role: Requirement, model: &Model) -> Result<(), String> {
        self.fill(role, model).map_err(|reason| {
            format!(
                "{:?}, a {}, cannot have the role {:?}, which takes {}: {reason}",
                model.name,
                model.card.family,
                role.name(),
                role.wanted()
            )
        })?;
        if role == Requirement::Classifier || (role == Requirement::Features && self.classifier.is_none()) {
            self.labels = model.label_names().to_vec();
        }
        match self.shape.replace(model.shape) {
            Some(other) if other != model.shape => Err(format!(
                "its members take images of different sizes: {other} and {}",
                model.shape
            )),
            _ => Ok(()),
        }
    }

    /// The queue in which `model` has images seen as features, of which `keep` chooses places.
    pub fn sights(
        &self,
        resources: &Resources,
        (model, operation): (&str, &str),
        keep: impl Fn(&Image) -> Vec<usize> + Send + Sync + 'static,
    ) -> Batches<Image, Result<Sight, Refusal>> {
        let features = self.features.clone();
        resources.batches(
            model,
            operation,
            Duration::from_millis(5),
            move |images: &[Image], threads| {
                let features = features.as_ref().ok_or("no member gives features")?;
                let places = Places::new(features.layers());
                let levels: Vec<&[u8]> = images.iter().map(Image::levels).collect();
                let given = features.features(&levels, threads)?;
                let sight = |(image, given): (&Image, Features)| {
                    let all = places.of(&given.layers);
                    if all.iter().any(|value| !value.is_finite()) {
                        return Err(Refusal::not_a_number("a feature"));
                    }
                    let size = places.size();
                    let kept = keep(image)
                        .into_iter()
                        .flat_map(|place| &all[place * size..(place + 1) * size]);
                    Ok(Sight {
                        places: kept.copied().collect(),
                        label: given
                            .logits
                            .map_or(0, |logits| bayes::most_probable(&log_posterior(&logits))),
                    })
                };
                Ok(images.iter().zip(given).map(sight).collect())
            },
        )
    }

    fn fill(&mut self, role: Requirement, model: &Model) -> Result<(), Reason> {
        match role {
            Requirement::Density => self.density = Some(model.can()?),
            Requirement::Local => self.local = Some(model.can()?),
            Requirement::Background => self.background = Some(model.can()?),
            Requirement::Latent => self.latent = Some(model.can()?),
            Requirement::Autoencoder => self.autoencoder = Some(model.can()?),
            Requirement::Classifier => self.classifier = Some(model.can()?),
            Requirement::Features => self.features = Some(model.can()?),
            _ => return Err("it asks another member and has none of its own".into()),
        }
        Ok(())
    }

    /// How the features become places, if a member gives any.
    pub fn places(&self) -> Option<Places> {
        self.features.as_ref().map(|features| Places::new(features.layers()))
    }

    /// Whether what statistics need of members is there.
    pub fn have(&self, requirement: Requirement) -> bool {
        match requirement {
            Requirement::Density | Requirement::Stirring => self.density.is_some(),
            Requirement::Local => self.local.is_some(),
            Requirement::Background => self.background.is_some(),
            Requirement::Latent | Requirement::Samples => self.latent.is_some(),
            Requirement::Autoencoder => self.autoencoder.is_some(),
            Requirement::Classifier => {
                let with_features = self.features.as_ref().is_some_and(|features| features.has_logits());
                self.classifier.is_some() || with_features
            }
            Requirement::Places => self.places().is_some_and(|places| places.is_map()),
            Requirement::Tiles => false,
            // What is learnt is learnt of features.
            _ => self.features.is_some(),
        }
    }
}
