//! What a model is asked about each image, which follows from what it can do.

use std::sync::Arc;

use futures_util::future::try_join3;

use super::measured::{Found, Score};
use crate::{
    domain::image::Image,
    model::{
        Call, Kind, Model, PerImage, Reason, Refusal,
        classify::{Classifies, ClassifyAsk},
        codes::Reconstructs,
        detect::Judges,
        refusal::clip_list,
        score::{BoundChoice, ScoreAsk, Scores},
    },
};

/// What is to be measured.
#[derive(Debug, Clone, Default)]
pub struct Questions {
    /// The bound; without one the model's natural one.
    pub bound: Option<BoundChoice>,
    /// Posterior samples of a bound; without a number the model's own.
    pub k: Option<u32>,
    /// Seed of the posterior samples.
    pub seed: u64,
    /// Whether images have labels.
    pub labelled: bool,
    /// Every label that an image has, each once.
    pub labels: Vec<String>,
    /// Whether the images are judged beside this.
    pub judged: bool,
}

/// What a model can answer about the images.
pub struct Plan {
    scores: Option<Arc<dyn Scores>>,
    /// Which also gives log p(x) of a density that is conditioned on labels.
    classifies: Option<Arc<dyn Classifies>>,
    reconstructs: Option<Arc<dyn Reconstructs>>,
    ask: ScoreAsk,
    /// Labels that images may have: the model's, or else those that were given.
    pub label_names: Vec<String>,
}

impl Plan {
    /// What the model can answer; a refusal if that is nothing and the images are not judged either.
    pub fn new(model: &Model, questions: &Questions) -> Result<Self, Refusal> {
        let (scores, classifies) = (model.can::<dyn Scores>(), model.can::<dyn Classifies>());
        let own = model.label_names();
        let is_conditional = scores.is_ok() && classifies.is_ok() && !own.is_empty();
        let asks_for_bound = matches!(questions.bound, Some(BoundChoice::Elbo | BoundChoice::Iwae));
        let plan = Self {
            scores: scores.clone().ok().filter(|_| !is_conditional),
            classifies: classifies.ok().filter(|_| is_conditional || questions.labelled),
            reconstructs: model.can::<dyn Reconstructs>().ok(),
            ask: ScoreAsk {
                bound: questions.bound,
                k: questions.k,
                seed: questions.seed,
                map: false,
                condition: model.condition(None)?,
            },
            label_names: match own {
                [] => in_order(questions.labels.clone()),
                own => own.to_vec(),
            },
        };
        if plan.is_empty() && !questions.judged {
            return Err(nothing_to_measure(model));
        }
        let likelihood_option = match (questions.bound, questions.k) {
            (Some(_), _) => Some("bound"),
            (None, Some(_)) => Some("k"),
            (None, None) => None,
        };
        if is_conditional && (asks_for_bound || questions.k.is_some()) {
            return Err(Refusal::option(
                likelihood_option.unwrap_or("bound"),
                "the likelihood of this model is exact, and there are no posterior samples to count",
            ));
        }
        if let (Some(option), Err(reason)) = (likelihood_option, &scores) {
            let text = format!("it belongs to a likelihood, which this model has not: {reason}");
            return Err(Refusal::option(option, text));
        }
        for label in &questions.labels {
            plan.number(label)?;
        }
        Ok(plan)
    }

    /// Whether there is nothing to ask.
    pub fn is_empty(&self) -> bool {
        self.scores.is_none() && self.classifies.is_none() && self.reconstructs.is_none()
    }

    /// The number of a label that is given by name or by number.
    pub fn number(&self, label: &str) -> Result<usize, Refusal> {
        let names = &self.label_names;
        let by_name = names.iter().position(|name| name == label);
        let by_number = || label.parse().ok().filter(|&number| number < names.len());
        by_name.or_else(by_number).ok_or_else(|| {
            Refusal::option(
                "labels",
                format!(
                    "the label {label:?} is none of the model's, which are the numbers below {} or: {}",
                    names.len(),
                    clip_list(names)
                ),
            )
        })
    }

    /// Asks all of it about each image.
    pub async fn ask(&self, images: Vec<Image>, call: &Call) -> Result<PerImage<Found>, Refusal> {
        let score = async {
            match &self.scores {
                Some(scores) => scores.score(images.clone(), &self.ask, call).await.map(Some),
                None => Ok(None),
            }
        };
        let classify = async {
            match &self.classifies {
                Some(classifies) => {
                    let ask = ClassifyAsk::default();
                    classifies.classify(images.clone(), &ask, call).await.map(Some)
                }
                None => Ok(None),
            }
        };
        let reconstruct = async {
            match &self.reconstructs {
                Some(reconstructs) => reconstructs.reconstruct(images.clone(), false, call).await.map(Some),
                None => Ok(None),
            }
        };
        let (scored, classified, reconstructed) = try_join3(score, classify, reconstruct).await?;
        let qualifiers = scored.as_ref().map(|scored| Arc::new(scored.qualifiers.clone()));
        let mut scored = scored.map(|scored| scored.items.into_iter());
        let mut classified = classified.map(Vec::into_iter);
        let mut reconstructed = reconstructed.map(Vec::into_iter);
        Ok(images
            .into_iter()
            .map(|image| {
                // All three are taken before any of them may end this image, so that the next image finds its own.
                let (score, classification, reconstruction) =
                    (next(&mut scored), next(&mut classified), next(&mut reconstructed));
                Ok(Found {
                    image,
                    score: score?.zip(qualifiers.clone()).map(|(likelihood, qualifiers)| Score {
                        qualifiers,
                        log_likelihood_nats: likelihood.log_likelihood.0,
                        effective_sample_size: likelihood.effective_sample_size,
                    }),
                    classification: classification?,
                    squared_error: reconstruction?.map(|found| found.mean_squared_error),
                })
            })
            .collect())
    }
}

/// The next answer, if the question was asked.
fn next<T>(answers: &mut Option<impl Iterator<Item = Result<T, Refusal>>>) -> Result<Option<T>, Refusal> {
    answers.as_mut().and_then(Iterator::next).transpose()
}

/// Labels by number if all are numbers, else by name.
fn in_order(mut labels: Vec<String>) -> Vec<String> {
    if labels.iter().all(|label| label.parse::<i64>().is_ok()) {
        labels.sort_by_key(|label| label.parse::<i64>().unwrap_or_default());
    }
    labels
}

fn nothing_to_measure(model: &Model) -> Refusal {
    let lacks =
        |operation: &str, reason: Option<Reason>| reason.map(|reason| format!("it cannot {operation}: {reason}"));
    let labels = match model.can::<dyn Classifies>() {
        Err(reason) => lacks("classify", Some(reason)),
        Ok(_) => Some(
            "it can classify, but there is nothing to hold its answers against: add --labels or --labels-from-folders"
                .to_owned(),
        ),
    };
    let reasons: Vec<String> = [
        lacks("score", model.can::<dyn Scores>().err()),
        labels,
        lacks("reconstruct", model.can::<dyn Reconstructs>().err()),
        lacks("detect", model.can::<dyn Judges>().err()),
    ]
    .into_iter()
    .flatten()
    .collect();
    Refusal::new(
        Kind::Unsupported,
        format!(
            "there is nothing to measure of {:?} on images: {}",
            model.name,
            reasons.join("; ")
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::labels::Condition;

    #[test]
    fn labels_are_found_by_name_then_by_number() {
        let plan = Plan {
            scores: None,
            classifies: None,
            reconstructs: None,
            ask: ScoreAsk {
                bound: None,
                k: None,
                seed: 0,
                map: false,
                condition: Condition::None,
            },
            label_names: ["shoe", "0", "coat"].map(str::to_owned).to_vec(),
        };
        assert_eq!(plan.number("coat").unwrap(), 2);
        assert_eq!(plan.number("0").unwrap(), 1);
        assert_eq!(plan.number("2").unwrap(), 2);
        let message = plan.number("3").unwrap_err().to_string();
        assert!(message.contains("below 3 or: shoe, 0, coat"), "{message}");
    }

    #[test]
    fn numbers_are_put_in_order_of_number() {
        let labels = |all: &[&str]| in_order(all.iter().map(|&l| l.to_owned()).collect());
        assert_eq!(labels(&["10", "2"]), ["2", "10"]);
        assert_eq!(labels(&["10", "2", "a"]), ["10", "2", "a"]);
    }
}
