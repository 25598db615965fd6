//! Making a version of graphs that people bring: which family they are of, what its manifest says, which numbers prove
//! it.
//!
//! [`crate::import`] reads the graphs; each family says in its own room whether they are its own, and writes them down
//! for its contract. What comes out goes through the load gate before it is written anywhere.

mod batch;
mod codes;
mod draft;
mod golden;
mod input;
mod labels;
mod parameters;
mod sources;

use std::path::{Path, PathBuf};

pub(super) use self::{
    codes::golden_of_codes,
    input::{Levels, Pictured, Pictures, levels_of, pictures_of, units_of_pictures},
    labels::{Labelled, labels_given, labels_of, take_label},
    parameters::Parameters,
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
    import::reading::{Given, Reading},
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

/// What the command line does for an import.
pub trait Host {
    /// Answers questions, or gives up: then it has said why.
    fn answer(&mut self, questions: &[Question]) -> Option<Vec<(String, String)>>;

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
    for _ in 0..ROUNDS {
        interview = interview.again();
        host.begin(&format!("reading {}", request.name));
        let brought = sources::read(engine, request, &mut interview).map_err(ImportError::Problems)?;
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
            None => host.answer(&questions).ok_or(ImportError::Unanswered)?,
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
    Some(Problem::new(
        format!("--declare {first}"),
        "nothing of this model depends on it",
        "leave it out, or look at --help for what can be declared",
    ))
}

/// Asks every family whether the graphs are its own.
fn recognise<'a>(
    registry: &Registry,
    brought: &'a [Reading],
    interview: &mut Interview,
) -> Result<(&'static str, Plan<'a>), Vec<Problem>> {
    let wanted = interview.given("family");
    if let Some(wanted) = &wanted {
        let family = registry
            .family(wanted)
            .map_err(|error| vec![Problem::new("--family", error, "")])?;
        return match family.import(brought, interview) {
            Ok(plan) => Ok((family.name(), plan)),
            Err(Mismatch::Problems(problems)) => Err(problems),
            Err(Mismatch::Other(reason)) => Err(vec![Problem::new(
                files(brought),
                format!("it is no {wanted}: {reason}"),
                "leave out --family to have it found",
            )]),
        };
    }
    let (mut fits, mut problems, mut reasons) = (Vec::new(), Vec::new(), Vec::new());
    for family in registry.names().filter_map(|name| registry.family(name).ok()) {
        let mut own = interview.clone();
        match family.import(brought, &mut own) {
            Ok(plan) => fits.push((family.name(), plan, own)),
            Err(Mismatch::Problems(own)) => problems.extend(own),
            Err(Mismatch::Other(reason)) if !reason.is_empty() => {
                reasons.push(format!("no {}: {reason}", family.name()))
            }
            Err(Mismatch::Other(_)) => {}
        }
    }
    let best = fits.iter().map(|(_, plan, _)| plan.certainty).max();
    let mut told = Vec::new();
    problems.retain(|problem| {
        let is_new = !told.contains(problem);
        told.extend(is_new.then(|| problem.clone()));
        is_new
    });
    // What is of one family but for a fault is not taken for something that asks less.
    if !problems.is_empty() && best.is_none_or(|best| best < Certainty::Certain) {
        return Err(problems);
    }
    let Some(best) = best else {
        let seen: Vec<String> = brought.iter().map(Reading::shown).collect();
        let what = format!("{}. It is {}", seen.join("; "), reasons.join("; "));
        let cure = if brought.iter().any(|reading| picture_of_image(reading).is_some()) {
            "a graph from images to images is no family of models here: neither normalising flows nor diffusion models \
             nor denoisers are served; models/README.md shows how to export what is"
        } else {
            "models/README.md shows how to export each family"
        };
        return Err(vec![Problem::new(files(brought), what, cure)]);
    };
    // Of the surest ones, one is chosen; the others are offered.
    let sure: Vec<&str> = fits
        .iter()
        .filter(|fit| fit.1.certainty == best)
        .map(|fit| fit.0)
        .collect();
    let mut chosen = sure[0].to_owned();
    if best < Certainty::Certain || sure.len() > 1 {
        let options: Vec<(&str, &str)> = fits.iter().map(|fit| (fit.0, "")).collect();
        if options.len() > 1 {
            let text = format!("what is {}?", files(brought));
            chosen = interview.ask("family", text, &options, &chosen);
        }
    }
    let place = fits.iter().position(|fit| fit.0 == chosen).unwrap_or_default();
    let (name, plan, mut own) = fits.swap_remove(place);
    own.join(interview);
    *interview = own;
    Ok((name, plan))
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

/// One graph that takes images, alone.
pub(super) fn alone(brought: &[Reading]) -> Result<&Reading, Mismatch> {
    match brought {
        [reading] if reading.image().is_some() => Ok(reading),
        [_] => Err(Mismatch::Other("it takes no images".to_owned())),
        _ => Err(Mismatch::Other(format!(
            "it is one graph, and there are {}",
            brought.len()
        ))),
    }
}

/// Whether the file is called a generator.
pub(super) fn is_called_generator(reading: &Reading) -> bool {
    let name = reading.file.to_lowercase();
    name.contains("gan") || name.contains("generator")
}

/// An output that is a picture of the size of the image.
pub(super) fn picture_of_image(reading: &Reading) -> Option<&Given> {
    let (_, form) = reading.image()?;
    let dimensions = form.channels * form.height * form.width;
    reading.gives.iter().find(|given| given.numbers() == dimensions)
}

/// One graph from images and one from codes.
pub(super) fn pair(brought: &[Reading]) -> Result<(&Reading, &Reading), Mismatch> {
    let encoder = brought.iter().find(|reading| reading.image().is_some());
    let decoder = brought.iter().find(|reading| reading.code().is_some());
    match (brought, encoder, decoder) {
        ([_, _], Some(encoder), Some(decoder)) => Ok((encoder, decoder)),
        _ => Err(Mismatch::Other(
            "it is two graphs, one that takes images and one that takes codes".to_owned(),
        )),
    }
}

/// Runs a graph on images and answers the numbers of one output, image by image.
pub(super) fn of_images(
    reading: &Reading,
    levels: &Levels,
    images: &[Image],
    labels: &[usize],
    place: usize,
) -> Result<Vec<Vec<f32>>, Problem> {
    let numbers: Vec<Vec<f32>> = images.iter().map(|image| levels.values(image)).collect();
    let mut found = reading.run(&numbers, labels)?;
    Ok(found.swap_remove(place).rows)
}

/// Runs a graph on codes and answers the numbers of one output, code by code.
pub(super) fn coded(
    reading: &Reading,
    codes: &[Vec<f32>],
    labels: &[usize],
    place: usize,
) -> Result<Vec<Vec<f32>>, Problem> {
    let mut found = reading.run(codes, labels)?;
    Ok(found.swap_remove(place).rows)
}

/// Levels of images, where no graph tells how many there are.
pub(super) fn levels_count(interview: &mut Interview) -> Result<usize, Mismatch> {
    let text = interview.assume("levels", "256", "images have 256 levels: --levels says otherwise");
    match text.parse() {
        Ok(levels @ 2..=256) => Ok(levels),
        _ => Err(Problem::new(
            "--levels",
            format!("{text:?} is no number of levels"),
            "there are 2 to 256",
        )
        .into()),
    }
}

/// What proved itself, for whoever tells of it.
pub type Proved = crate::model::Model;
