//! Versions on disk made by code: small graphs, right or wrong, with golden numbers that they reproduce.

#![allow(clippy::field_reassign_with_default)]

use std::{fs, path::PathBuf};

use density_server::{
    domain::{
        image::{Image, ImageShape},
        likelihood,
        random::{Random, Stream},
    },
    families::{
        autoregressive::network::{Contract, Head, Network},
        decoder::{self, Decoder, Head as Given, Seed},
    },
    graph::{
        self,
        protobuf::{ElementType, Graph, Model, Node, Tensor, ValueInfo},
        rewrite::InputMap,
    },
    media,
    runtime::Threads,
};
use sha2::{Digest, Sha256};

use super::{engine, graphs};

/// A version that is to be written.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) family: &'static str,
    /// Tables beside those that every version here has.
    pub(crate) tables: String,
    /// Files with a hash.
    pub(crate) files: Vec<(String, Vec<u8>)>,
    /// Files without.
    pub(crate) unhashed: Vec<(String, Vec<u8>)>,
    pub(crate) shape: ImageShape,
    pub(crate) golden: &'static str,
    pub(crate) tolerance: f64,
    pub(crate) parameters: u64,
}

/// A version on disk, as long as it is held.
#[derive(Debug)]
pub(crate) struct Written {
    _root: tempfile::TempDir,
    pub(crate) folder: PathBuf,
}

/// Name of every version here.
pub(crate) const NAME: &str = "made";

/// Names of the golden files of families that say something of images.
pub(crate) const SCORED: &str = "images = \"g.npy\"\nscores = \"s.npy\"";
/// Names of the golden files of generators.
pub(crate) const DRAWN: &str = "latents = \"z.npy\"\nimages = \"x.npy\"";

impl Draft {
    /// Writes it as `made/1` in a folder of its own.
    pub(crate) fn write(&self) -> Written {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(NAME).join("1");
        fs::create_dir_all(&folder).unwrap();
        let mut hashes = String::new();
        for (name, bytes) in &self.files {
            fs::write(folder.join(name), bytes).unwrap();
            hashes += &format!("{name:?} = \"{}\"\n", hexadecimal(bytes));
        }
        for (name, bytes) in &self.unhashed {
            fs::write(folder.join(name), bytes).unwrap();
        }
        let (shape, tolerance) = (self.shape, self.tolerance);
        let manifest = format!(
            "name = {NAME:?}\nfamily = {:?}\ndescription = \"made by a test\"\n[image]\nchannels = {}\nheight = \
             {}\nwidth = {}\nlevels = {}\n{}\n[golden]\n{}\nabsolute_tolerance = {tolerance:e}\nrelative_tolerance = \
             1e-6\n[provenance]\ndata = \"none\"\nlicence = \"none\"\ncommand = \"none\"\nparameters = \
             {}\ntraining_seconds = 0\n[sha256]\n{hashes}",
            self.family,
            shape.channels(),
            shape.height(),
            shape.width(),
            shape.levels(),
            self.tables,
            self.golden,
            self.parameters,
        );
        fs::write(folder.join("model.toml"), manifest).unwrap();
        Written { _root: root, folder }
    }

    /// The same with more tables.
    pub(crate) fn with(mut self, tables: &str) -> Self {
        self.tables += &format!("\n{tables}\n");
        self
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Images of noise.
pub(crate) fn noise(shape: ImageShape, count: usize) -> Vec<Image> {
    let image = |number| {
        let random = Random::new(5, Stream::Probe, number as u64);
        let level = |i| (random.uniform(i as u32) * shape.levels() as f64) as u8;
        Image::new(shape, (0..shape.dimensions()).map(level).collect::<Vec<u8>>()).unwrap()
    };
    (0..count).map(image).collect()
}

/// A `pixelcnn` whose golden scores are those of `reference`, which is the graph itself unless it cannot be run.
pub(crate) fn pixelcnn(shape: ImageShape, head: Head, model: &Model, reference: &Model) -> Draft {
    let images = noise(shape, 3);
    let contract = Contract {
        shape,
        head,
        map: InputMap::same(1.0 / (shape.levels() - 1) as f64, 0.0),
        input: "image".to_owned(),
        output: "logits".to_owned(),
        label: None,
    };
    let network = Network::load(&*engine(), NAME, reference.clone(), contract).unwrap();
    let given: Vec<_> = images.iter().map(|image| image.levels().into()).collect();
    let maps = network.log_probabilities(&given, Threads::All).unwrap();
    let scores = maps.iter().map(|map| likelihood::total(map));
    let files = vec![
        ("model.onnx".to_owned(), graph::serialize(model)),
        ("g.npy".to_owned(), media::write_images(&images, shape)),
        ("s.npy".to_owned(), media::write_f64(&[3], scores)),
    ];
    let scale = 1.0 / (shape.levels() - 1) as f64;
    Draft {
        family: "pixelcnn",
        tables: format!(
            "[input]\nscale = {scale}\noffset = 0.0\n\
             [graphs.logits]\nfile = \"model.onnx\"\ninput = \"image\"\noutput = \"logits\"\n\
             [likelihood]\nhead = {:?}\n",
            head.name()
        ),
        files,
        unhashed: Vec::new(),
        shape,
        golden: SCORED,
        tolerance: 1e-3,
        parameters: density_server::graph::weights::count(model),
    }
}

/// A `gan` whose golden images are those of `reference`.
pub(crate) fn gan(shape: ImageShape, size: usize, model: &Model, reference: &Model) -> Draft {
    let contract = decoder::Contract {
        shape,
        latent_size: size,
        input: "z".to_owned(),
        label: None,
        head: Given::picture(shape, "image".to_owned()),
    };
    let network = Decoder::load(&*engine(), NAME, reference, contract).unwrap();
    let codes: Vec<f32> = (0..3 * size).map(|i| (i as f32).sin()).collect();
    let seed = |code: &[f32]| Seed {
        code: code.to_vec(),
        label: 0,
    };
    let mut values = Vec::new();
    for code in codes.chunks(size) {
        let pictures = network.decode(&[seed(code)], Threads::All).unwrap();
        values.extend(pictures[0].mean());
    }
    let form = [3, shape.channels(), shape.height(), shape.width()];
    let files = vec![
        ("model.onnx".to_owned(), graph::serialize(model)),
        ("z.npy".to_owned(), media::write_f32(&[3, size], codes.into_iter())),
        ("x.npy".to_owned(), media::write_f32(&form, values.into_iter())),
    ];
    Draft {
        family: "gan",
        tables: format!(
            "[graphs.generator]\nfile = \"model.onnx\"\ninput = \"z\"\noutput = \"image\"\n[latent]\nsize = {size}\n"
        ),
        files,
        unhashed: Vec::new(),
        shape,
        golden: DRAWN,
        tolerance: 1e-3,
        parameters: density_server::graph::weights::count(model),
    }
}

/// A graph of nodes that ends in `output`; both have a batch before their sizes.
pub(crate) fn model(
    nodes: Vec<Node>,
    initializers: Vec<Tensor>,
    (input, of_input): (&str, &[usize]),
    (output, of_output): (&str, &[usize]),
) -> Model {
    let mut graph = Graph::default();
    graph.name = Some(NAME.to_owned());
    graph.nodes = nodes;
    graph.initializers = initializers;
    graph.inputs = vec![ValueInfo::batched(input, ElementType::Float, of_input)];
    graph.outputs = vec![ValueInfo::batched(output, ElementType::Float, of_output)];
    graphs::model(graph)
}

/// Random weights.
pub(crate) fn weights(name: &str, dims: &[usize], scale: f32) -> Tensor {
    let random = Random::new(dims.len() as u64, Stream::Probe, name.len() as u64);
    let values = (0..dims.iter().product::<usize>())
        .map(|i| (random.uniform(i as u32) as f32 * 2.0 - 1.0) * scale)
        .collect();
    floats(name, dims, values)
}

/// A tensor of real numbers.
pub(crate) fn floats(name: &str, dims: &[usize], values: Vec<f32>) -> Tensor {
    let mut tensor = Tensor::default();
    tensor.dims = dims.iter().map(|&size| size as i64).collect();
    tensor.data_type = Some(ElementType::Float as i32);
    tensor.float_data = values;
    tensor.name = Some(name.to_owned());
    tensor
}
