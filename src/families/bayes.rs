//! Composites of Bayes' rule: a classifier, a density and a prior put together, p(image | label) = p(label | image)
//! p(image) / p(label). Where a detector judges novelty, a classifier needs no density beside it: then there is no
//! p(image | label) either.
//!
//! A classifier always names a label. Beside another model it need not: an image that is *ambiguous* lies between
//! labels, one that is *novel* is like nothing that the labels mean. The two are told apart by different models, each
//! with a calibration of its own, so that each rejects at most the asked share of ordinary images.

mod compose;
mod judge;
mod manifest;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::compose::{Composed, Recipe, compose};
use self::{judge::Judge, manifest::Own};
use super::{
    Contract, Family, Gate, GateError, Proved, Tables,
    gate::time_of,
    manifest::{MANIFEST, members},
};
use crate::{
    detection::{
        calibrate,
        calibrated_on::CalibratedOn,
        detector::Detector,
        evidence::{Predicts, Surprises, log_posterior},
        trained_on::TrainedOn,
    },
    domain::{
        bayes::{Prior, Role},
        conformal::Calibration,
        image::Image,
        likelihood,
    },
    model::{
        Capabilities, Model, Reason,
        classify::Classifies,
        detect::Judges,
        info::{CalibrationInfo, Density},
        labels::Labels,
        score::Scores,
    },
    runtime::Threads,
};

/// A classifier and a density, by Bayes' rule.
#[derive(Debug)]
pub struct Bayes;

const NAME: &str = "bayes";

/// Golden numbers: log p(image | label) of every label.
const GOLDEN: (&str, &str) = ("golden scores", " nats");

/// Golden images that are scored at once: the working memory that the members take for them stays taken.
const COMPANY: usize = 2;

/// A composite that is ready.
#[derive(Debug)]
struct Composite {
    /// p(label | image).
    classifier: Arc<dyn Predicts>,
    /// p(image).
    density: Option<Arc<dyn Surprises>>,
    novelty: Novelty,
    /// −log max p(label | image) of held-out inliers, in nats.
    ambiguity: Calibration,
    prior: Prior,
}

/// What tells the novel from the familiar.
#[derive(Debug)]
enum Novelty {
    /// How likely the image is, against held-out inliers: strange on both sides.
    Density(Arc<Calibration>),
    /// A detector, over the same density if there is one.
    Detector(Arc<Detector>),
}

impl Composite {
    /// The smallest false-alarm rate that both calibrations support.
    fn smallest_false_alarm_rate(&self) -> f64 {
        let novelty = match &self.novelty {
            Novelty::Density(calibration) => calibration.smallest_p_value(),
            Novelty::Detector(detector) => detector.calibration.least().1.smallest_upper_p_value(),
        };
        novelty.max(self.ambiguity.smallest_upper_p_value())
    }

    /// log p(image | label) = log p(label | image) + log p(image) − log p(label) of every label, in nats.
    fn log_likelihoods(&self, log_posterior: &[f64], log_density: f64) -> Vec<f64> {
        log_posterior
            .iter()
            .zip(self.prior.log())
            .map(|(posterior, prior)| posterior + log_density - prior)
            .collect()
    }

    /// log p(image | label) of every label of every image, or log p(label | image) without a density.
    fn scores(&self, images: &[&[u8]]) -> Result<Vec<f64>, String> {
        let logits = self.classifier.logits(images, Threads::All)?;
        let Some(density) = &self.density else {
            return Ok(logits.iter().flat_map(|logits| log_posterior(logits)).collect());
        };
        let maps = density.log_probabilities(images, Threads::All)?;
        Ok(logits
            .iter()
            .zip(&maps)
            .flat_map(|(logits, map)| self.log_likelihoods(&log_posterior(logits), likelihood::total(map)))
            .collect())
    }
}

impl Family for Bayes {
    fn name(&self) -> &'static str {
        NAME
    }

    fn read(&self, tables: &mut Tables) -> Result<Box<dyn Contract>, String> {
        Ok(Box::new(Own::read(tables)?))
    }
}

impl Contract for Own {
    fn files(&self) -> Vec<&str> {
        self.golden.files().chain([self.ambiguity.as_str()]).collect()
    }

    fn members(&self) -> Vec<(&str, u32)> {
        members::named(&self.members)
    }

    fn prove(&self, gate: &mut Gate<'_>) -> Result<Proved, GateError> {
        let ambiguity = gate.calibration_of(&self.ambiguity)?;
        let wrong = |cause: String| GateError::Manifest(format!("members: {cause}"));
        let members = self.find(gate).map_err(wrong)?;
        let composite = Arc::new(members.compose(ambiguity, &self.labels).map_err(wrong)?);
        let (shape, manifest) = (members.classifier.shape, gate.manifest());
        if shape != manifest.shape {
            return Err(GateError::Manifest(format!(
                "image: its members take {shape}, not {}",
                manifest.shape
            )));
        }
        gate.passed("members", members::roles(&self.members));
        gate.calibrated_here(self.calibrated_at, "calibrate …")?;
        gate.passed(
            "calibration",
            format!("how ambiguous {} held-out inliers are", composite.ambiguity.size()),
        );
        let (images, _) = gate.golden_scores(&self.golden, Some(self.labels.names.len()))?;
        let timings = gate.settle("scores", |gate| self.score_golden(gate, &composite))?;
        let info = CalibrationInfo {
            size: composite.ambiguity.size(),
            statistic: "ambiguity",
            smallest_false_alarm_rate: composite.smallest_false_alarm_rate(),
            description: self.description.clone(),
            by_label: None,
        };
        let judge = Arc::new(Judge::new(gate, composite, self.labels.clone(), timings));
        let no_graph = "it puts the answers of other models together and has no graph of its own: ask its members";
        let scores: Result<Arc<dyn Scores>, Reason> = match &members.density {
            Some(_) => Ok(Arc::clone(&judge) as _),
            None => Err("it is a classifier behind a detector, without a density over images".into()),
        };
        let capabilities = Capabilities::new(no_graph)
            .with::<dyn Scores>(scores)
            .offer::<dyn Classifies>(judge)
            .offer(Arc::new(CalibratedOn {
                hashes: TrainedOn::of(images.iter().map(calibrate::hash)),
                of: info.size,
            }))
            .decline::<dyn Judges>("classify says it, with a p-value for novelty beside that for ambiguity");
        let density = members.density.as_ref().map_or(Density::None, |_| Density::Exact);
        Ok(Proved {
            likelihood: members.density.map_or("none", |density| density.card.likelihood),
            labels: Some(self.labels.clone()),
            calibration: Some(info),
            ..Proved::new(density, capabilities)
        })
    }
}

/// What a row of each kind of work takes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Timings {
    classify: Duration,
    density: Duration,
    novelty: Duration,
}

fn timings(composite: &Composite, one: &[&[u8]]) -> Result<Timings, String> {
    let threads = Threads::One;
    let density = match &composite.density {
        Some(density) => time_of(|| density.log_probabilities(one, threads).map(drop))?,
        None => Duration::ZERO,
    };
    Ok(Timings {
        classify: time_of(|| composite.classifier.logits(one, threads).map(drop))?,
        density,
        novelty: match &composite.novelty {
            Novelty::Density(_) => density,
            Novelty::Detector(detector) => time_of(|| detector.panel.measure(one, threads).map(drop))?,
        },
    })
}

/// The models that a composite is made of.
#[derive(Debug)]
struct Members {
    /// p(label | image).
    classifier: Arc<Model>,
    /// p(image), if there is such a model.
    density: Option<Arc<Model>>,
    /// A detector, over the density if there is one. Without a detector the density alone judges novelty.
    novelty: Option<Arc<Model>>,
}

impl Own {
    /// Scores the golden images as the manifest says; answers how long one takes.
    fn score_golden(&self, gate: &mut Gate<'_>, composite: &Composite) -> Result<Timings, GateError> {
        let (images, expected) = gate.golden_scores(&self.golden, Some(self.labels.names.len()))?;
        let levels = Image::levels_of(&images);
        let failed = |cause: String| GateError::file(MANIFEST, cause);
        let mut actual = Vec::with_capacity(expected.len());
        for levels in levels.chunks(COMPANY) {
            actual.extend(composite.scores(levels).map_err(failed)?);
        }
        gate.golden(GOLDEN, self.golden.tolerance(), &expected, &actual)?;
        timings(composite, &levels[..1]).map_err(failed)
    }

    /// The models that the manifest names, each the very one that the composite was made of.
    fn find(&self, gate: &Gate<'_>) -> Result<Members, String> {
        let find = |role: Role| {
            let member = self.members.iter().find(|member| member.role == role);
            member
                .map(|member| {
                    member.find(
                        |name, version| gate.member(name, version),
                        "the composite was made of: it has",
                    )
                })
                .transpose()
        };
        let classifier = find(Role::Classifier)?;
        let no_classifier = || format!("one with the role {:?} is needed", Role::Classifier.name());
        Ok(Members {
            classifier: classifier.ok_or_else(no_classifier)?,
            density: find(Role::Density)?,
            novelty: find(Role::Novelty)?,
        })
    }
}

/// How the labels of a classifier are not those of the composite.
fn other_labels(theirs: &[String], own: &[String]) -> String {
    match theirs.iter().zip(own).position(|(theirs, own)| theirs != own) {
        Some(place) => format!(
            "label {place} of the classifier is {:?}, not {:?}",
            theirs[place], own[place]
        ),
        None => format!("the classifier has {} labels, not {}", theirs.len(), own.len()),
    }
}

impl Members {
    /// The composite, if the members fit together.
    fn compose(&self, ambiguity: Calibration, labels: &Labels) -> Result<Composite, String> {
        let classifier = capability(&self.classifier, Role::Classifier, "a classifier")?;
        let names = self.classifier.label_names();
        if names != labels.names {
            return Err(other_labels(names, &labels.names));
        }
        let wanted = "an exact density that is not conditioned on labels";
        let density = self
            .density
            .as_ref()
            .map(|model| capability(model, Role::Density, wanted));
        let density = density.transpose()?;
        let novelty = self.novelty()?;
        let shape = self.classifier.shape;
        let others = self.density.iter().chain(&self.novelty);
        if let Some(other) = others.into_iter().find(|member| member.shape != shape) {
            return Err(format!(
                "{:?} takes images of {}, and the classifier {shape}",
                other.name, other.shape
            ));
        }
        Ok(Composite {
            classifier,
            density,
            novelty,
            ambiguity,
            prior: Prior::new(&labels.prior),
        })
    }

    fn novelty(&self) -> Result<Novelty, String> {
        let Some(model) = &self.novelty else {
            let Some(density) = &self.density else {
                return Err(
                    "it needs a density or a detector: nothing can tell the novel from the familiar".to_owned(),
                );
            };
            return density.can().map(Novelty::Density).map_err(|_| {
                format!(
                    "{:?} has no calibration and there is no member with the role \"novelty\": nothing can tell the \
                     novel from the familiar",
                    density.name
                )
            });
        };
        let detector: Arc<Detector> = capability(model, Role::Novelty, "a detector")?;
        let is_other = |density: &&Arc<Model>| detector.density.as_deref() != Some(&*density.identity.to_lowercase());
        if let Some(density) = self.density.as_ref().filter(is_other) {
            return Err(format!(
                "the main density of the detector {:?} is not {:?}",
                model.name, density.name
            ));
        }
        Ok(Novelty::Detector(detector))
    }
}

/// What a role asks of a model, or why the model cannot have that role.
fn capability<C: ?Sized + Send + Sync + 'static>(model: &Model, role: Role, wanted: &str) -> Result<Arc<C>, String> {
    model.can::<C>().map_err(|reason| {
        format!(
            "{:?}, a {}, cannot have the role \"{role}\", which takes {wanted}: {reason}",
            model.name, model.card.family
        )
    })
}
