//! The flags of an operation's command, from its options.

use std::path::PathBuf;

use clap::{Arg, ArgAction, Args, Command, builder::PossibleValuesParser, value_parser};
use serde_json::Value;

use super::{Gives, has_labels, shows_maps};
use crate::{
    cli::{EXIT_CODES, OfflineSettings, inputs::InputArgs, labels::LabelArgs, table::OutputArgs},
    intake::Takes,
    operations::{AnyOperation, known_of},
};

/// Options that are no flags of a command: what decoding may do stands among the inputs, and one caller at a terminal
/// needs no deadline.
pub(super) const ELSEWHERE: [&str; 5] = ["resize", "convert", "orient", "frames", "timeout"];

/// The option by which images are decided on together, however many runs they take.
pub(super) const TOGETHER: &str = "fdr";

/// The flag that asks for a page of maps.
pub(super) const GALLERY: &str = "gallery";

/// The command of an operation.
pub(in crate::cli) fn command(operation: &dyn AnyOperation) -> Command {
    let about = operation.about();
    let mut command = Command::new(about.name).after_help(EXIT_CODES).arg(
        Arg::new("model")
            .required(true)
            .help("Name of a model in the repository, or path of a model's folder"),
    );
    command = match about.takes {
        Takes::Nothing => command,
        Takes::Images | Takes::TwoImages => InputArgs::augment_args(command),
        Takes::MaskedImages => InputArgs::augment_args(command).arg(path_arg(
            "mask",
            "Image file of the model's size whose light pixels are given",
        )),
        Takes::Codes => command.arg(inputs_arg("npy arrays of codes, float32 or float64 [N, L]")),
        Takes::Streams => command.arg(inputs_arg("Files that `compress` wrote, and folders of them")),
    };
    command = match Gives::of(operation) {
        Gives::Numbers if has_labels(operation) => OutputArgs::augment_args(LabelArgs::augment_args(command)),
        Gives::Numbers => OutputArgs::augment_args(command),
        Gives::Images => command.arg(output_arg(
            "A grid in one file (ends in .png), an animation of how they appear (ends in .gif), a uint8 array (ends in \
             .npy), or a folder, which gets a PNG file for every image; - is a grid to standard output",
        )),
        Gives::Streams => command.arg(output_arg("Folder that gets a file for every image")),
    };
    for (name, schema) in known_of(operation).properties() {
        if !ELSEWHERE.contains(&name) {
            command = command.arg(option_arg(name, schema));
        }
    }
    if shows_maps(operation) {
        command = command.arg(path_arg(
            GALLERY,
            "Folder for a page of HTML that shows every image with its map and what was said of it",
        ));
    }
    // Last: settings that are laid into a command bring a description of their own.
    OfflineSettings::augment_args(command)
        .about(about.summary)
        .long_about(format!("{}\n\n{}", about.summary, about.description))
}

fn inputs_arg(help: &'static str) -> Arg {
    Arg::new("inputs")
        .required(true)
        .num_args(1..)
        .value_name("INPUT")
        .value_parser(value_parser!(PathBuf))
        .help(help)
}

fn output_arg(help: &'static str) -> Arg {
    path_arg("output", help).short('o').required(true)
}

fn path_arg(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name)
        .long(name)
        .value_name("PATH")
        .value_parser(value_parser!(PathBuf))
        .help(help)
}

/// A flag for an option, from its schema.
fn option_arg(name: &str, schema: &Value) -> Arg {
    let text = |key: &str| schema.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut help = text("description").replace('\n', " ");
    let declared = schema.get("default").filter(|value| !value.is_boolean());
    let declared = declared.map(|value| value.to_string().trim_matches('"').to_owned());
    if let Some(default) = declared.as_deref().or(own_default(name, schema)) {
        help.push_str(&format!(" [default: {default}]"));
    }
    let mut argument = Arg::new(name.to_owned()).long(name.replace('_', "-")).help(help);
    let mut letters = name.chars();
    if let (Some(letter), None) = (letters.next(), letters.next()) {
        argument = argument.short(letter);
    }
    if schema.get("type").and_then(Value::as_str) == Some("boolean") {
        return argument.action(ArgAction::SetTrue);
    }
    let choices = choices(schema);
    let argument = argument.value_name(name.to_uppercase());
    if choices.is_empty() {
        // Judged with the same words as everywhere, when the request is made.
        return argument.allow_negative_numbers(true);
    }
    argument.value_parser(PossibleValuesParser::new(choices))
}

/// What a command takes for an option that is not given and has no default: two runs of one command are to draw the
/// same, where a server chooses and tells.
pub(super) fn own_default(name: &str, schema: &Value) -> Option<&'static str> {
    (name == "seed" && schema.get("default").is_none()).then_some("0")
}

/// The values of an option that has few.
fn choices(schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for list in ["enum", "oneOf", "anyOf"] {
        for choice in schema.get(list).and_then(Value::as_array).into_iter().flatten() {
            let constant = choice.get("const").unwrap_or(choice);
            found.extend(constant.as_str().map(str::to_owned));
            if choice.is_object() {
                found.extend(choices(choice));
            }
        }
    }
    found.dedup();
    found
}
