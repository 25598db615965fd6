//! `model.toml`: what a version is, parsed into types that cannot be wrong in themselves.

pub mod composite;
pub mod declared;
pub mod detector;
mod families;
pub mod members;
mod parse;

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use self::parse::{family_of, parse};
use super::digest::hexadecimal;
use crate::{
    domain::{family::Family, image::ImageShape},
    network::{autoencoder, autoregressive, classifier, generator, vae},
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
    /// The labels that the model is conditioned on, or that a classifier tells apart.
    pub labels: Option<Labels>,
    /// What the training framework computed.
    pub golden: Golden,
    /// Calibration scores.
    pub calibration: Option<CalibrationFile>,
    /// Where the model came from.
    pub provenance: Provenance,
    /// How its graphs may be run.
    pub serving: declared::Serving,
    /// What the numbers of its graphs are.
    pub declared: declared::Declared,
    /// sha256 of every file, in hexadecimal digits.
    pub sha256: BTreeMap<String, String>,
}

/// Labels of a conditional model or of a classifier.
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
    /// One graph of a recurrent step.
    Recurrent {
        /// ONNX file.
        file: String,
        /// Contract.
        contract: autoregressive::StepContract,
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
    /// A deterministic encoder and decoder.
    Autoencoder {
        /// ONNX file of the encoder.
        encoder: String,
        /// ONNX file of the decoder.
        decoder: String,
        /// Contract.
        contract: autoencoder::Contract,
    },
    /// A generator of images.
    Generator {
        /// ONNX file.
        file: String,
        /// Contract.
        contract: generator::Contract,
    },
    /// One graph of logits of labels.
    Classifier {
        /// ONNX file.
        file: String,
        /// Contract.
        contract: classifier::Contract,
    },
    /// No graphs of its own: other models are asked.
    Detector(detector::Contract),
    /// No graphs of its own: a classifier and a density are asked.
    Composite(composite::Contract),
}

/// What the training framework computed, which the server has to reproduce.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    /// What was computed of what.
    pub files: GoldenFiles,
    /// How far off the server may be.
    pub tolerance: Tolerance,
}

/// The files of golden values, all npy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GoldenFiles {
    /// Numbers of images.
    Scored {
        /// uint8 of shape (n, H, W) or (n, H, W, C).
        images: String,
        /// float64 of shape (n), or of a model with labels (n, labels): what the family's documentation says.
        scores: String,
    },
    /// Images of codes.
    Drawn {
        /// float32 of shape (n, L).
        latents: String,
        /// int64 of shape (n), if the generator takes labels.
        labels: Option<String>,
        /// float32 of shape (n, C, H, W), in units of level / (levels − 1).
        images: String,
    },
}

/// How far a number may be from the golden one, in the unit of that number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Allowed difference.
    pub absolute: f64,
    /// Allowed difference as a share of the golden number.
    pub relative: f64,
}

impl Tolerance {
    /// The difference allowed to a golden number.
    pub fn allows(self, expected: f64) -> f64 {
        self.absolute + self.relative * expected.abs()
    }
}

/// Calibration scores of held-out inliers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CalibrationFile {
    /// npy file, float64 of shape (n), nats; of a conditional model log p(image), over all labels.
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
        let manifest = match family_of(text)? {
            Family::PixelCnn => parse::<families::PixelCnn>(text, name),
            Family::PixelRnn => parse::<families::PixelRnn>(text, name),
            Family::Vae => parse::<families::Vae>(text, name),
            Family::Autoencoder => parse::<families::Autoencoder>(text, name),
            Family::Gan => parse::<families::Gan>(text, name),
            Family::Classifier => parse::<families::Classifier>(text, name),
            Family::Bayes => composite::parse(text, name),
            Family::Detector => detector::parse(text, name),
        }?;
        manifest.with_files_checked()
    }

    /// Refuses files that are elsewhere and files without a hash, and hashes without a file where there is no graph that could name it.
    fn with_files_checked(self) -> Result<Self, String> {
        let companions = self.companions();
        for file in self.files().into_iter().chain(companions.iter().copied()) {
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
        if self.graph_files().is_empty() {
            self.without_companions_but(&[])?;
        }
        Ok(self)
    }

    /// Files that have a hash and are not named: those that graphs name, which hold their weights.
    pub fn companions(&self) -> Vec<&str> {
        let named = self.files();
        let files = self.sha256.keys().map(String::as_str);
        files.filter(|file| !named.contains(file)).collect()
    }

    /// Refuses hashes of files that neither the manifest nor, being `used`, a graph names.
    pub fn without_companions_but(&self, used: &[String]) -> Result<(), String> {
        let is_used = |file: &str| used.iter().any(|used| used == file);
        match self.companions().into_iter().find(|file| !is_used(file)) {
            Some(extra) => Err(format!(
                "sha256: {extra:?} is named neither in the manifest nor by a graph"
            )),
            None => Ok(()),
        }
    }

    /// Files of graphs.
    fn graph_files(&self) -> Vec<&str> {
        match &self.graphs {
            Graphs::Autoregressive { file, .. }
            | Graphs::Recurrent { file, .. }
            | Graphs::Generator { file, .. }
            | Graphs::Classifier { file, .. } => vec![file.as_str()],
            Graphs::Vae {
                encoder, decoder, ..
            }
            | Graphs::Autoencoder {
                encoder, decoder, ..
            } => vec![encoder.as_str(), decoder.as_str()],
            Graphs::Detector(_) | Graphs::Composite(_) => Vec::new(),
        }
    }

    /// What identifies the graphs: sha256 of the sha256 of each and then of the files of their weights, as hexadecimal digits one after
    /// the other.
    pub fn graphs_sha256(&self) -> String {
        let hashes = self
            .graph_files()
            .into_iter()
            .chain(self.companions())
            .filter_map(|file| self.sha256.get(file));
        let text: String = hashes.map(|hash| hash.to_lowercase()).collect();
        hexadecimal(&Sha256::digest(text))
    }

    /// Files that the manifest names.
    pub fn files(&self) -> Vec<&str> {
        let graphs = self.graph_files();
        let calibration = self.calibration.iter().map(|c| c.scores.as_str());
        let ambiguity = match &self.graphs {
            Graphs::Composite(contract) => Some(contract.ambiguity.as_str()),
            _ => None,
        };
        graphs
            .into_iter()
            .chain(self.golden.files.names())
            .chain(calibration)
            .chain(ambiguity)
            .chain(self.provenance.trained_on.as_deref())
            .collect()
    }

    /// The name of the likelihood head.
    pub fn likelihood(&self) -> &'static str {
        match &self.graphs {
            Graphs::Autoregressive { contract, .. } => contract.head.name(),
            Graphs::Recurrent { contract, .. } => contract.head.name(),
            Graphs::Vae { .. } => "discretized-logistic",
            Graphs::Autoencoder { .. }
            | Graphs::Generator { .. }
            | Graphs::Classifier { .. }
            | Graphs::Detector(_)
            | Graphs::Composite(_) => "none",
        }
    }
}

impl GoldenFiles {
    /// The file of images.
    pub fn images(&self) -> &str {
        match self {
            Self::Scored { images, .. } | Self::Drawn { images, .. } => images,
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            Self::Scored { images, scores } => vec![images, scores],
            Self::Drawn {
                latents,
                labels,
                images,
            } => [latents]
                .into_iter()
                .chain(labels)
                .chain([images])
                .map(String::as_str)
                .collect(),
        }
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
        refused_of(VALID, from, to)
    }

    fn refused_of(valid: &str, from: &str, to: &str) -> String {
        let text = valid.replace(from, to);
        assert_ne!(text, valid);
        Manifest::parse(&text, "m").unwrap_err()
    }

    fn valid_pixelrnn() -> String {
        let logits = VALID.find("[graphs.logits]").unwrap();
        let likelihood = VALID.find("[likelihood]").unwrap();
        let step = r#"[graphs.step]
file = "model.onnx"
states = "states"
levels = "levels"
inside = "inside"
row = "row"
column = "column"
state = "state"
output = "logits"
[recurrence]
state_size = 3
neighbours = [[0, -1], [-1, 1]]
window = [[-1, 0], [0, -1]]
"#;
        let text = format!("{}{step}{}", &VALID[..logits], &VALID[likelihood..]);
        text.replace("pixelcnn", "pixelrnn")
    }

    #[test]
    fn each_mistake_of_a_recurrent_model_is_named() {
        let valid = valid_pixelrnn();
        let manifest = Manifest::parse(&valid, "m").unwrap();
        assert_eq!(manifest.family, Family::PixelRnn);
        assert_eq!(manifest.files(), ["model.onnx", "g.npy", "s.npy"]);
        assert_eq!(manifest.likelihood(), "categorical");
        let refused = |from: &str, to: &str| refused_of(&valid, from, to);
        let table =
            &valid[valid.find("[recurrence]").unwrap()..valid.find("[likelihood]").unwrap()];
        assert!(refused(table, "").contains("a pixelrnn needs [recurrence]"));
        assert!(refused("channels = 1", "channels = 3").contains("image.channels"));
        assert!(refused("state_size = 3", "state_size = 0").contains("recurrence.state_size: 0"));
        assert!(refused("state_size = 3", "state_size = -3").contains("state_size"));
        assert!(refused("[[-1, 0], ", "[[0, 0], ").contains("recurrence.window: [0, 0] leaks"));
        assert!(refused("[-1, 1]]", "[0, 1]]").contains("recurrence.neighbours: [0, 1] leaks"));
        assert!(refused("[-1, 1]]", "[-1, 2]]").contains("outside an image of 2×2"));
        assert!(refused("[-1, 1]]", "[0, -1]]").contains("there twice"));
        assert!(refused("[[0, -1], [-1, 1]]", "[]").contains("neighbours: at least one"));
        assert!(refused("[-1, 1]]", "[-1, 1, 0]]").contains("[-1, 1, 0] is not [dy, dx]"));
        assert!(refused("inside = \"inside\"\n", "").contains("inside"));
        assert!(refused("\"categorical\"", "\"bernoulli\"").contains("not normalised"));
        let with_labels = "[labels]\nnames = [\"a\", \"b\"]\nprior = [0.5, 0.5]\n[likelihood]";
        assert!(refused("[likelihood]", with_labels).contains("a pixelrnn has no [labels]"));
        let with_latent = "[latent]\nsize = 3\n[likelihood]";
        assert!(refused("[likelihood]", with_latent).contains("a pixelrnn has no [latent]"));
        let foreign = format!("{table}[likelihood]");
        assert!(
            refused_of(VALID, "[likelihood]", &foreign).contains("a pixelcnn has no [recurrence]")
        );
    }

    #[test]
    fn a_valid_manifest_parses() {
        let manifest = Manifest::parse(VALID, "m").unwrap();
        assert_eq!(manifest.family, Family::PixelCnn);
        assert_eq!(manifest.files(), ["model.onnx", "g.npy", "s.npy"]);
        assert!(!manifest.serving.is_one_at_a_time());
    }

    #[test]
    fn weights_beside_a_graph_have_a_hash_and_are_part_of_what_identifies_it() {
        let text = format!("{VALID}\"model.onnx.data\" = \"01\"\n");
        let manifest = Manifest::parse(&text, "m").unwrap();
        assert_eq!(manifest.companions(), ["model.onnx.data"]);
        let without = Manifest::parse(VALID, "m").unwrap();
        assert_ne!(manifest.graphs_sha256(), without.graphs_sha256());
        assert_eq!(
            manifest.without_companions_but(&["model.onnx.data".to_owned()]),
            Ok(())
        );
        let error = manifest.without_companions_but(&[]).unwrap_err();
        assert!(error.contains("neither in the manifest nor by a graph"));
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
        assert!(refused("\"pixelcnn\"", "\"vae\"").contains("unknown field `logits`"));
        assert!(refused("family = \"pixelcnn\"\n", "").contains("family"));
        assert!(
            refused("head = \"categorical\"", "head = \"discretized-logistic\"")
                .contains("categorical")
        );
        assert!(refused("[likelihood]\nhead = \"categorical\"\n", "").contains("[likelihood]"));
        assert!(refused("[input]\nscale = 1.0\noffset = 0.0\n", "").contains("[input]"));
        assert!(refused("\"categorical\"", "\"bernoulli\"").contains("not normalised"));
        assert!(refused("\"categorical\"", "\"gaussian\"").contains("gaussian"));
        assert!(refused("scale = 1.0", "scale = 0.0").contains("scale"));
        assert!(
            refused("file = \"model.onnx\"", "file = \"../model.onnx\"").contains("plain name")
        );
        assert!(refused("\"s.npy\" = \"00\"", "").contains("no hash"));
        assert!(
            refused("\"s.npy\" = \"00\"", "\"s.npy\" = \"00\"\n\"a/x\" = \"0\"")
                .contains("plain name")
        );
        let with = |table: &str| refused("[likelihood]", &format!("{table}\n[likelihood]"));
        assert!(with("[serving]\nbatch = 8").contains("on any number of images, or on 1"));
        assert!(with("[declared]\nlog_scale = \"scale\"").contains("a pixelcnn gives no such"));
        assert!(with("[declared]\nrandom = true").contains("must not be drawn"));
        assert!(with("[declared]\nlogits = \"odds\"").contains("odds"));
        assert!(refused("scale = 1.0", "scale = ").contains("line"));
    }
}
