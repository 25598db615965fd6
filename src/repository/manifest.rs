//! `model.toml`: what a version is, parsed into types that cannot be wrong in themselves.

pub mod detector;

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::gate::hexadecimal;
use crate::{
    domain::{family::Family, image::ImageShape},
    graph::rewrite::InputMap,
    network::{autoregressive, vae},
};

/// A valid manifest.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Name: that of the model's folder.
    pub name: String,
    /// Family.
    pub family: Family,
    /// One line.
    pub description: String,
    /// Size of the images.
    pub shape: ImageShape,
    /// The family's graphs.
    pub graphs: Graphs,
    /// The labels that the model is conditioned on, if any.
    pub labels: Option<Labels>,
    /// Golden images and their scores.
    pub golden: Golden,
    /// Calibration scores.
    pub calibration: Option<CalibrationFile>,
    /// Where the model came from.
    pub provenance: Provenance,
    /// sha256 of every file, in hexadecimal digits.
    pub sha256: BTreeMap<String, String>,
}

/// Labels of a conditional model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    /// Their names, in the order of their numbers.
    pub names: Vec<String>,
    /// p(label), in the same order.
    pub prior: Vec<f64>,
}

/// Graph files and their contracts.
#[derive(Debug, Clone)]
pub enum Graphs {
    /// One graph of logits.
    Autoregressive {
        /// ONNX file.
        file: String,
        /// Contract.
        contract: autoregressive::Contract,
    },
    /// An encoder and a decoder.
    Vae {
        /// ONNX file of the encoder.
        encoder: String,
        /// ONNX file of the decoder.
        decoder: String,
        /// Contract.
        contract: vae::Contract,
    },
    /// No graphs of its own: other models are asked.
    Detector(detector::Contract),
}

/// Golden scores: what the training framework computed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// npy file, uint8 of shape (n, H, W) or (n, H, W, C).
    pub images: String,
    /// npy file, float64 of shape (n), nats; of a conditional model (n, labels): log p(image | label) of every label.
    pub scores: String,
    /// Allowed difference in nats.
    pub absolute_tolerance: f64,
    /// Allowed difference as a share of the golden score.
    pub relative_tolerance: f64,
}

/// Calibration scores of held-out inliers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationFile {
    /// npy file, float64 of shape (n), nats.
    pub scores: String,
    /// The statistic they are of.
    pub statistic: Statistic,
    /// Where they came from.
    pub description: String,
}

/// The statistic that detection looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// The exact log-likelihood.
    LogLikelihood,
    /// log p(x | z = μ(x)) − KL(q(z | x) ‖ p(z)): the evidence lower bound with its expectation taken at the posterior mean. Not
    /// itself a bound, but deterministic and cheap, which is what a statistic has to be.
    ElboAtMean,
    /// The one number that a detector makes of its statistics; see [`crate::domain::detection`].
    Strangeness,
}

impl Statistic {
    /// The name used in manifests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogLikelihood => "log_likelihood",
            Self::ElboAtMean => "elbo_at_mean",
            Self::Strangeness => "strangeness",
        }
    }
}

/// Where a model came from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Training data.
    pub data: String,
    /// Licence.
    pub licence: String,
    /// Training command.
    pub command: String,
    /// Weights.
    pub parameters: u64,
    /// Training time.
    pub training_seconds: f64,
    /// Bits per dimension on test images, as measured at training.
    pub test_bits_per_dim: Option<f64>,
    /// Anything else worth knowing.
    pub notes: Option<String>,
    /// File of short hashes of the training images, see [`super::trained_on`].
    pub trained_on: Option<String>,
}

impl Manifest {
    /// Parses `text`. `name` is the model's folder name, with which the manifest must agree.
    pub fn parse(text: &str, name: &str) -> Result<Self, String> {
        if detector_family(text) {
            return detector::parse(text, name)?.with_files_checked();
        }
        let file: File =
            toml::from_str(text).map_err(|error| error.to_string().trim().to_owned())?;
        file.validate(name)?.with_files_checked()
    }

    /// Refuses files that are elsewhere, files without a hash and hashes without a file.
    fn with_files_checked(self) -> Result<Self, String> {
        for file in self.files() {
            if Path::new(file).file_name().and_then(|name| name.to_str()) != Some(file) {
                return Err(format!(
                    "{file:?} is not the plain name of a file beside the manifest"
                ));
            }
            if !self.sha256.contains_key(file) {
                return Err(format!(
                    "sha256: {file:?} is named in the manifest but has no hash"
                ));
            }
        }
        if let Some(extra) = self
            .sha256
            .keys()
            .find(|file| !self.files().contains(&file.as_str()))
        {
            return Err(format!(
                "sha256: {extra:?} is not named anywhere in the manifest"
            ));
        }
        Ok(self)
    }

    /// Files of graphs.
    fn graph_files(&self) -> Vec<&str> {
        match &self.graphs {
            Graphs::Autoregressive { file, .. } => vec![file.as_str()],
            Graphs::Vae {
                encoder, decoder, ..
            } => vec![encoder.as_str(), decoder.as_str()],
            Graphs::Detector(_) => Vec::new(),
        }
    }

    /// What identifies the graphs: sha256 of the sha256 of each, as hexadecimal digits one after the other.
    pub fn graphs_sha256(&self) -> String {
        let hashes = self
            .graph_files()
            .into_iter()
            .filter_map(|file| self.sha256.get(file));
        let text: String = hashes.map(|hash| hash.to_lowercase()).collect();
        hexadecimal(&Sha256::digest(text))
    }

    /// Files that the manifest names.
    pub fn files(&self) -> Vec<&str> {
        let graphs = self.graph_files();
        let calibration = self.calibration.iter().map(|c| c.scores.as_str());
        graphs
            .into_iter()
            .chain([self.golden.images.as_str(), self.golden.scores.as_str()])
            .chain(calibration)
            .chain(self.provenance.trained_on.as_deref())
            .collect()
    }

    /// The name of the likelihood head.
    pub fn likelihood(&self) -> &'static str {
        match &self.graphs {
            Graphs::Autoregressive { contract, .. } => match contract.head {
                autoregressive::Head::Categorical => "categorical",
                autoregressive::Head::Bernoulli => "bernoulli",
            },
            Graphs::Vae { .. } => "discretized-logistic",
            Graphs::Detector(_) => "none",
        }
    }
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    family: String,
    description: String,
    image: ImageTable,
    input: InputTable,
    graphs: GraphTables,
    latent: Option<LatentTable>,
    labels: Option<Labels>,
    likelihood: LikelihoodTable,
    golden: Golden,
    calibration: Option<CalibrationFile>,
    provenance: Provenance,
    sha256: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImageTable {
    channels: usize,
    height: usize,
    width: usize,
    levels: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InputTable {
    scale: f64,
    offset: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GraphTables {
    logits: Option<LogitsTable>,
    encoder: Option<EncoderTable>,
    decoder: Option<DecoderTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogitsTable {
    file: String,
    input: String,
    output: String,
    label: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EncoderTable {
    file: String,
    input: String,
    mean: String,
    log_variance: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DecoderTable {
    file: String,
    input: String,
    mean: String,
    log_scale: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LatentTable {
    size: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LikelihoodTable {
    head: Head,
}

#[derive(Deserialize, PartialEq, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Head {
    Categorical,
    Bernoulli,
    DiscretizedLogistic,
}

impl File {
    fn validate(self, folder: &str) -> Result<Manifest, String> {
        if self.name != folder {
            return Err(format!(
                "name: {:?} is not the name of its folder, {folder:?}",
                self.name
            ));
        }
        let family: Family = self.family.parse().map_err(|e| format!("family: {e}"))?;
        let image = self.image;
        let shape = ImageShape::new(image.channels, image.height, image.width, image.levels)
            .map_err(|error| format!("image: {error}"))?;
        let map = InputMap {
            scale: self.input.scale,
            offset: self.input.offset,
        };
        if !(map.scale.is_finite() && map.offset.is_finite() && map.scale != 0.0) {
            return Err("input: scale and offset must be finite, and scale not 0".to_owned());
        }
        if let Some(labels) = &self.labels {
            check_labels(labels)?;
        }
        let graphs = graphs(
            family,
            self.labels.as_ref(),
            self.likelihood.head,
            shape,
            map,
            self.graphs,
            self.latent.map(|latent| latent.size),
        )?;
        let golden = &self.golden;
        if !(golden.absolute_tolerance >= 0.0 && golden.relative_tolerance >= 0.0) {
            return Err("golden: tolerances must not be negative".to_owned());
        }
        if let Some(calibration) = &self.calibration {
            let wanted = match family {
                Family::Vae => Statistic::ElboAtMean,
                _ => Statistic::LogLikelihood,
            };
            if self.labels.is_some() {
                return Err("calibration: a conditional model gives p(image | label), which detection cannot use".to_owned());
            }
            if calibration.statistic != wanted {
                return Err(format!(
                    "calibration.statistic: a {family} is calibrated on {:?}",
                    wanted.name()
                ));
            }
        }
        Ok(Manifest {
            name: self.name,
            family,
            description: self.description,
            shape,
            graphs,
            labels: self.labels,
            golden: self.golden,
            calibration: self.calibration,
            provenance: self.provenance,
            sha256: self.sha256,
        })
    }
}

/// Whether the manifest says that it is a detector's. What else is wrong with it is found when it is parsed.
fn detector_family(text: &str) -> bool {
    #[derive(Deserialize)]
    struct Kind {
        family: String,
    }
    toml::from_str::<Kind>(text).is_ok_and(|kind| kind.family == Family::Detector.name())
}

/// Names that differ, and a prior that is a distribution over them.
fn check_labels(labels: &Labels) -> Result<(), String> {
    let Labels { names, prior } = labels;
    if names.len() < 2 || names.iter().any(String::is_empty) {
        return Err("labels.names: at least two names, none of them empty, are needed".to_owned());
    }
    if let Some(twice) = names
        .iter()
        .enumerate()
        .find(|(at, name)| names[..*at].contains(name))
    {
        return Err(format!("labels.names: {:?} is there twice", twice.1));
    }
    let sum: f64 = prior.iter().sum();
    if prior.len() != names.len()
        || prior.iter().any(|&p| p.is_nan() || p <= 0.0)
        || (sum - 1.0).abs() > 1e-6
    {
        return Err(format!(
            "labels.prior: {} numbers with sum {sum}; wanted are {} positive ones with sum 1",
            prior.len(),
            names.len()
        ));
    }
    Ok(())
}

/// The label input of a graph, which must be there exactly if there are labels.
fn label_input(
    input: Option<String>,
    labels: Option<&Labels>,
) -> Result<Option<autoregressive::LabelInput>, String> {
    match (input, labels) {
        (None, None) => Ok(None),
        (Some(input), Some(labels)) => Ok(Some(autoregressive::LabelInput {
            input,
            classes: u32::try_from(labels.names.len()).unwrap_or(u32::MAX),
        })),
        (Some(_), None) => {
            Err("graphs.logits.label: a conditional model needs [labels]".to_owned())
        }
        (None, Some(_)) => {
            Err("labels: [graphs.logits] has no label input to give them to".to_owned())
        }
    }
}

fn graphs(
    family: Family,
    labels: Option<&Labels>,
    head: Head,
    shape: ImageShape,
    map: InputMap,
    tables: GraphTables,
    latent_size: Option<usize>,
) -> Result<Graphs, String> {
    let needs = |what: &str| format!("a {family} needs {what}");
    let has_no = |what: &str| format!("a {family} has no {what}");
    match family {
        Family::PixelCnn => {
            let head = match head {
                Head::Categorical => autoregressive::Head::Categorical,
                Head::Bernoulli if shape.levels() == 2 => autoregressive::Head::Bernoulli,
                Head::Bernoulli => {
                    return Err(format!(
                        "likelihood.head: \"bernoulli\" is a likelihood of 2 levels, not of {}: binary cross-entropy on grey levels \
                         is not normalised",
                        shape.levels()
                    ));
                }
                Head::DiscretizedLogistic => {
                    return Err(format!(
                        "likelihood.head: a {family} has a \"categorical\" or \"bernoulli\" head"
                    ));
                }
            };
            if tables.encoder.is_some() || tables.decoder.is_some() {
                return Err(has_no("[graphs.encoder] or [graphs.decoder]"));
            }
            if latent_size.is_some() {
                return Err(has_no("[latent]"));
            }
            let logits = tables.logits.ok_or_else(|| needs("[graphs.logits]"))?;
            Ok(Graphs::Autoregressive {
                file: logits.file,
                contract: autoregressive::Contract {
                    shape,
                    head,
                    map,
                    input: logits.input,
                    output: logits.output,
                    label: label_input(logits.label, labels)?,
                },
            })
        }
        Family::Vae if labels.is_some() => Err(has_no("[labels]")),
        Family::Vae => {
            if head != Head::DiscretizedLogistic {
                return Err(format!(
                    "likelihood.head: a {family} has a \"discretized-logistic\" head"
                ));
            }
            if tables.logits.is_some() {
                return Err(has_no("[graphs.logits]"));
            }
            let encoder = tables.encoder.ok_or_else(|| needs("[graphs.encoder]"))?;
            let decoder = tables.decoder.ok_or_else(|| needs("[graphs.decoder]"))?;
            let latent_size = latent_size
                .filter(|size| (1..=65_536).contains(size))
                .ok_or_else(|| needs("[latent] with a size from 1 to 65536"))?;
            Ok(Graphs::Vae {
                encoder: encoder.file,
                decoder: decoder.file,
                contract: vae::Contract {
                    shape,
                    latent_size,
                    map,
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
        _ => Err(format!(
            "family: {family} models are not served yet; \"pixelcnn\" and \"vae\" are"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = r#"
name = "m"
family = "pixelcnn"
description = "d"
[image]
channels = 1
height = 2
width = 2
levels = 4
[input]
scale = 1.0
offset = 0.0
[graphs.logits]
file = "model.onnx"
input = "image"
output = "logits"
[likelihood]
head = "categorical"
[golden]
images = "g.npy"
scores = "s.npy"
absolute_tolerance = 1e-3
relative_tolerance = 1e-6
[provenance]
data = "d"
licence = "l"
command = "c"
parameters = 1
training_seconds = 1
[sha256]
"model.onnx" = "00"
"g.npy" = "00"
"s.npy" = "00"
"#;

    fn refused(from: &str, to: &str) -> String {
        let text = VALID.replace(from, to);
        assert_ne!(text, VALID);
        Manifest::parse(&text, "m").unwrap_err()
    }

    #[test]
    fn a_valid_manifest_parses() {
        let manifest = Manifest::parse(VALID, "m").unwrap();
        assert_eq!(manifest.family, Family::PixelCnn);
        assert_eq!(manifest.files(), ["model.onnx", "g.npy", "s.npy"]);
    }

    #[test]
    fn each_mistake_is_named() {
        assert!(
            Manifest::parse(VALID, "other")
                .unwrap_err()
                .contains("folder")
        );
        assert!(refused("levels = 4", "levels = 4\ndepth = 3").contains("depth"));
        assert!(refused("levels = 4", "levels = 400").contains("400 levels"));
        assert!(refused("height = 2\n", "").contains("height"));
        assert!(refused("\"pixelcnn\"", "\"pixelcn\"").contains("unknown family"));
        assert!(refused("\"pixelcnn\"", "\"vae\"").contains("discretized-logistic"));
        assert!(refused("\"pixelcnn\"", "\"gan\"").contains("not served yet"));
        assert!(refused("\"categorical\"", "\"bernoulli\"").contains("not normalised"));
        assert!(refused("\"categorical\"", "\"gaussian\"").contains("gaussian"));
        assert!(refused("scale = 1.0", "scale = 0.0").contains("scale"));
        assert!(
            refused("file = \"model.onnx\"", "file = \"../model.onnx\"").contains("plain name")
        );
        assert!(refused("\"s.npy\" = \"00\"", "").contains("no hash"));
        assert!(
            refused("\"s.npy\" = \"00\"", "\"s.npy\" = \"00\"\n\"x\" = \"0\"")
                .contains("not named")
        );
        assert!(refused("scale = 1.0", "scale = ").contains("line"));
    }
}
