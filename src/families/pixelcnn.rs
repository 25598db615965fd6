//! What the manifest of each family with graphs says beside what every manifest says.

use serde::{Deserialize, de::DeserializeOwned};

use super::{
    Golden, Graphs, Labels, Statistic,
    parse::{Common, DrawnTable, Head, ScoredTable, refuse},
};
use crate::{
    domain::family::Family,
    graph::recurrence::Names,
    network::{autoencoder, autoregressive, classifier, generator, vae},
};

/// `[graphs]` of a family.
pub(super) trait FamilyTables: DeserializeOwned {
    /// The family.
    const FAMILY: Family;
    /// What its versions are calibrated on, if they can be.
    const STATISTIC: Option<Statistic>;
    /// `[golden]` of the family.
    type Golden: DeserializeOwned + TryInto<Golden, Error = String>;

    /// The contract of the graphs.
    fn into_graphs(self, common: &Common<'_>) -> Result<Graphs, String>;
}

/// `[graphs]` of a `pixelcnn`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PixelCnn {
    logits: PixelCnnLogits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PixelCnnLogits {
    file: String,
    input: String,
    output: String,
    label: Option<String>,
}

impl FamilyTables for PixelCnn {
    const FAMILY: Family = Family::PixelCnn;
    const STATISTIC: Option<Statistic> = Some(Statistic::LogLikelihood);
    type Golden = ScoredTable;

    fn into_graphs(self, common: &Common<'_>) -> Result<Graphs, String> {
        common.no_recurrence()?;
        let PixelCnnLogits {
            file,
            input,
            output,
            label,
        } = self.logits;
        common.no_latent()?;
        Ok(Graphs::Autoregressive {
            contract: autoregressive::Contract {
                shape: common.shape,
                head: autoregressive_head(common)?,
                map: common.input_map()?,
                input,
                output,
                label: label_input(label, common.labels, "graphs.logits")?,
            },
            file,
        })
    }
}

/// `[graphs]` of a `pixelrnn`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PixelRnn {
    step: PixelRnnStep,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PixelRnnStep {
    file: String,
    states: String,
    levels: String,
    inside: String,
    row: String,
    column: String,
    state: String,
    output: String,
}

impl FamilyTables for PixelRnn {
    const FAMILY: Family = Family::PixelRnn;
    const STATISTIC: Option<Statistic> = Some(Statistic::LogLikelihood);
    type Golden = ScoredTable;

    fn into_graphs(self, common: &Common<'_>) -> Result<Graphs, String> {
        common.no_latent()?;
        common.no_labels()?;
        let step = self.step;
        Ok(Graphs::Recurrent {
            file: step.file,
            contract: autoregressive::StepContract {
                shape: common.shape,
                head: autoregressive_head(common)?,
                map: common.input_map()?,
                names: Names {
                    states: step.states,
                    levels: step.levels,
                    inside: step.inside,
                    row: step.row,
                    column: step.column,
                    state: step.state,
                    logits: step.output,
                },
                recurrence: common.recurrence()?,
            },
        })
    }
}

/// The distribution over levels that logits describe.
fn autoregressive_head(common: &Common<'_>) -> Result<autoregressive::Head, String> {
    let levels = common.shape.levels();
    match common.head.ok_or_else(|| common.needs("[likelihood]"))? {
        Head::Categorical => Ok(autoregressive::Head::Categorical),
        Head::Bernoulli if levels == 2 => Ok(autoregressive::Head::Bernoulli),
        Head::Bernoulli => Err(format!(
            "likelihood.head: \"bernoulli\" is a likelihood of 2 levels, not of {levels}: binary cross-entropy on grey levels is not \
             normalised"
        )),
        Head::DiscretizedLogistic => Err(format!(
            "likelihood.head: a {} has a \"categorical\" or \"bernoulli\" head",
            common.family
        )),
    }
}

/// The label input of a graph, which must be there exactly if there are labels.
fn label_input(
    input: Option<String>,
    labels: Option<&Labels>,
    table: &str,
) -> Result<Option<autoregressive::LabelInput>, String> {
    match (input, labels) {
        (None, None) => Ok(None),
        (Some(input), Some(labels)) => Ok(Some(autoregressive::LabelInput {
            input,
            classes: u32::try_from(labels.names.len()).unwrap_or(u32::MAX),
        })),
        (Some(_), None) => Err(format!("{table}.label: a conditional model needs [labels]")),
        (None, Some(_)) => Err(format!(
            "labels: [{table}] has no label input to give them to"
        )),
    }
}

/// `[graphs]` of a `vae`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Vae {
    encoder: VaeEncoder,
    decoder: VaeDecoder,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VaeEncoder {
    file: String,
    input: String,
    mean: String,
    log_variance: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VaeDecoder {
    file: String,
    input: String,
    mean: String,
    log_scale: String,
}

impl FamilyTables for Vae {
    const FAMILY: Family = Family::Vae;
    const STATISTIC: Option<Statistic> = Some(Statistic::ElboAtMean);
    type Golden = ScoredTable;

    fn into_graphs(self, common: &Common<'_>) -> Result<Graphs, String> {
        common.no_recurrence()?;
        common.no_labels()?;
        let head = common.head.ok_or_else(|| common.needs("[likelihood]"))?;
        refuse(head != Head::DiscretizedLogistic, || {
            format!(
                "likelihood.head: a {} has a \"discretized-logistic\" head",
                common.family
            )
        })?;
        let Self { encoder, decoder } = self;
        Ok(Graphs::Vae {
            encoder: encoder.file,
            decoder: decoder.file,
            contract: vae::Contract {
                shape: common.shape,
                latent_size: common.latent_size()?,
                map: common.input_map()?,
                encoder: vae::EncoderNames {
                    input: encoder.input,
                    mean: encoder.mean,
                    log_variance: encoder.log_variance,
                },
                decoder: vae::DecoderNames {
                    input: decoder.input,
                    mean: decoder.mean,
                    log_scale: decoder.log_scale,
                },
            },
        })
    }
}

/// `[graphs]` of an `autoencoder`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Autoencoder {
    encoder: OneToOne,
    decoder: OneToOne,
}

/// A graph with one input and one output.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneToOne {
    file: String,
    input: String,
    output: String,
}

impl FamilyTables for Autoencoder {
    const FAMILY: Family = Family::Autoencoder;
    const STATISTIC: Option<Statistic> = None;
    type Golden = ScoredTable;

    fn into_graphs(self, common: &Common<'_>) -> Result<Graphs, String> {
        common.no_recurrence()?;
        common.no_labels()?;
        common.no_likelihood()?;
        let names = |graph: &OneToOne| autoencoder::Names {
            input: graph.input.clone(),
            output: graph.output.clone(),
        };
        Ok(Graphs::Autoencoder {
            contract: autoencoder::Contract {
                shape: common.shape,
                latent_size: common.latent_size()?,
                map: common.input_map()?,
                encoder: names(&self.encoder),
                decoder: names(&self.decoder),
            },
            encoder: self.encoder.file,
            decoder: self.decoder.file,
        })
    }
}

/// `[graphs]` of a `gan`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gan {
    generator: Generator,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Generator {
    file: String,
    input: String,
    label: Option<String>,
    output: String,
}

impl FamilyTables for Gan {
    const FAMILY: Family = Family::Gan;
    const STATISTIC: Option<Statistic> = None;
    type Golden = DrawnTable;

    fn into_graphs(self, common: &Common<'_>) -> Result<Graphs, String> {
        common.no_recurrence()?;
        let Generator {
            file,
            input,
            label,
            output,
        } = self.generator;
        common.no_likelihood()?;
        refuse(common.input.is_some(), || {
            format!("{}: it takes codes, not images", common.has_no("[input]"))
        })?;
        Ok(Graphs::Generator {
            file,
            contract: generator::Contract {
                shape: common.shape,
                latent_size: common.latent_size()?,
                input,
                output,
                label: label_input(label, common.labels, "graphs.generator")?,
            },
        })
    }
}

/// `[graphs]` of a `classifier`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Classifier {
    logits: ClassifierLogits,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassifierLogits {
    file: String,
    input: String,
    output: String,
    features: Option<String>,
}

impl FamilyTables for Classifier {
    const FAMILY: Family = Family::Classifier;
    const STATISTIC: Option<Statistic> = None;
    type Golden = ScoredTable;

    fn into_graphs(self, common: &Common<'_>) -> Result<Graphs, String> {
        common.no_recurrence()?;
        common.no_latent()?;
        common.no_likelihood()?;
        let ClassifierLogits {
            file,
            input,
            output,
            features,
        } = self.logits;
        let labels = common.labels.ok_or_else(|| common.needs("[labels]"))?;
        Ok(Graphs::Classifier {
            file,
            contract: classifier::Contract {
                shape: common.shape,
                map: common.input_map()?,
                classes: labels.names.len(),
                input,
                output,
                features,
            },
        })
    }
}
