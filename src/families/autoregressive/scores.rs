//! Exact likelihoods, and what follows from them: verdicts, and by Bayes' rule labels.

use async_trait::async_trait;

use super::{Labelled, Model, STATISTIC, labels::Witness};
use crate::{
    detection::evidence::{Answers, Surprises},
    domain::{assurance::Assurance, bayes::Prior, image::Image, likelihood, surprise::Surprise},
    families::autoregressive::network::{Given, Network},
    model::{
        Call, PerImage, Refusal,
        classify::{Classification, Classifies, ClassifyAsk},
        detect::Measures,
        labels::Condition,
        score::{BoundChoice, Likelihood, Qualifiers, ScoreAsk, Scored, Scores},
        value::Map,
    },
    runtime::Threads,
};

/// Refuses what is said of bounds only.
pub(in crate::families) fn only_exact(ask: &ScoreAsk) -> Result<(), Refusal> {
    if matches!(ask.bound, Some(BoundChoice::Elbo | BoundChoice::Iwae)) {
        return Err(Refusal::option(
            "bound",
            "an autoregressive model has the exact likelihood and no bound: leave it out or ask for \"exact\"",
        ));
    }
    if ask.k.is_some() {
        return Err(Refusal::option(
            "k",
            "the likelihood is exact: there are no posterior samples to count",
        ));
    }
    Ok(())
}

/// What an exact likelihood is worth: p(x), or of a conditional model p(x | y) or the evidence over all labels.
pub(in crate::families) fn qualifiers(assurance: Assurance, condition: &Condition, names: &[String]) -> Qualifiers {
    let (likelihood_of, label) = match condition {
        Condition::None => (None, None),
        Condition::Label(label) => (Some("p(x|y)"), names.get(*label as usize).cloned()),
        Condition::Open(_) => (Some("p(x)"), None),
    };
    Qualifiers {
        bound: assurance.bound().to_owned(),
        likelihood_of,
        label,
        k: None,
        seed: None,
        beta: None,
    }
}

/// The likelihood of an image whose dimensions have these log-probabilities in nats.
pub(in crate::families) fn likelihood_of(
    image: (f64, Vec<f32>),
    shape: crate::domain::image::ImageShape,
    map: bool,
) -> Result<Likelihood, Refusal> {
    let (total, values) = image;
    Ok(Likelihood {
        log_probability_map: map.then_some(Map { shape, values }),
        ..Likelihood::new(total, shape.dimensions())?
    })
}

impl Model {
    /// log p of images, and log p of every dimension given those before it: of a label, or of the mixture over all
    /// labels.
    async fn log_likelihoods(
        &self,
        images: Vec<Image>,
        condition: &Condition,
        call: &Call,
    ) -> Result<PerImage<(f64, Vec<f32>)>, Refusal> {
        let label = match condition {
            Condition::None => 0,
            Condition::Label(label) => *label,
            Condition::Open(prior) => {
                let witnesses = self.witnesses(&images, prior, call).await?;
                let evidence = |witness: Result<Witness, Refusal>| {
                    let beliefs = witness?.beliefs;
                    let map = beliefs.mixture.iter().map(|&value| value as f32).collect();
                    Ok((beliefs.log_evidence, map))
                };
                return Ok(witnesses.into_iter().map(evidence).collect());
            }
        };
        let items = images.into_iter().map(|image| Labelled { image, label });
        let maps = call.run(&self.score, items.collect()).await?;
        Ok(maps
            .into_iter()
            .map(|map| {
                let map = map?;
                Ok((likelihood::total(&map), map))
            })
            .collect())
    }
}

#[async_trait]
impl Scores for Model {
    async fn score(&self, images: Vec<Image>, ask: &ScoreAsk, call: &Call) -> Result<Scored, Refusal> {
        only_exact(ask)?;
        let items = self.log_likelihoods(images, &ask.condition, call).await?;
        Ok(Scored {
            qualifiers: qualifiers(self.network.assurance(), &ask.condition, self.label_names()),
            items: items
                .into_iter()
                .map(|item| likelihood_of(item?, self.shape, ask.map))
                .collect(),
        })
    }
}

/// Judged by its own likelihood. Without a label a conditional model is asked for p(x), and it is p(x) that is
/// calibrated.
#[async_trait]
impl Measures for Model {
    fn statistic(&self) -> &'static str {
        STATISTIC
    }

    async fn measure(&self, images: Vec<Image>, call: &Call) -> Result<PerImage<f64>, Refusal> {
        let labels = self.labels.as_ref();
        let condition = labels.map_or(Condition::None, |labels| Condition::Open(Prior::new(&labels.prior)));
        let totals = self.log_likelihoods(images, &condition, call).await?;
        Ok(totals.into_iter().map(|item| item.map(|(total, _)| total)).collect())
    }
}

/// Labels by Bayes' rule from a density that is conditioned on them: p(y | x) = p(x | y) p(y) / p(x).
pub(super) struct ByBayes {
    pub(super) model: std::sync::Arc<Model>,
    pub(super) prior: Prior,
}

#[async_trait]
impl Classifies for ByBayes {
    async fn classify(
        &self,
        images: Vec<Image>,
        ask: &ClassifyAsk,
        call: &Call,
    ) -> Result<PerImage<Classification>, Refusal> {
        no_doubts(ask)?;
        let witnesses = self.model.witnesses(&images, &self.prior, call).await?;
        Ok(witnesses
            .into_iter()
            .map(|witness| Ok(classification(witness?, ask.map)))
            .collect())
    }
}

/// Only a composite has calibrated reasons to give no label.
pub(in crate::families) fn no_doubts(ask: &ClassifyAsk) -> Result<(), Refusal> {
    if ask.false_alarm_rate.is_none() {
        return Ok(());
    }
    Err(Refusal::option(
        "false_alarm_rate",
        "this model always names a label; only a composite of the family \"bayes\" can answer \"none of these\"",
    ))
}

fn classification(Witness { maps, beliefs }: Witness, map: bool) -> Classification {
    let evidence = |map: &Vec<f32>| {
        let evidence = beliefs.pixel_evidence(map);
        evidence.into_iter().map(|value| value as f32).collect()
    };
    Classification {
        maps: map.then(|| maps.iter().map(evidence).collect()),
        doubts: None,
        log_posterior: beliefs.log_posterior,
        log_likelihoods: Some(beliefs.log_likelihoods),
        log_evidence: Some(beliefs.log_evidence),
    }
}

impl Surprises for Network {
    fn assurance(&self) -> Assurance {
        Self::assurance(self)
    }

    fn log_probabilities(&self, images: &[&[u8]], threads: Threads) -> Answers<Vec<f32>> {
        self.log_probabilities(&given(images), threads)
            .map_err(|error| error.to_string())
    }

    fn surprises(&self, images: &[&[u8]], threads: Threads) -> Answers<Surprise> {
        let logits = self
            .logits(&given(images), threads)
            .map_err(|error| error.to_string())?;
        let surprise = |(row, levels): (usize, &&[u8])| logits.surprise(row, levels);
        Ok(images.iter().enumerate().map(surprise).collect())
    }
}

/// Images for networks without labels.
fn given<'a>(images: &[&'a [u8]]) -> Vec<Given<'a>> {
    images.iter().map(|&levels| levels.into()).collect()
}
