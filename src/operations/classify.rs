//! `classify`: which label does this image have?

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Answer, Context, Format, Operation, Rendering, Tensor, TensorSpec,
    answer::NoHead,
    input::Images,
    render::not_acceptable,
    tensor::{Axis, Datatype, Values},
};
use crate::{
    domain::{image::ImageShape, likelihood},
    metrics::Metrics,
    model::{
        Model, Refusal,
        classify::{Classification, Classifies, ClassifyAsk, Decision, Doubts},
        score::NO_PROBABILITY,
        value::{ByLabel, Map, Number},
    },
};

/// Labels of a model from which on nobody reads what an answer says of each.
const MANY_LABELS: usize = 100;

const NOVEL: &str = "novel";
const AMBIGUOUS: &str = "ambiguous";
const NOVELTY_P_VALUE: &str = "novelty_p_value";
const AMBIGUITY_P_VALUE: &str = "ambiguity_p_value";

/// What only a model that can find reasons to give no label tells.
const OF_DOUBTS: [&str; 4] = [NOVEL, AMBIGUOUS, NOVELTY_P_VALUE, AMBIGUITY_P_VALUE];

/// Classification.
#[derive(Debug)]
pub struct Classify;

/// Options of `classify`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct ClassifyOptions {
    /// Whether to answer with what each dimension says about each label: in JSON beside the numbers, as `image/png` a
    /// row an image with a picture a label (red speaks for the label, blue against it, strongest from 1 nat on), as
    /// `application/x-npy` float32 of shape [N, labels, C, H, W].
    #[serde(default)]
    pub map: bool,
    /// Of a composite: the share of ordinary images that each of its two reasons to give no label may reject; by
    /// default 0.01.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub false_alarm_rate: Option<f64>,
    /// So many of the most probable labels are told, as a list, instead of all by their names. In tensors and npy all
    /// labels have their places as before.
    #[schemars(range(min = 1))]
    pub top: Option<u32>,
}

/// What the model says about the label of one image. Logarithms are natural; a number that JSON cannot express is null,
/// which for a logarithm is minus infinity.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Labelling {
    /// The most probable label; of a composite null where the decision is not `accept`.
    #[schemars(example = &"ankle boot")]
    pub label: Option<Arc<str>>,
    /// Of a composite: `accept`, or `none_of_these` if the image is novel, or `ambiguous` if it lies between labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"accept")]
    pub decision: Option<&'static str>,
    /// The largest of the probabilities.
    #[schemars(example = 0.93)]
    pub probability: f64,
    /// The most probable labels, the first one first, if so many of them were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top: Option<Vec<Ranked>>,
    /// p(y|x) of every label.
    #[serde(skip_serializing_if = "ByLabel::is_untold")]
    pub probabilities: ByLabel<f64>,
    /// log p(y|x) of every label, for what is too improbable for a probability.
    #[serde(skip_serializing_if = "ByLabel::is_untold")]
    pub log_posterior: ByLabel<Number>,
    /// log p(x|y) of every label in nats, of a density that is conditioned on labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_likelihoods: Option<ByLabel<Number>>,
    /// log p(x) in nats: log Σ p(x|y) p(y) of a density that is conditioned on labels, or what the density of a
    /// composite says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = -1498.2)]
    pub log_likelihood: Option<Number>,
    /// −log p(x) / (dimensions · ln 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 2.757)]
    pub bits_per_dim: Option<Number>,
    /// Why numbers are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Of a composite: the share of ordinary images that each of its two doubts may reject.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(example = 0.01)]
    pub false_alarm_rate: Option<f64>,
    /// Whether the image lies between labels: the value is −log max p(y|x), in nats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambiguity: Option<Doubt>,
    /// Whether the image is like nothing that the labels mean: the value is a detector's strangeness, or log p(x) in
    /// nats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub novelty: Option<Doubt>,
    /// For every label and dimension log p(xᵢ | x₍<ᵢ₎, y) − log p(xᵢ | x₍<ᵢ₎) in nats, by which the dimension moves log
    /// p(y | x so far): positive for the label, negative against it; the sum is log p(y|x) − log p(y).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixel_evidence: Option<ByLabel<Map>>,
}

/// A label among the most probable ones.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ranked {
    /// Its name.
    #[schemars(example = &"ankle boot")]
    pub label: Arc<str>,
    /// p(y|x).
    #[schemars(example = 0.93)]
    pub probability: f64,
    /// log p(y|x).
    pub log_posterior: Number,
}

/// One reason to give no label.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Doubt {
    /// What it is judged by.
    #[schemars(example = 0.07)]
    pub value: Number,
    /// How often an ordinary image is as far out.
    #[schemars(example = 0.41)]
    pub p_value: f64,
    /// Whether the p-value is at most the false-alarm rate.
    pub reject: bool,
}

impl Operation for Classify {
    const NAME: &'static str = "classify";
    const SUMMARY: &'static str = "Classify images";
    const DESCRIPTION: &'static str = "The probability of every label given the image: by a classifier, by Bayes' rule \
        from a density that is conditioned on labels, or by a composite of classifier and density, which can also \
        answer that the image is none of these, or ambiguous. As `application/x-npy` float64 of shape [N, labels], \
        probabilities in the order of the labels' numbers.";
    const FORMATS: &'static [Format] = &[Format::Json, Format::Png, Format::Npy];
    const TENSORS: &'static [TensorSpec] = &[
        TensorSpec {
            name: NOVEL,
            datatype: Datatype::Bool,
            axes: &[],
            when: None,
            description: "of a composite: whether the image is none of these",
        },
        TensorSpec {
            name: AMBIGUOUS,
            datatype: Datatype::Bool,
            axes: &[],
            when: None,
            description: "of a composite: whether the image lies between labels",
        },
        TensorSpec {
            name: NOVELTY_P_VALUE,
            datatype: Datatype::F64,
            axes: &[],
            when: None,
            description: "of a composite: how often an ordinary image is as novel",
        },
        TensorSpec {
            name: AMBIGUITY_P_VALUE,
            datatype: Datatype::F64,
            axes: &[],
            when: None,
            description: "of a composite: how often an ordinary image is as ambiguous",
        },
        TensorSpec {
            name: "probabilities",
            datatype: Datatype::F64,
            axes: &[Axis::Labels],
            when: None,
            description: "p(label | image), in the order of the labels' numbers",
        },
        TensorSpec {
            name: "pixel_evidence",
            datatype: Datatype::F32,
            axes: &[Axis::Labels, Axis::Channels, Axis::Height, Axis::Width],
            when: Some("map"),
            description: "what each dimension says for each label, in nats",
        },
    ];

    type Capability = dyn Classifies;
    type Input = Images;
    type Options = ClassifyOptions;
    type Head = NoHead;
    type Item = Labelling;

    fn gives(model: &Model, tensor: &TensorSpec) -> bool {
        let has_doubts = || {
            model
                .can::<dyn Classifies>()
                .is_ok_and(|classifies| classifies.has_doubts())
        };
        !OF_DOUBTS.contains(&tensor.name) || has_doubts()
    }

    async fn run(
        classifier: &Self::Capability,
        model: &Model,
        Images(images): Images,
        options: ClassifyOptions,
        context: &Context,
    ) -> Result<Answer<Self>, Refusal> {
        let ask = ClassifyAsk {
            map: options.map,
            false_alarm_rate: options.false_alarm_rate,
        };
        let names: Arc<[Arc<str>]> = model.label_names().iter().map(|n| n.as_str().into()).collect();
        let items = classifier.classify(images, &ask, &context.call).await?;
        let labelling = |own: Result<Classification, Refusal>| Labelling::new(&names, own?, options.top, model.shape);
        Ok(Answer {
            head: NoHead {},
            items: items.into_iter().map(labelling).collect(),
        })
    }

    fn check_format(format: Format, options: &ClassifyOptions) -> Result<(), Refusal> {
        if format == Format::Png && !options.map {
            return Err(
                not_acceptable(&[Format::Json, Format::Npy]).with_detail("a picture (image/png) needs map=true")
            );
        }
        Ok(())
    }

    fn first_query(model: &Model) -> &'static str {
        if model.label_names().len() > MANY_LABELS {
            "?top=5"
        } else {
            ""
        }
    }

    fn tensors(_: &NoHead, items: &[Labelling]) -> Vec<Tensor> {
        let labels = items.first().map_or(0, |item| item.probabilities.values().len());
        let probabilities = items.iter().flat_map(|item| item.probabilities.values()).copied();
        let mut tensors = of_doubts(items);
        tensors.push(Tensor {
            name: "probabilities",
            shape: vec![items.len(), labels],
            values: Values::F64(probabilities.collect()),
        });
        let maps = items.iter().filter_map(|item| item.pixel_evidence.as_ref());
        let maps: Vec<&Map> = maps.flat_map(ByLabel::values).collect();
        if let Some(first) = maps.first() {
            let values = maps.iter().map(|map| map.values.as_slice());
            let mut tensor = Tensor::maps("pixel_evidence", first.shape, values);
            tensor.shape.splice(..1, [items.len(), labels]);
            tensors.push(tensor);
        }
        tensors
    }

    fn rendering(_: NoHead, items: Vec<Labelling>) -> Rendering {
        let labels = items.first().map_or(0, |item| item.probabilities.values().len());
        let evidence = items.into_iter().filter_map(|item| item.pixel_evidence);
        let maps: Vec<Map> = evidence.flat_map(ByLabel::into_values).collect();
        match maps.first() {
            None => Rendering::Nothing,
            Some(first) => Rendering::Evidence {
                shape: first.shape,
                labels,
                maps: maps.into_iter().map(|map| map.values).collect(),
            },
        }
    }

    fn observe(model: &Model, items: &[&Labelling], metrics: &Metrics) {
        let name = model.name.as_str();
        let bits = metrics.bits_per_dim.with_label_values(&[name]);
        for item in items {
            if let Some(value) = item.bits_per_dim {
                bits.observe(value.0);
            }
            if let (Some(novelty), Some(decision)) = (&item.novelty, item.decision) {
                let p_values = metrics.p_value.with_label_values(&[name]);
                p_values.observe(novelty.p_value);
                metrics.decisions.with_label_values(&[name, decision]).inc();
            }
        }
    }
}

impl Labelling {
    fn new(
        names: &Arc<[Arc<str>]>,
        classification: Classification,
        top: Option<u32>,
        shape: ImageShape,
    ) -> Result<Self, Refusal> {
        let by_label = |values: &[f64]| ByLabel::new(names, values.iter().copied().map(Number));
        let probabilities = classification.probabilities();
        let number = classification.label();
        let (Some(label), Some(&probability)) = (names.get(number), probabilities.get(number)) else {
            return Err(Refusal::internal("a classification has other labels than its model"));
        };
        let decision = classification.doubts.as_ref().map(Doubts::decision);
        let accepted = decision.is_none_or(|decision| decision == Decision::Accept);
        let doubts = classification.doubts.as_ref();
        let doubt = |doubt: &crate::model::classify::Doubt| Doubt {
            value: doubt.value.into(),
            p_value: doubt.p_value,
            reject: doubt.reject,
        };
        let mut log_posterior = by_label(&classification.log_posterior);
        let ranked = top.map(|top| ranked(names, &classification.log_posterior, &probabilities, top as usize));
        let mut probabilities = ByLabel::new(names, probabilities);
        if ranked.is_some() {
            (probabilities, log_posterior) = (probabilities.untold(), log_posterior.untold());
        }
        let evidence = classification.log_evidence;
        let dimensions = shape.dimensions();
        Ok(Self {
            label: accepted.then(|| Arc::clone(label)),
            decision: decision.map(Decision::name),
            probability,
            log_likelihoods: classification
                .log_likelihoods
                .as_deref()
                .filter(|_| ranked.is_none())
                .map(by_label),
            top: ranked,
            probabilities,
            log_posterior,
            log_likelihood: evidence.map(Number),
            bits_per_dim: evidence.map(|nats| likelihood::bits_per_dim(nats, dimensions).into()),
            reason: evidence.is_some_and(|nats| !nats.is_finite()).then_some(NO_PROBABILITY),
            false_alarm_rate: doubts.map(|doubts| doubts.false_alarm_rate),
            ambiguity: doubts.map(|doubts| doubt(&doubts.ambiguity)),
            novelty: doubts.map(|doubts| doubt(&doubts.novelty)),
            pixel_evidence: classification.maps.map(|maps| {
                let map = |values| Map { shape, values };
                ByLabel::new(names, maps.into_iter().map(map))
            }),
        })
    }
}

/// What a composite makes of its doubts, in which a tensor of probabilities has no place for "none of these".
fn of_doubts(items: &[Labelling]) -> Vec<Tensor> {
    let doubts = items
        .iter()
        .filter_map(|item| item.novelty.as_ref().zip(item.ambiguity.as_ref()));
    let (novelty, ambiguity): (Vec<&Doubt>, Vec<&Doubt>) = doubts.unzip();
    if novelty.is_empty() {
        return Vec::new();
    }
    let flags = |name, doubts: &[&Doubt]| Tensor::flags(name, doubts.iter().map(|doubt| doubt.reject));
    let p_values = |name, doubts: &[&Doubt]| Tensor::numbers(name, doubts.iter().map(|doubt| doubt.p_value));
    vec![
        flags(NOVEL, &novelty),
        flags(AMBIGUOUS, &ambiguity),
        p_values(NOVELTY_P_VALUE, &novelty),
        p_values(AMBIGUITY_P_VALUE, &ambiguity),
    ]
}

/// So many of the most probable labels; among equals the one of the lower number comes first.
fn ranked(names: &[Arc<str>], log_posterior: &[f64], probabilities: &[f64], top: usize) -> Vec<Ranked> {
    let mut labels: Vec<usize> = (0..names.len()).collect();
    labels.sort_by(|&one, &other| log_posterior[other].total_cmp(&log_posterior[one]));
    let rank = |label: usize| Ranked {
        label: Arc::clone(&names[label]),
        probability: probabilities[label],
        log_posterior: Number(log_posterior[label]),
    };
    labels.into_iter().take(top).map(rank).collect()
}

#[cfg(test)]
mod tests;
