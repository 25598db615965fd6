//! `import`: a version made of exported graphs. Flags and prompts are here; what is recognised and written is not.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    CliError, OfflineSettings, Outcome,
    gather::{Gathered, Handling},
    inputs::DecodeArgs,
    say,
};
use crate::{
    app::{self, Registries},
    domain::image::{Image, ImageShape},
    families::import::{GoldenFiles, Host, ImportError, Imported, Interview, Origin, Problem, Question, Request},
    intake::Takes,
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

    /// Names of labels in their order, with commas between; or a file with one a line [default: 0, 1, …]
    #[arg(long, value_name = "NAMES")]
    labels: Option<String>,

    /// Shares of the labels in their order, with commas between [default: all the same]
    #[arg(long, value_name = "SHARES")]
    prior: Option<String>,

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
    decoding: DecodeArgs,
}

pub(super) fn run(arguments: ImportArgs, registries: &Registries) -> Result<Outcome, CliError> {
    let ImportArgs { request, settings } = arguments;
    let settings = settings.start()?;
    let interview = Interview::new(request.answers()?);
    let mut terminal = Terminal {
        yes: request.yes,
        decoding: request.decoding,
    };
    let request = request.request(&settings.models.repository)?;
    match app::import(&settings, registries, &request, interview, &mut terminal)? {
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
        ];
        for (key, value) in flags {
            if let Some(value) = value {
                answers.insert(key.to_owned(), value.clone());
            }
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

/// Asks at the terminal, or takes what is likely.
struct Terminal {
    yes: bool,
    decoding: DecodeArgs,
}

impl Host for Terminal {
    fn answer(&mut self, questions: &[Question]) -> Option<Vec<(String, String)>> {
        if self.yes {
            let taken = |question: &Question| {
                say(&format!(
                    "{} = {} is assumed: {}",
                    question.key, question.likely, question.text
                ));
                (question.key.clone(), question.likely.clone())
            };
            return Some(questions.iter().map(taken).collect());
        }
        if io::stdin().is_terminal() {
            return questions.iter().map(ask).collect();
        }
        say("what no file tells has to be said; --yes takes what is likely:");
        for question in questions {
            say(&format!("  {}", question.text));
            for (value, meaning) in &question.options {
                let mark = if *value == question.likely { ", likely" } else { "" };
                say(&format!("    --declare \"{}={value}\"  {meaning}{mark}", question.key));
            }
        }
        None
    }

    fn images(&mut self, path: &Path, shape: ImageShape) -> Result<Vec<Image>, String> {
        let handling = Handling {
            decoding: self.decoding,
            strict: true,
        };
        let read = Gathered::read_as(&[path.to_owned()], (shape, self.decoding.options()), handling);
        read.map(|gathered| gathered.images).map_err(|error| error.to_string())
    }

    fn say(&mut self, line: &str) {
        say(line);
    }
}

/// One question at the terminal; an empty line is the likely answer, and the end of the input none.
fn ask(question: &Question) -> Option<(String, String)> {
    say(&question.text);
    for (number, (value, meaning)) in (1..).zip(&question.options) {
        say(&format!("  {number}  {value}  {meaning}"));
    }
    loop {
        let mut error = io::stderr().lock();
        // With standard error gone there is nobody to ask.
        let _ = write!(error, "[{}] ", question.likely).and_then(|()| error.flush());
        let mut line = String::new();
        if io::stdin().read_line(&mut line).ok()? == 0 {
            return None;
        }
        let answer = line.trim();
        let by_number = answer
            .parse::<usize>()
            .ok()
            .and_then(|number| question.options.get(number.checked_sub(1)?));
        let value = match by_number {
            _ if answer.is_empty() => question.likely.clone(),
            Some((value, _)) => value.clone(),
            None if question.options.is_empty() || question.options.iter().any(|(value, _)| value == answer) => {
                answer.to_owned()
            }
            None => continue,
        };
        return Some((question.key.clone(), value));
    }
}

fn refuse(error: &ImportError) {
    match error {
        ImportError::Problems(problems) => {
            let count = if problems.len() == 1 {
                "a problem".to_owned()
            } else {
                format!("{} problems", problems.len())
            };
            say(&format!("nothing was imported, for {count}:"));
            for problem in problems {
                say(&format!("  {}", shown(problem)));
            }
        }
        ImportError::Unanswered => say("nothing was imported"),
        ImportError::Gate(error) => say(&format!("nothing was imported: the load gate refused it: {error}")),
        ImportError::Write(path, error) => say(&format!("{} cannot be written: {error}", path.display())),
    }
}

fn shown(problem: &Problem) -> String {
    let Problem { place, what, cure } = problem;
    if cure.is_empty() {
        format!("{place}: {what}")
    } else {
        format!("{place}: {what}\n    {cure}")
    }
}

/// What was made, what was taken for granted, and what to do next.
fn report(imported: &Imported, request: &Request, registries: &Registries) -> String {
    let model = &imported.model;
    let mut text = format!("{} is ready: {}\n", imported.folder.display(), model.card.description);
    let mut block = |title: &str, lines: &[String]| {
        if !lines.is_empty() {
            text += &format!("\n{title}\n");
            for line in lines {
                text += &format!("  {line}\n");
            }
        }
    };
    block("done", &imported.notes);
    block("assumed", &imported.assumed);
    let checks: Vec<String> = model
        .card
        .checks
        .iter()
        .map(|check| format!("{:<14}  {}", check.name, check.finding))
        .collect();
    block("proved", &checks);
    block("next", &next(imported, request, registries));
    text
}

/// The server's command, and the first request: the first operation that the model can do with an image, else one
/// that needs none.
fn next(imported: &Imported, request: &Request, registries: &Registries) -> Vec<String> {
    let model = &imported.model;
    let available = |takes: Takes| {
        let mut all = registries.operations.iter();
        all.find(|own| own.about().takes == takes && own.available(model).is_ok())
            .map(|own| own.about().name)
    };
    let address = format!("localhost:8000/v1/models/{}", model.name);
    let request_line = available(Takes::Images)
        .map(|name| format!("curl -s -F image=@IMAGE.png {address}/{name}"))
        .or_else(|| {
            let name = available(Takes::Nothing)?;
            Some(format!(
                "curl -s -X POST -H \"accept: image/png\" {address}/{name} -o images.png"
            ))
        });
    std::iter::once(format!(
        "density-server serve --repository {}",
        request.repository.display()
    ))
    .chain(request_line)
    .collect()
}

fn print(text: &str) -> Result<(), CliError> {
    io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|error| CliError::writing(None, error))
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
