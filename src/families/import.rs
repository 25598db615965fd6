//! Making a version of graphs that people bring: which family they are of, what its manifest says, which numbers prove
//! it.
//!
//! [`crate::import`] reads the graphs; each family says in its own room whether they are its own, and writes them down
//! for its contract. What comes out goes through the load gate before it is written anywhere.

mod batch;
mod codes;
mod draft;
mod golden;
mod graphs;
mod input;
mod labels;
mod parameters;
mod plausible;
mod recognition;
mod sources;
mod taken;

use std::path::{Path, PathBuf};

use self::recognition::recognise;
pub(super) use self::{
    codes::golden_of_codes,
    graphs::{alone, coded, is_called_generator, of_images, pair, picture_of_image},
    input::{Levels, Pictured, Pictures, levels_count, levels_of, pictures_of, units_of_pictures},
    labels::{Labelled, labels_given, labels_of, take_label},
    parameters::Parameters,
    taken::Likely,
};
pub use self::{
    draft::{Imported, Origin},
    golden::GoldenFiles,
};
use super::{GateError, GateSettings, Registry, Resources, manifest::Tolerance};
pub use crate::import::{Problem, interview::Interview, interview::Question};
use crate::{
    domain::image::{Image, ImageShape},
    graph::protobuf::Model,
    import::reading::Reading,
    media::DecodeOptions,
};

/// Why graphs are no version of a family.
#[derive(Debug)]
pub enum Mismatch {
    /// They are something else, for this reason.
    Other(String),
    /// They are of the family, but something stands in the way.
    Problems(Vec<Problem>),
}

impl From<Problem> for Mismatch {
    fn from(problem: Problem) -> Self {
        Self::Problems(vec![problem])
    }
}

/// How sure a family is that graphs are its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Certainty {
    /// They could be.
    Possible,
    /// They look like it.
    Likely,
    /// They can be nothing else.
    Certain,
}

/// A version that a family would make.
pub struct Plan<'a> {
    /// How sure that is.
    pub certainty: Certainty,
    /// Why only somebody who knows can say that they are of the family, if that is so, and what to say.
    pub doubt: Option<String>,
    /// Size of the images.
    pub shape: ImageShape,
    /// Graphs that keep the family's contract, each with the name of its file.
    pub graphs: Vec<(&'static str, Model)>,
    /// The family's tables of the manifest.
    pub tables: String,
    /// Lines of `[declared]`.
    pub declared: Vec<String>,
    /// Golden numbers.
    pub golden: Golden<'a>,
    /// The statistic that a calibration is of, if there is one.
    pub statistic: Option<&'static str>,
    /// What was recognised and rewritten, in sentences.
    pub notes: Vec<String>,
}

/// Numbers of images, by running the graphs as they were exported.
pub type Numbers<'a> = Box<dyn Fn(&[Image]) -> Result<Vec<f64>, Problem> + 'a>;

/// Numbers that the server has to reproduce.
pub enum Golden<'a> {
    /// Of images: one each, or one for each of so many labels.
    OfImages {
        /// Labels, if there is a number for each.
        labels: Option<usize>,
        /// How they are computed.
        numbers: Numbers<'a>,
        /// log p(label), if a calibration is of numbers over all labels.
        log_prior: Vec<f64>,
    },
    /// Of codes: files, and the lines of `[golden]` that name them.
    OfCodes {
        /// Names and bytes.
        files: Vec<(&'static str, Vec<u8>)>,
        /// Lines.
        lines: String,
    },
}

impl std::fmt::Debug for Plan<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plan({:?} of {})", self.certainty, self.shape)
    }
}

/// What is to be imported.
#[derive(Debug, Clone)]
pub struct Request {
    /// Graphs: files, or a folder with some.
    pub files: Vec<PathBuf>,
    /// The model's name.
    pub name: String,
    /// Where versions are.
    pub repository: PathBuf,
    /// Images and numbers of the training framework.
    pub golden: Option<GoldenFiles>,
    /// Images to calibrate with.
    pub calibrate: Option<PathBuf>,
    /// Images that the model was trained on.
    pub trained_on: Option<PathBuf>,
    /// What is done to image files so that they fit.
    pub preprocessing: DecodeOptions,
    /// Where the model came from.
    pub origin: Origin,
}

/// Answers to questions, each with its key.
#[derive(Debug, Clone)]
pub struct Answers {
    /// Keys and values.
    pub answers: Vec<(String, String)>,
    /// Whether they are what is likely, and nobody was asked.
    pub are_assumed: bool,
}

/// What the command line does for an import.
pub trait Host {
    /// Answers questions, or gives up: then it has said why.
    fn answer(&mut self, questions: &[Question]) -> Option<Answers>;

    /// The images of a file or a folder.
    fn images(&mut self, path: &Path, shape: ImageShape) -> Result<Vec<Image>, String>;

    /// Tells what was found.
    fn say(&mut self, line: &str);

    /// What is being done from here on.
    fn begin(&mut self, work: &str);
}

/// Why nothing was imported.
#[derive(Debug)]
pub enum ImportError {
    /// All that stands in the way.
    Problems(Vec<Problem>),
    /// Questions are open that nobody answers.
    Unanswered,
    /// The load gate refused what was made.
    Gate(GateError),
    /// It could not be written.
    Write(PathBuf, std::io::Error),
}

/// What an import needs of the server.
#[derive(Debug)]
pub struct Tools<'a> {
    /// Families that graphs may be of.
    pub registry: &'a Registry,
    /// The runtime and the workers.
    pub resources: &'a Resources,
    /// How much the gate may take and try.
    pub gate: GateSettings,
}

/// What the contracts call the input of labels.
const LABEL: &str = "label";

/// Questions may bring up others, but not without end.
const ROUNDS: usize = 16;

/// Reads graphs, finds out what they are, writes them down for the server, has the result prove itself and puts it into
/// the repository as the next version of its name.
pub fn import(
    tools: &Tools<'_>,
    request: &Request,
    mut interview: Interview,
    host: &mut dyn Host,
) -> Result<Imported, ImportError> {
    let engine = &*tools.resources.engine;
    let mut known = sources::Known::default();
    for _ in 0..ROUNDS {
        interview = interview.again();
        host.begin(&format!("reading {}", request.name));
        let brought = sources::read(engine, request, &mut interview, &mut known).map_err(ImportError::Problems)?;
        let brought = sources::parted(engine, brought, &mut interview).map_err(ImportError::Problems)?;
        let problem = |problem| ImportError::Problems(vec![problem]);
        batch::ask(&brought, &mut interview).map_err(problem)?;
        let (family, plan) = recognise(tools.registry, &brought, &mut interview).map_err(ImportError::Problems)?;
        if let Some(unknown) = unknown_answers(&interview) {
            return Err(problem(unknown));
        }
        let mut questions = interview.open().to_vec();
        let mut is_gate = false;
        if questions.is_empty() {
            if request.golden.is_none() {
                plausible::doubt(tools.registry, &brought, &mut interview);
            }
            let plan = sources::tabulated(engine, plan);
            let draft = draft::Draft::new((family, plan), &brought, request, &interview, host).map_err(problem)?;
            host.begin(&format!("proving {}", request.name));
            match draft.prove(tools) {
                Ok(model) => return draft.write(request, model, &interview),
                Err(error @ GateError::Undeclared(_)) => {
                    questions = asked_by(&error, &interview);
                    is_gate = true;
                    // What was answered before and is asked again has no answer that helps.
                    if questions.is_empty() {
                        return Err(ImportError::Gate(error));
                    }
                }
                // What a few images showed to be apart, the gate may have seen together.
                Err(GateError::Company { .. }) if !batch::is_said(&interview) => {
                    questions = vec![batch::question(&brought)];
                }
                Err(error) => return Err(ImportError::Gate(error)),
            }
        }
        let answers = match golden::reproduced(tools.registry, &brought, request, (&interview, &questions)) {
            Some(found) => {
                for (key, value) in &found {
                    host.say(&format!("{key} = {value}: that gives the golden scores"));
                }
                found.into_iter().collect()
            }
            None => {
                plausible::prefer(tools.registry, &brought, &interview, &mut questions);
                let Answers { answers, are_assumed } = host.answer(&questions).ok_or(ImportError::Unanswered)?;
                if are_assumed {
                    questions
                        .iter()
                        .for_each(|question| interview.take_for_granted(question));
                }
                answers
            }
        };
        if let Some(refused) = batch::refused_by(&answers, &brought) {
            return Err(problem(refused));
        }
        for (key, value) in answers {
            if is_gate {
                interview.insist(&key, &value);
            } else {
                interview.answer(&key, &value);
            }
        }
    }
    Err(ImportError::Unanswered)
}

/// What the gate asks about units, unless somebody stands by the answer. What was only likely is asked again.
fn asked_by(error: &GateError, interview: &Interview) -> Vec<Question> {
    let GateError::Undeclared(suspected) = error else {
        return Vec::new();
    };
    let questions = suspected.iter().map(super::gate::Undeclared::question);
    questions
        .filter(|question| !interview.is_insisted(&question.key))
        .collect()
}

/// Answers that nothing asked for: a slip of the pen, or something that has no meaning for this model.
fn unknown_answers(interview: &Interview) -> Option<Problem> {
    let unused = interview.unused();
    let first = unused.first()?;
    let is_flag = [
        "family",
        "input",
        "mean",
        "deviation",
        "sigma",
        "levels",
        "size",
        "labels",
        "prior",
    ]
    .contains(first);
    let said = if is_flag {
        format!("--{first}")
    } else {
        format!("--declare {first}")
    };
    Some(Problem::new(
        said,
        "nothing of this model depends on it",
        "leave it out, or look at --help for what can be declared",
    ))
}

fn files(brought: &[Reading]) -> String {
    brought
        .iter()
        .map(|reading| reading.file.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Tolerance of golden numbers that the graph itself gave before it was rewritten.
fn own_tolerance(brought: &[Reading]) -> Tolerance {
    if brought.iter().any(|reading| reading.is_half) {
        Tolerance {
            absolute: 0.25,
            relative: 5e-3,
            at_bf16: None,
        }
    } else {
        Tolerance {
            absolute: 2e-3,
            relative: 2e-5,
            at_bf16: None,
        }
    }
}

/// What proved itself, for whoever tells of it.
pub type Proved = crate::model::Model;
