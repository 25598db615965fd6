//! The commands of operations: one for each that the registry has, its flags from its options.
//!
//! An operation whose answer is numbers prints a table; one whose answer is images or streams writes files, and a table
//! beside them.

mod destination;
mod flags;
mod parts;
mod request;

use std::path::PathBuf;

use clap::{ArgMatches, FromArgMatches};

pub(super) use self::flags::command;
use self::{
    flags::{GALLERY, TOGETHER},
    request::Request,
};
use super::{
    CliError, OfflineSettings, Outcome,
    files::Form,
    image_set,
    inputs::InputArgs,
    model,
    stdin::is_standard,
    table::{Format, OutputArgs},
};
use crate::{
    app::Registries,
    intake::{Content, Source, Takes},
    operations::{AnyOperation, known_of, tensor::Datatype},
};

/// What an operation's answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gives {
    Numbers,
    Images,
    Streams,
}

impl Gives {
    fn of(operation: &dyn AnyOperation) -> Self {
        let tensors = operation.about().tensors;
        let has = |datatype| tensors.iter().any(|tensor| tensor.datatype == datatype);
        if has(Datatype::U8) {
            Self::Images
        } else if has(Datatype::Bytes) {
            Self::Streams
        } else {
            Self::Numbers
        }
    }
}

/// Whether an operation says something of every image that can be shown as a map of it.
fn shows_maps(operation: &dyn AnyOperation) -> bool {
    Gives::of(operation) == Gives::Numbers
        && operation.about().takes == Takes::Images
        && known_of(operation).properties().any(|(name, _)| name == "map")
}

/// Whether the table of an operation has a column for what images are called: not if a label is what is asked for or
/// answered.
fn has_labels(operation: &dyn AnyOperation) -> bool {
    let takes_label = known_of(operation).properties().any(|(name, _)| name == "label");
    Gives::of(operation) == Gives::Numbers && operation.about().takes == Takes::Images && !takes_label
}

/// Whether what becomes of one image depends on all others.
fn decides_together(operation: &dyn AnyOperation, matches: &ArgMatches) -> bool {
    known_of(operation).properties().any(|(name, _)| name == TOGETHER) && matches.get_one::<String>(TOGETHER).is_some()
}

/// Runs the command of an operation.
pub(super) fn run(
    operation: &dyn AnyOperation,
    registries: &Registries,
    matches: &ArgMatches,
) -> Result<Outcome, CliError> {
    let about = operation.about();
    let settings = OfflineSettings::from_arg_matches(matches).map_err(usage)?;
    let name: &String = matches.get_one("model").ok_or_else(|| missing("model"))?;
    let gives = Gives::of(operation);
    let form = match gives {
        Gives::Images => Some(Form::of(output(matches)?)?),
        Gives::Streams if is_standard(output(matches)?) => {
            return Err(CliError::Usage(
                "--output -: every image gets a stream of its own, which needs a folder".to_owned(),
            ));
        }
        Gives::Streams => Some(Form::Folder),
        Gives::Numbers => None,
    };
    let table = match gives {
        Gives::Numbers => OutputArgs::from_arg_matches(matches).map_err(usage)?,
        Gives::Images | Gives::Streams => OutputArgs::default(),
    };
    let wants_map = known_of(operation).properties().any(|(name, _)| name == "map") && matches.get_flag("map");
    if wants_map && gives == Gives::Numbers && table.format == Format::Csv {
        return Err(CliError::Usage(
            "--map gives a number for every dimension, which CSV has no room for: add --format jsonl or --format npy"
                .to_owned(),
        ));
    }
    if table.resume && decides_together(operation, matches) {
        return Err(CliError::Usage(
            "--resume: --fdr decides on all images together, so rows that are there already could not stay as they are"
                .to_owned(),
        ));
    }
    let loaded = model::load(name, about.name, settings, registries)?;
    let wants_gallery = shows_maps(operation) && matches.contains_id(GALLERY);
    if wants_gallery
        && !operation
            .formats(&loaded.model)
            .contains(&crate::operations::Format::Png)
    {
        return Err(CliError::Usage(format!(
            "--gallery: it shows maps, and {} of {:?} has none",
            about.name, loaded.model.name
        )));
    }
    let request = Request {
        loaded: &loaded,
        operation,
        matches,
    };
    // An option that cannot be is told before any file is read.
    let mut options = request.options()?;
    let format = crate::operations::Format::Json;
    operation.prepare(&mut options, format)?;
    match about.takes {
        Takes::Nothing => request.together(Content::default(), form),
        Takes::TwoImages => {
            let inputs = InputArgs::from_arg_matches(matches).map_err(usage)?;
            let images = image_set::read_all(&inputs, &loaded.model)?;
            let sources = images.into_iter().map(Source::Image).collect();
            let content = Content {
                sources,
                ..Content::default()
            };
            request.together(content, form)
        }
        Takes::Images | Takes::MaskedImages => {
            let inputs = InputArgs::from_arg_matches(matches).map_err(usage)?;
            request.each(&inputs, form, &table)
        }
        Takes::Codes => {
            let size = operation.code_size(&loaded.model);
            let codes = parts::read_codes(&request.paths(), size)?;
            request.parts(codes, form, |codes| Content {
                codes,
                ..Content::default()
            })
        }
        Takes::Streams => {
            let streams = parts::read_streams(&request.paths())?;
            request.parts(streams, form, |streams| Content {
                streams: streams.into_iter().map(Ok).collect(),
                ..Content::default()
            })
        }
    }
}

fn output(matches: &ArgMatches) -> Result<&PathBuf, CliError> {
    matches.get_one::<PathBuf>("output").ok_or_else(|| missing("output"))
}

fn missing(argument: &str) -> CliError {
    CliError::Usage(format!("the argument {argument} is missing"))
}

fn usage(error: clap::Error) -> CliError {
    CliError::Usage(error.to_string())
}
