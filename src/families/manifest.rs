//! `model.toml`: what a version is, parsed into types that cannot be wrong in themselves.
//!
//! What every manifest says is read here; the other tables are the family's own, see [`Tables`].

pub mod declared;
mod digest;
pub mod members;
pub(crate) mod placement;
pub mod preprocessing;
mod tables;
pub mod text;
pub mod write;

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

pub use self::{
    declared::{Declared, Serving},
    digest::{hexadecimal, sha256},
    tables::{
        CalibrationFile, Head, InputMap, LabelInput, Likelihood, Scored, Tables, Tolerance, label_input, refuse,
        tolerance,
    },
};
use super::{Contract, Registry};
use crate::{domain::image::ImageShape, media::DecodeOptions};

/// Name of the manifest in a version's folder.
pub const MANIFEST: &str = "model.toml";

/// A valid manifest.
#[derive(Debug)]
pub struct Manifest {
    /// Name: that of the model's folder.
    pub name: String,
    /// Family.
    pub family: &'static str,
    /// One line.
    pub description: String,
    /// Size of the images.
    pub shape: ImageShape,
    /// What is done to image files so that they fit.
    pub preprocessing: DecodeOptions,
    /// What the family says beside that.
    pub contract: Box<dyn Contract>,
    /// Where the model came from.
    pub provenance: Provenance,
    /// How its graphs may be run.
    pub serving: Serving,
    /// What the numbers of its graphs are.
    pub declared: Declared,
    /// sha256 of every file, in hexadecimal digits.
    pub sha256: BTreeMap<String, String>,
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
    /// Weight that training gave to the KL term, if it was not 1.
    pub beta: Option<f64>,
    /// Anything else worth knowing.
    pub notes: Option<String>,
    /// What was taken for granted of its graphs, in sentences.
    #[serde(default)]
    pub assumed: Vec<String>,
    /// File of short hashes of the training images, see [`crate::detection::trained_on`].
    pub trained_on: Option<String>,
}

impl Manifest {
    /// Parses `text`. `name` is the model's folder name, with which the manifest must agree.
    pub fn parse(text: &str, name: &str, registry: &Registry) -> Result<Self, String> {
        let mut tables = Tables::read(text)?;
        let family = registry
            .family(&tables.needed::<String>("family")?)
            .map_err(|error| format!("family: {error}"))?;
        tables.set_family(family.name());
        let own_name: String = tables.needed("name")?;
        refuse(own_name != name, || {
            format!("name: {own_name:?} is not the name of its folder, {name:?}")
        })?;
        let shape = tables.read_shape()?;
        let preprocessing = preprocessing::read(&mut tables)?;
        let (description, provenance, sha256) = (
            tables.needed("description")?,
            tables.needed("provenance")?,
            tables.needed("sha256")?,
        );
        let contract = family.read(&mut tables)?;
        let serving: Serving = tables.optional("serving")?.unwrap_or_default();
        let declared: Declared = tables.optional("declared")?.unwrap_or_default();
        tables.finish()?;
        let declarable = contract.declarable();
        let serving = serving.checked(family.name(), declarable)?;
        let declared = declared.checked(family.name(), declarable)?;
        let manifest = Self {
            name: own_name,
            family: family.name(),
            description,
            shape,
            preprocessing,
            contract,
            provenance,
            serving,
            declared,
            sha256,
        };
        manifest.check_files().map(|()| manifest)
    }

    /// Refuses files that are elsewhere and files without a hash, and hashes without a file where there is no graph
    /// that could name it.
    fn check_files(&self) -> Result<(), String> {
        for file in self.files().into_iter().chain(self.companions()) {
            if Path::new(file).file_name().and_then(|name| name.to_str()) != Some(file) {
                return Err(format!("{file:?} is not the plain name of a file beside the manifest"));
            }
            if !self.sha256.contains_key(file) {
                return Err(format!("sha256: {file:?} is named in the manifest but has no hash"));
            }
        }
        if self.contract.graphs().is_empty() {
            self.without_companions_but(&[])?;
        }
        Ok(())
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

    /// What identifies the graphs: sha256 of the sha256 of each and then of the files of their weights, as hexadecimal
    /// digits one after the other. `unlisted` are hashes of weights that the manifest does not name. `None` without
    /// graphs.
    pub fn graphs_sha256<'a>(&'a self, unlisted: impl Iterator<Item = &'a str>) -> Option<String> {
        let graphs = self.contract.graphs();
        let files = graphs.iter().copied().chain(self.companions());
        let listed = files.filter_map(|file| self.sha256.get(file));
        let hashes = listed.map(String::as_str).chain(unlisted);
        let text: String = hashes.map(str::to_lowercase).collect();
        (!graphs.is_empty()).then(|| sha256(text))
    }

    /// Files that the manifest names.
    pub fn files(&self) -> Vec<&str> {
        let mut files = self.contract.graphs();
        files.extend(self.contract.files());
        files.extend(self.provenance.trained_on.as_deref());
        files
    }
}

/// The number of a version's folder name: decimal, from 1, without leading zeros.
pub fn version_number(name: &str) -> Option<u32> {
    let number: u32 = name.parse().ok()?;
    (number > 0 && number.to_string() == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, name: &str) -> Result<Manifest, String> {
        Manifest::parse(text, name, &Registry::standard())
    }

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
        parse(&text, "m").unwrap_err()
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
        let manifest = parse(&valid, "m").unwrap();
        assert_eq!(manifest.family, "pixelrnn");
        assert_eq!(manifest.files(), ["model.onnx", "g.npy", "s.npy"]);
        let refused = |from: &str, to: &str| refused_of(&valid, from, to);
        let table = &valid[valid.find("[recurrence]").unwrap()..valid.find("[likelihood]").unwrap()];
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
        assert!(refused_of(VALID, "[likelihood]", &foreign).contains("a pixelcnn has no [recurrence]"));
    }

    #[test]
    fn a_valid_manifest_parses() {
        let manifest = parse(VALID, "m").unwrap();
        assert_eq!(manifest.family, "pixelcnn");
        assert_eq!(manifest.files(), ["model.onnx", "g.npy", "s.npy"]);
        assert!(!manifest.serving.is_one_at_a_time());
    }

    #[test]
    fn weights_beside_a_graph_have_a_hash_and_are_part_of_what_identifies_it() {
        let text = format!("{VALID}\"model.onnx.data\" = \"01\"\n");
        let manifest = parse(&text, "m").unwrap();
        assert_eq!(manifest.companions(), ["model.onnx.data"]);
        let without = parse(VALID, "m").unwrap();
        let identity = |manifest: &Manifest| manifest.graphs_sha256(std::iter::empty());
        assert_ne!(identity(&manifest), identity(&without));
        assert_eq!(identity(&manifest), without.graphs_sha256(["01"].into_iter()));
        assert_eq!(manifest.without_companions_but(&["model.onnx.data".to_owned()]), Ok(()));
        let error = manifest.without_companions_but(&[]).unwrap_err();
        assert!(error.contains("neither in the manifest nor by a graph"));
    }

    #[test]
    fn each_mistake_is_named() {
        assert!(parse(VALID, "other").unwrap_err().contains("folder"));
        assert!(refused("levels = 4", "levels = 4\ndepth = 3").contains("depth"));
        assert!(refused("levels = 4", "levels = 400").contains("400 levels"));
        assert!(refused("height = 2\n", "").contains("height"));
        assert!(refused("\"pixelcnn\"", "\"pixelcn\"").contains("unknown family"));
        assert!(refused("\"pixelcnn\"", "\"vae\"").contains("unknown field `logits`"));
        assert!(refused("family = \"pixelcnn\"\n", "").contains("family"));
        assert!(refused("head = \"categorical\"", "head = \"discretized-logistic\"").contains("categorical"));
        assert!(refused("[likelihood]\nhead = \"categorical\"\n", "").contains("[likelihood]"));
        assert!(refused("[input]\nscale = 1.0\noffset = 0.0\n", "").contains("[input]"));
        assert!(refused("\"categorical\"", "\"bernoulli\"").contains("not normalised"));
        assert!(refused("\"categorical\"", "\"gaussian\"").contains("an autoregressive model has"));
        assert!(refused("scale = 1.0", "scale = 0.0").contains("scale"));
        assert!(refused("file = \"model.onnx\"", "file = \"../model.onnx\"").contains("plain name"));
        assert!(refused("\"s.npy\" = \"00\"", "").contains("no hash"));
        assert!(refused("\"s.npy\" = \"00\"", "\"s.npy\" = \"00\"\n\"a/x\" = \"0\"").contains("plain name"));
        let with = |table: &str| refused("[likelihood]", &format!("{table}\n[likelihood]"));
        assert!(with("[serving]\nbatch = 8").contains("on any number of images, or on 1"));
        assert!(with("[declared]\nlog_scale = \"scale\"").contains("a pixelcnn gives no such"));
        assert!(with("[declared]\nrandom = true").contains("must not be drawn"));
        assert!(with("[declared]\nlogits = \"odds\"").contains("odds"));
        assert!(refused("scale = 1.0", "scale = ").contains("line"));
    }

    #[test]
    fn versions_are_plain_numbers() {
        assert_eq!(version_number("12"), Some(12));
        for name in ["0", "01", "-1", "v1", "", "1.0", "99999999999"] {
            assert_eq!(version_number(name), None, "{name}");
        }
    }
}
