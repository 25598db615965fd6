//! `import`: a version made of exported graphs. Flags and prompts are here; what is recognised and written is not.

mod report;
mod terminal;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::Args;

use self::{
    report::{refuse, report},
    terminal::Terminal,
};
use super::{CliError, OfflineSettings, Outcome, print, spinner::Spinner};
use crate::{
    app::{self, Registries},
    families::import::{GoldenFiles, Interview, Origin, Request},
    media::{DecodeOptions, Filter, Resize},
};

/// Make a version of exported graphs: read what they are, write the manifest, prove it
///
/// Takes one ONNX file, or two (encoder and decoder), or a folder of them, as exporters of PyTorch and Keras write
/// them: with weights in or beside the file, any batch, axes in any order, probabilities instead of logits. Finds out
/// what they are, writes them again for the server, runs the load gate, and puts the version into the repository. What
/// no file tells is asked, or said by flags; --yes takes what is likely and says what that was.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    #[command(flatten)]
    request: RequestArgs,

    #[command(flatten)]
    settings: OfflineSettings,
}

#[derive(Debug, Args)]
struct RequestArgs {
    /// The graphs: files, or a folder that holds them
    #[arg(required = true, value_name = "GRAPH")]
    graphs: Vec<PathBuf>,

    /// Name of the model [default: that of the file, or of its folder]
    #[arg(long)]
    name: Option<String>,

    /// Ask nothing: take what is likely, and say what that was
    #[arg(long)]
    yes: bool,

    /// What the model is, such as pixelcnn or classifier [default: found]
    #[arg(long, value_name = "NAME")]
    family: Option<String>,

    /// Size of the images, where the graph leaves it open: HxW or CxHxW
    #[arg(long, value_name = "SIZE")]
    size: Option<String>,

    /// Levels of a dimension, where the graph does not tell [default: 256]
    #[arg(long, value_name = "COUNT")]
    levels: Option<String>,

    /// What the graph takes for levels: 0..1, -1..1, levels, -0.5..0.5 or imagenet
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true)]
    input: Option<String>,

    /// What is subtracted from levels / (levels − 1): one number, or one for each channel
    #[arg(long, value_name = "NUMBERS", requires = "deviation", allow_hyphen_values = true)]
    mean: Option<String>,

    /// What the rest is divided by
    #[arg(long, value_name = "NUMBERS", requires = "mean")]
    deviation: Option<String>,

    /// Standard deviation of a VAE's decoder that was trained on squared error, in units of level / (levels − 1), which
    /// makes a likelihood of it
    #[arg(long, value_name = "NUMBER")]
    sigma: Option<String>,

    /// Names of labels in their order, with commas between; or a file with one a line [default: 0, 1, …]
    #[arg(long, value_name = "NAMES")]
    labels: Option<String>,

    /// Shares of the labels in their order, with commas between [default: all the same]
    #[arg(long, value_name = "SHARES")]
    prior: Option<String>,

    /// Run images one at a time: of a graph whose numbers change with the company of an image in a batch, those that it
    /// gets alone are meant
    #[arg(long)]
    one_at_a_time: bool,

    /// Any other answer, such as logits=probabilities or layout=N,C,levels,H,W; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    declare: Vec<String>,

    /// Images and what the training framework says of them, which the server has to reproduce: npy files, uint8
    /// [G, H, W] or [G, H, W, C] and float64 [G]
    #[arg(long, num_args = 2, value_names = ["IMAGES", "SCORES"])]
    golden: Vec<PathBuf>,

    /// Images to calibrate with, which the model was not trained on: a folder or an npy file
    #[arg(long, value_name = "INPUT")]
    calibrate: Option<PathBuf>,

    /// Images that the model was trained on, of which hashes are kept
    #[arg(long, value_name = "INPUT")]
    trained_on: Option<PathBuf>,

    /// One line about the model
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// What it was trained on, for the manifest
    #[arg(long, value_name = "TEXT")]
    data: Option<String>,

    /// Its licence, for the manifest
    #[arg(long, value_name = "TEXT")]
    licence: Option<String>,

    /// The command that trained it, for the manifest
    #[arg(long, value_name = "TEXT")]
    trained_with: Option<String>,

    #[command(flatten)]
    preprocessing: PreprocessingArgs,
}

/// What is done to files so that they fit: declared in the manifest, and done to files that are read here.
#[derive(Debug, Clone, Copy, Args)]
struct PreprocessingArgs {
    /// Filter by which files of another size are always brought to the model's: box, bilinear, hamming, bicubic or
    /// lanczos
    #[arg(long, value_name = "FILTER", value_parser = filter)]
    resize: Option<Filter>,

    /// Pixels that the shorter side gets, out of which the middle is cut [default: the proportion is not kept]
    #[arg(long, value_name = "PIXELS", requires = "resize")]
    short_side: Option<u32>,

    /// Files of another kind always become grey or colour, and of 8 bits
    #[arg(long)]
    convert: bool,

    /// Files are always turned as the orientation tag of a camera asks
    #[arg(long)]
    orient: bool,
}

impl PreprocessingArgs {
    fn options(self) -> DecodeOptions {
        let short_side = self.short_side;
        DecodeOptions {
            resize: self.resize.map(|filter| Resize { filter, short_side }),
            convert: self.convert,
            orient: self.orient,
            ..DecodeOptions::default()
        }
    }
}

fn filter(text: &str) -> Result<Filter, String> {
    let all = [
        Filter::Box,
        Filter::Bilinear,
        Filter::Hamming,
        Filter::Bicubic,
        Filter::Lanczos,
    ];
    let found = all.into_iter().find(|filter| filter.name() == text);
    found.ok_or_else(|| format!("say one of {}", all.map(Filter::name).join(", ")))
}

pub(super) fn run(arguments: ImportArgs, registries: &Registries) -> Result<Outcome, CliError> {
    let ImportArgs { request, settings } = arguments;
    let settings = settings.start()?;
    let interview = Interview::new(request.answers()?);
    let mut terminal = Terminal {
        yes: request.yes,
        preprocessing: request.preprocessing.options(),
        spinner: Spinner::new("loading ONNX Runtime".to_owned()),
    };
    let request = request.request(&settings.models.repository)?;
    let imported = app::import(&settings, registries, &request, interview, &mut terminal)?;
    drop(terminal);
    match imported {
        Ok(imported) => {
            print(&report(&imported, &request, registries))?;
            Ok(Outcome::Done)
        }
        Err(error) => {
            refuse(&error);
            Ok(Outcome::Refused)
        }
    }
}

impl RequestArgs {
    /// Answers to questions that flags give.
    fn answers(&self) -> Result<BTreeMap<String, String>, CliError> {
        let mut answers = BTreeMap::new();
        for text in &self.declare {
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| CliError::Usage(format!("--declare {text}: it must be KEY=VALUE")))?;
            answers.insert(key.trim().to_owned(), value.trim().to_owned());
        }
        let flags = [
            ("family", &self.family),
            ("size", &self.size),
            ("levels", &self.levels),
            ("input", &self.input),
            ("mean", &self.mean),
            ("deviation", &self.deviation),
            ("prior", &self.prior),
            ("sigma", &self.sigma),
        ];
        for (key, value) in flags {
            if let Some(value) = value {
                answers.insert(key.to_owned(), value.clone());
            }
        }
        if self.one_at_a_time {
            answers.insert("batch".to_owned(), "1".to_owned());
        }
        if let Some(labels) = &self.labels {
            let names = if Path::new(labels).is_file() {
                std::fs::read_to_string(labels)
                    .map_err(|error| CliError::io(format!("{labels} cannot be read"), error))?
                    + "\n"
            } else {
                labels.clone()
            };
            answers.insert("labels".to_owned(), names);
        }
        Ok(answers)
    }

    fn request(self, repository: &Path) -> Result<Request, CliError> {
        let name = self.name.clone().map_or_else(|| name_of(&self.graphs), Ok)?;
        if !super::calibrate::is_name(&name) {
            return Err(CliError::Usage(format!(
                "--name {name:?}: letters, digits, dots, hyphens and underscores make a name, and it does not begin \
                 with a dot"
            )));
        }
        let golden = match <[PathBuf; 2]>::try_from(self.golden) {
            Ok([images, scores]) => Some(GoldenFiles { images, scores }),
            Err(_) => None,
        };
        Ok(Request {
            files: self.graphs,
            name,
            repository: repository.to_owned(),
            golden,
            calibrate: self.calibrate,
            trained_on: self.trained_on,
            preprocessing: self.preprocessing.options(),
            origin: Origin {
                description: self.description,
                data: self.data,
                licence: self.licence,
                trained_with: self.trained_with,
            },
        })
    }
}

/// The name of the one file, or that of the folder of several.
fn name_of(graphs: &[PathBuf]) -> Result<String, CliError> {
    let unnamed = || CliError::Usage("name the model: --name NAME".to_owned());
    let [path] = graphs else { return Err(unnamed()) };
    let full = path
        .canonicalize()
        .map_err(|error| CliError::io(format!("{} cannot be read", path.display()), error))?;
    let own = if full.is_dir() {
        full.file_name()
    } else {
        full.file_stem()
    };
    let name = own.unwrap_or_default().to_string_lossy();
    // `model.onnx` says less than the folder that it lies in.
    let name = if full.is_file() && matches!(&*name, "model" | "network" | "export") {
        let folder = full.parent().and_then(Path::file_name).unwrap_or_default();
        folder.to_string_lossy().into_owned()
    } else {
        name.into_owned()
    };
    let clean = |c: char| {
        if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
            c
        } else {
            '-'
        }
    };
    let name: String = name.chars().map(clean).collect();
    let name = name.trim_matches(['.', '-']).to_owned();
    if name.is_empty() { Err(unnamed()) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_called_like_its_file_or_folder() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("my net");
        std::fs::create_dir(&inside).unwrap();
        for file in ["model.onnx", "pixel cnn.onnx"] {
            std::fs::write(inside.join(file), b"").unwrap();
        }
        let name = |path: PathBuf| name_of(&[path]).unwrap();
        assert_eq!(name(inside.clone()), "my-net");
        assert_eq!(name(inside.join("model.onnx")), "my-net");
        assert_eq!(name(inside.join("pixel cnn.onnx")), "pixel-cnn");
        assert!(name_of(&[inside.clone(), inside]).is_err());
    }
}
