//! A service over plain exports of small networks that others might have written: one is conditioned on labels, one
//! cannot be compiled.

use std::{
    fs,
    path::Path,
    sync::{Arc, LazyLock},
};

use density_server::{
    domain::{
        image::{Image, ImageShape},
        likelihood,
    },
    families::{
        autoregressive::network::{Contract, Given, Head, Network},
        manifest::LabelInput,
    },
    graph::{self, rewrite::InputMap},
    media,
    operations::Service,
    runtime::Threads,
    scheduling::SchedulerConfig,
};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::common::{engine, root, service_over};

/// Conditioned on [`LABELS`].
pub(crate) const CONDITIONAL: &str = "conditional";

/// The labels of [`CONDITIONAL`].
pub(crate) const LABELS: [&str; 3] = ["bag", "shoe", "shirt"];

/// Drawn by full passes.
pub(crate) const LOOPED: &str = "looped";

/// Images of these models have 7 rows, 6 columns and 4 levels.
const SHAPE: (usize, usize, usize) = (7, 6, 4);

/// The service, one for all tests.
pub(crate) fn service() -> &'static Arc<Service> {
    static SERVICE: LazyLock<(TempDir, Arc<Service>)> = LazyLock::new(|| {
        let repository = tempfile::tempdir().unwrap();
        let labels = LABELS.map(|name| format!("{name:?}")).join(", ");
        let conditional = format!("[labels]\nnames = [{labels}]\nprior = [0.5, 0.25, 0.25]\n");
        write_model(repository.path(), CONDITIONAL, &conditional);
        write_model(repository.path(), LOOPED, "");
        let config = SchedulerConfig {
            workers: 2,
            ..SchedulerConfig::default()
        };
        let service = service_over(repository.path(), engine(), config);
        (repository, service)
    });
    &SERVICE.1
}

/// A version of a model around an export. No framework's scores are known, so the golden ones are its own.
fn write_model(repository: &Path, name: &str, labels: &str) {
    let folder = repository.join(name).join("1");
    fs::create_dir_all(&folder).unwrap();
    let (height, width, levels) = SHAPE;
    let shape = ImageShape::new(1, height, width, levels).unwrap();
    let image = Image::new(shape, vec![0; shape.dimensions()]).unwrap();
    let export = format!("tests/fixtures/exports/{name}.torchscript.onnx");
    let export = fs::read(root().join(export)).unwrap();
    let count = if labels.is_empty() { 1 } else { LABELS.len() };
    let scores = scores(&export, &image, count);
    let shape_of_scores = if labels.is_empty() { vec![1] } else { vec![1, count] };
    let scores = media::write_f64(&shape_of_scores, scores.into_iter());
    let files = [
        ("model.onnx", export),
        ("images.npy", media::write_images(&[image], shape)),
        ("scores.npy", scores),
    ];
    let mut hashes = String::new();
    for (file, bytes) in files {
        let digest: String = Sha256::digest(&bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        hashes += &format!("{file:?} = {digest:?}\n");
        fs::write(folder.join(file), bytes).unwrap();
    }
    let label_input = if labels.is_empty() { "" } else { "label = \"label\"" };
    let manifest = format!(
        r#"
name = "{name}"
family = "pixelcnn"
description = "An export with random weights"

[image]
channels = 1
height = {height}
width = {width}
levels = {levels}

[input]
scale = 0.3333333333333333
offset = 0.0

[graphs.logits]
file = "model.onnx"
input = "image"
output = "logits"
{label_input}

{labels}
[likelihood]
head = "categorical"

[golden]
images = "images.npy"
scores = "scores.npy"
absolute_tolerance = 1e-3
relative_tolerance = 0.0

[provenance]
data = "none, random weights"
licence = "MIT"
command = "none"
parameters = 0
training_seconds = 0

[sha256]
{hashes}"#
    );
    fs::write(folder.join("model.toml"), manifest).unwrap();
}

/// What the export's network says of an image with each of its labels, if it has more than one.
fn scores(export: &[u8], image: &Image, labels: usize) -> Vec<f64> {
    let contract = Contract {
        shape: image.shape(),
        head: Head::Categorical,
        map: InputMap::same(1.0 / 3.0, 0.0),
        input: "image".to_owned(),
        output: "logits".to_owned(),
        label: (labels > 1).then(|| LabelInput {
            input: "label".to_owned(),
            classes: labels as u32,
        }),
    };
    let network = Network::load(&*engine(), "export", graph::parse(export).unwrap(), contract).unwrap();
    let given: Vec<Given<'_>> = (0..labels as u32)
        .map(|label| Given {
            levels: image.levels(),
            label,
        })
        .collect();
    let maps = network.log_probabilities(&given, Threads::One).unwrap();
    maps.iter().map(|map| likelihood::total(map)).collect()
}
