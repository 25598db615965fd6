//! The command line: reads the arguments, calls the application, turns errors into a sentence and an exit code.
//!
//! Nothing here computes: a command is inputs, one operation a chunk, and output. The commands of operations come from
//! their registry.

mod calibrate;
mod check;
mod doctor;
mod evaluate;
mod exit;
mod files;
mod folder;
mod gallery;
mod health;
mod image_set;
mod import;
mod inputs;
mod install;
mod key;
mod labels;
mod listen;
mod model;
mod name;
mod new_calibration;
mod npy;
mod operation;
mod partial_file;
mod pipeline;
mod reader;
mod resume;
mod serve;
mod spinner;
mod stdin;
mod table;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{
    ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};

pub use self::exit::leave;
use crate::{
    app::{AppError, Registries},
    logging::{self, LoggingError},
    model::Refusal,
    settings::{
        LogSettings, ModelSettings, Settings, SettingsError, WorkSettings,
        sources::{self, Underneath},
    },
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  some images failed, or a model was refused by its load gate
  2  the arguments, the configuration or the environment do not allow it";

/// Puts probabilities on images: serves generative models over HTTP, or scores, samples and encodes from the command
/// line.
#[derive(Debug, Parser)]
#[command(name = "density-server", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::ServeArgs>),
    Check(check::CheckArgs),
    Calibrate(calibrate::CalibrateArgs),
    NewCalibration(new_calibration::NewCalibrationArgs),
    Evaluate(evaluate::EvaluateArgs),
    Import(Box<import::ImportArgs>),
    Health(Box<health::HealthArgs>),
    Doctor(Box<doctor::DoctorArgs>),
    Key(key::KeyArgs),
    Completions(install::CompletionsArgs),
    Man(install::ManArgs),
}

/// The settings that matter to a command that serves nobody.
#[derive(Debug, Args)]
struct OfflineSettings {
    /// TOML file of settings, as for `serve`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    models: ModelSettings,

    #[command(flatten)]
    work: WorkSettings,

    #[command(flatten)]
    log: LogSettings,
}

/// Arguments that offline commands share with `serve` but that mean nothing to them: one caller needs no admission.
const NOT_OFFLINE: [&str; 7] = [
    "poll_interval",
    "watch",
    "proof_records",
    "required_models",
    "model_control",
    "interactive_queue",
    "bulk_queue",
];

/// Commands that are about a server or this program, not about a model.
const NOT_OF_MODELS: [&str; 6] = ["serve", "health", "doctor", "key", "completions", "man"];

/// Longer than anybody waits.
const UNLIMITED: Duration = Duration::from_secs(365 * 24 * 3600);

/// How a command ended, if not in an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Some images failed or a model was refused; what and why has been written.
    Refused,
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Arguments(#[from] clap::Error),
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Logging(#[from] LoggingError),
    #[error(transparent)]
    App(#[from] AppError),
    #[error("{}", told(.0))]
    Refused(#[from] Refusal),
    #[error("{0}")]
    Usage(String),
    #[error("{what}: {error}")]
    Io { what: String, error: io::Error },
    /// The reader of our output has seen enough, as `head` does. That is its right and no failure.
    #[error("the output was closed")]
    OutputClosed,
}

/// Runs one command and ends the process with its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ! {
    leave(run_with(arguments, &Registries::default()))
}

/// Runs one command of a binary that knows other families or operations. Answers the exit code, for [`leave`].
pub fn run_with(arguments: impl IntoIterator<Item = OsString>, registries: &Registries) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    match read(&arguments, registries).and_then(|matches| carry_out(&matches, registries)) {
        Ok(Outcome::Done) | Err(CliError::OutputClosed) => 0,
        Ok(Outcome::Refused) => 1,
        Err(CliError::Arguments(error)) => report_usage(&error),
        Err(error) => {
            say(&format!("error: {error}"));
            2
        }
    }
}

/// The arguments, over what the configuration file says that they may name.
fn read(arguments: &[OsString], registries: &Registries) -> Result<ArgMatches, CliError> {
    let command = command(registries);
    let first = command.clone().try_get_matches_from(arguments)?;
    let Some((name, own)) = first.subcommand() else {
        return Ok(first);
    };
    let file = own.try_get_one::<PathBuf>("config").ok().flatten();
    let underneath = Underneath::read(file.map(PathBuf::as_path))?;
    let command = command.mut_subcommand(name, |own| underneath.lay(own));
    Ok(command.try_get_matches_from(arguments)?)
}

fn carry_out(matches: &ArgMatches, registries: &Registries) -> Result<Outcome, CliError> {
    if let Some((name, own)) = matches.subcommand()
        && let Some(operation) = registries.operations.get(name)
    {
        return operation::run(&**operation, registries, own);
    }
    match Cli::from_arg_matches(matches)?.command {
        Command::Serve(arguments) => serve::run(*arguments, registries),
        Command::Check(arguments) => check::run(arguments, registries),
        Command::Calibrate(arguments) => calibrate::run(arguments, registries),
        Command::NewCalibration(arguments) => new_calibration::run(arguments, registries),
        Command::Evaluate(arguments) => evaluate::run(arguments, registries),
        Command::Import(arguments) => import::run(*arguments, registries),
        Command::Health(arguments) => health::run(*arguments),
        Command::Doctor(arguments) => doctor::run(*arguments, registries),
        Command::Key(arguments) => key::run(arguments),
        Command::Completions(arguments) => install::completions(&arguments, command(registries)),
        Command::Man(arguments) => install::man(&arguments, command(registries)),
    }
}

fn command(registries: &Registries) -> clap::Command {
    let mut command = Cli::command();
    for operation in registries.operations.iter() {
        command = command.subcommand(operation::command(&**operation));
    }
    let offline: Vec<String> = command
        .get_subcommands()
        .map(|own| own.get_name().to_owned())
        .filter(|name| !NOT_OF_MODELS.contains(&name.as_str()))
        .collect();
    for name in offline {
        command = command.mut_subcommand(name, |mut subcommand| {
            for id in NOT_OFFLINE {
                subcommand = subcommand.mut_arg(id, |argument| argument.hide(true));
            }
            // People at a terminal want results, not news. What the runtime fails at comes back as an error, and
            // `import` tries what may fail.
            subcommand = subcommand.mut_arg("log_filter", |argument| argument.default_value("warn,ort=off"));
            subcommand.after_help(EXIT_CODES)
        });
    }
    command = command.mut_subcommand("health", |health| {
        health.mut_args(|argument| {
            let is_shown = ["url", "config", "http", "probes"].contains(&argument.get_id().as_str());
            argument.hide(!is_shown)
        })
    });
    command.mut_subcommands(sources::with_environment)
}

/// A refusal as a person at a terminal reads it: an option is a flag, and there is no server's log to look into.
fn told(refusal: &Refusal) -> String {
    let detail = refusal.cause().unwrap_or(refusal.detail());
    match refusal.option_name() {
        Some(option) => format!("--{}: {detail}", option.replace('_', "-")),
        None => detail.to_owned(),
    }
}

/// Tells what is wrong with the arguments: of a bad value where it came from, else what clap found.
fn report_usage(error: &clap::Error) -> u8 {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue)) {
        (Some(argument), Some(value))
            if matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) =>
        {
            let flag = argument.split_whitespace().next().unwrap_or_default();
            let variable = sources::variable(&flag.trim_start_matches('-').replace('-', "_"));
            let origin = match std::env::var(&variable) {
                Ok(set) if set == value => format!("environment variable {variable}"),
                _ => format!("flag {flag}"),
            };
            let reason = sources::reason(error);
            say(&format!("error: {origin}: {value} is not possible: {reason}"));
        }
        // With nowhere to print there is nobody to tell.
        _ => drop(error.print()),
    }
    u8::try_from(error.exit_code()).unwrap_or(2)
}

/// One line for people, on standard error.
fn say(line: &str) {
    // With standard error gone there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Text for whoever asked, on standard output.
fn print(text: &str) -> Result<(), CliError> {
    io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|error| CliError::writing(None, error))
}

impl CliError {
    /// An error of reading or writing `what`.
    /// The system starts no threads.
    fn threads(error: io::Error) -> Self {
        AppError::System(error).into()
    }

    fn io(what: impl Into<String>, error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::Io {
            what: what.into(),
            error,
        }
    }

    /// An error of writing to `path`, or to standard output if there is none.
    fn writing(path: Option<&Path>, error: io::Error) -> Self {
        let name = path.map_or_else(|| "standard output".to_owned(), |path| path.display().to_string());
        Self::io(format!("{name} cannot be written"), error)
    }
}

impl OfflineSettings {
    /// The settings, with the log started.
    fn start(self) -> Result<Settings, CliError> {
        let mut settings = Settings {
            models: self.models,
            work: self.work,
            log: self.log,
            ..Settings::default()
        }
        .agreed()?;
        // Chunks in flight bound the work here. Admission protects many clients from one another, and there is one.
        settings.work.interactive_queue = UNLIMITED;
        settings.work.bulk_queue = UNLIMITED;
        settings.http.max_images = usize::MAX;
        settings.http.max_samples = u32::MAX;
        logging::start(&settings.log)?;
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command(&Registries::default()).debug_assert();
    }

    #[test]
    fn a_closed_output_is_no_failure() {
        let closed = io::Error::from(io::ErrorKind::BrokenPipe);
        assert!(matches!(CliError::writing(None, closed), CliError::OutputClosed));
    }
}
