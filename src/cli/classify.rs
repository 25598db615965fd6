//! `classify`: which label images have, as a table.

use clap::{ArgMatches, Args};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    CliError, OfflineSettings, Outcome,
    inputs::InputArgs,
    model, npy, pipeline,
    table::{Answer, Format, Layout, OutputArgs},
};
use crate::{
    domain::{
        family::{Capability, Family},
        image::ImageShape,
        likelihood,
    },
    service::requests::{Classification, ClassifyOptions, Doubts, Verdict},
};

/// Print the labels of images
///
/// Columns: the most probable label, of a composite empty unless the decision is accept; its probability; of a composite the decision and
/// the p-values behind it; log_likelihood, which is log p(x) in nats where the model has it, and p_NAME for
/// the probability of every label; as JSON lines more. With --format npy the array holds the probabilities of every image in order of
/// label, or with --map what each of its dimensions says about each label.
#[derive(Debug, Args)]
pub(super) struct ClassifyArgs {
    /// Name of a model in the repository, or path of a model's folder
    model: String,

    #[command(flatten)]
    inputs: InputArgs,

    /// Also tell what every dimension says about each label, in nats (jsonl or npy)
    #[arg(long)]
    map: bool,

    /// Of a composite: the share of ordinary images that each reason to give no label may reject [default: 0.01]
    #[arg(long, value_name = "RATE")]
    false_alarm_rate: Option<f64>,

    #[command(flatten)]
    output: OutputArgs,

    #[command(flatten)]
    settings: OfflineSettings,
}

/// The row of one image.
#[derive(Debug, Serialize)]
struct Row {
    /// Empty where a composite gives none.
    label: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    decision: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ambiguity_p_value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    novelty_p_value: Option<f64>,
    probability: f64,
    probabilities: ByLabel<f64>,
    log_posterior: ByLabel<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_likelihoods: Option<ByLabel<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    log_likelihood: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bits_per_dim: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pixel_evidence: Option<ByLabel<Vec<f32>>>,
}

/// Values by the names of labels, in the order of their numbers.
#[derive(Debug)]
struct ByLabel<T>(Vec<(String, T)>);

pub(super) fn run(arguments: ClassifyArgs, matches: &ArgMatches) -> Result<Outcome, CliError> {
    if arguments.map && arguments.output.format == Format::Csv {
        return Err(CliError::Usage(
            "--map gives a number for every dimension and label, which CSV has no room for: add --format jsonl or --format npy"
                .to_owned(),
        ));
    }
    let loaded = model::load(
        &arguments.model,
        Capability::Classify,
        arguments.settings,
        matches,
    )?;
    let options = ClassifyOptions {
        map: arguments.map,
        false_alarm_rate: arguments.false_alarm_rate,
    };
    let (service, model) = (&loaded.app.service, &loaded.model);
    let doubts = model.family() == Family::Bayes;
    let layout = layout(model.label_names(), model.shape(), arguments.map, doubts);
    let classify = async |images| {
        let answer = service
            .classify(model, images, &options, pipeline::no_deadline())
            .await?;
        let row = |own| Row::new(&answer.labels, own, model.shape());
        Ok(answer
            .results
            .into_iter()
            .map(|result| result.map(row))
            .collect())
    };
    pipeline::run(
        &loaded,
        &arguments.inputs,
        &arguments.output,
        layout,
        classify,
    )
}

/// `doubts` is whether the model has reasons to give no label.
fn layout(labels: &[String], shape: ImageShape, map: bool, doubts: bool) -> Layout {
    let reasons: &[&str] = if doubts {
        &["decision", "ambiguity_p_value", "novelty_p_value"]
    } else {
        &[]
    };
    let columns = ["label", "probability"]
        .iter()
        .chain(reasons)
        .chain(&["log_likelihood"])
        .map(|name| (*name).to_owned())
        .chain(labels.iter().map(|label| format!("p_{label}")));
    let (element, row_shape) = if map {
        let (channels, height, width) = (shape.channels(), shape.height(), shape.width());
        let sides = vec![labels.len(), channels, height, width];
        (npy::Element::F32, sides)
    } else {
        (npy::Element::F64, vec![labels.len()])
    };
    Layout {
        columns: columns.collect(),
        element,
        row_shape,
    }
}

impl Row {
    fn new(labels: &[String], classification: Classification, shape: ImageShape) -> Self {
        let number = classification.label();
        let probabilities = classification.probabilities();
        let doubts = classification.doubts.as_ref();
        let verdict = doubts.map(Doubts::verdict);
        let accepted = verdict.is_none_or(|verdict| verdict == Verdict::Accept);
        Self {
            label: labels
                .get(number)
                .filter(|_| accepted)
                .cloned()
                .unwrap_or_default(),
            decision: verdict.map(Verdict::name),
            ambiguity_p_value: doubts.map(|doubts| doubts.ambiguity.p_value),
            novelty_p_value: doubts.map(|doubts| doubts.novelty.p_value),
            probability: probabilities[number],
            probabilities: ByLabel::new(labels, probabilities),
            log_posterior: ByLabel::new(labels, classification.log_posterior),
            log_likelihoods: classification
                .log_likelihoods
                .map(|values| ByLabel::new(labels, values)),
            log_likelihood: classification.log_evidence,
            bits_per_dim: classification
                .log_evidence
                .map(|nats| likelihood::bits_per_dim(nats, shape.dimensions())),
            pixel_evidence: classification.maps.map(|maps| ByLabel::new(labels, maps)),
        }
    }
}

impl Answer for Row {
    fn cells(&self) -> Vec<String> {
        let optional = |value: Option<f64>| value.map_or_else(String::new, |v| v.to_string());
        let probabilities = self.probabilities.0.iter().map(|(_, p)| p.to_string());
        let mut cells = vec![self.label.clone(), self.probability.to_string()];
        if let Some(decision) = self.decision {
            cells.push(decision.to_owned());
            cells.extend([self.ambiguity_p_value, self.novelty_p_value].map(optional));
        }
        cells.push(optional(self.log_likelihood));
        cells.extend(probabilities);
        cells
    }

    fn numbers(&self) -> Vec<f64> {
        match &self.pixel_evidence {
            Some(maps) => {
                let values = maps.0.iter().flat_map(|(_, map)| map);
                values.copied().map(f64::from).collect()
            }
            None => self.probabilities.0.iter().map(|(_, p)| *p).collect(),
        }
    }
}

impl<T> ByLabel<T> {
    fn new(labels: &[String], values: Vec<T>) -> Self {
        Self(labels.iter().cloned().zip(values).collect())
    }
}

impl<T: Serialize> Serialize for ByLabel<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (label, value) in &self.0 {
            map.serialize_entry(label, value)?;
        }
        map.end()
    }
}
