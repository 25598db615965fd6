//! The command line: reads the arguments, calls the application, turns errors into a sentence and an exit code.
//!
//! Nothing here computes: a command is inputs, one operation a chunk, and output. The commands of operations come from
//! their registry.

mod calibrate;
mod check;
mod evaluate;
mod files;
mod gather;
mod growing;
mod health;
mod inputs;
mod labels;
mod model;
mod npy;
mod operation;
mod pipeline;
mod resume;
mod serve;
mod table;

use std::{
    ffi::OsString,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{
    ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand,
    error::{ContextKind, ContextValue},
};

use crate::{
    app::{AppError, Registries},
    logging::{self, LoggingError},
    model::Refusal,
    settings::{
        Settings, SettingsError, Written,
        options::{GrpcOptions, HttpOptions, LogOptions, ModelOptions, Options, WorkOptions},
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
    Evaluate(evaluate::EvaluateArgs),
    Health(health::HealthArgs),
}

/// The settings that matter to a command that serves nobody.
#[derive(Debug, Args)]
struct OfflineSettings {
    /// TOML file of settings, as for `serve`
    #[arg(long, value_name = "FILE", env = "DENSITY_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,

    #[command(flatten)]
    models: ModelOptions,

    #[command(flatten)]
    work: WorkOptions,

    #[command(flatten)]
    log: LogOptions,
}

/// Arguments that offline commands share with `serve` but that mean nothing to them: one caller needs no admission.
const NOT_OFFLINE: [&str; 5] = [
    "poll_interval",
    "proof_records",
    "required_models",
    "interactive_queue",
    "bulk_queue",
];

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

/// Runs one command.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    run_with(arguments, &Registries::default())
}

/// Runs one command of a binary that knows other families or operations.
pub fn run_with(arguments: impl IntoIterator<Item = OsString>, registries: &Registries) -> ExitCode {
    let matches = match command(registries).try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(error) => return report_usage(&error),
    };
    // A subcommand is required, so there are matches of one.
    let Some((name, own)) = matches.subcommand() else {
        return ExitCode::from(2);
    };
    let outcome = match registries.operations.get(name) {
        Some(operation) => operation::run(&**operation, registries, own),
        None => match Cli::from_arg_matches(&matches) {
            Ok(cli) => match cli.command {
                Command::Serve(arguments) => serve::run(*arguments, registries, own),
                Command::Check(arguments) => check::run(arguments, registries, own),
                Command::Calibrate(arguments) => calibrate::run(arguments, registries, own),
                Command::Evaluate(arguments) => evaluate::run(arguments, registries, own),
                Command::Health(arguments) => health::run(arguments, own),
            },
            Err(error) => return report_usage(&error),
        },
    };
    match outcome {
        Ok(Outcome::Done) | Err(CliError::OutputClosed) => ExitCode::SUCCESS,
        Ok(Outcome::Refused) => ExitCode::from(1),
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::from(2)
        }
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
        .filter(|name| !["serve", "health"].contains(&name.as_str()))
        .collect();
    for name in offline {
        command = command.mut_subcommand(name, |mut subcommand| {
            for id in NOT_OFFLINE {
                subcommand = subcommand.mut_arg(id, |argument| argument.hide(true));
            }
            subcommand.after_help(EXIT_CODES)
        });
    }
    command
}

/// A refusal as a person at a terminal reads it: an option is a flag, and there is no server's log to look into.
fn told(refusal: &Refusal) -> String {
    let detail = refusal.cause().unwrap_or(refusal.detail());
    match refusal.option_name() {
        Some(option) => format!("--{}: {detail}", option.replace('_', "-")),
        None => detail.to_owned(),
    }
}

/// Prints what clap found, and where a bad value came from if that was not the command line.
fn report_usage(error: &clap::Error) -> ExitCode {
    // With nowhere to print there is nobody to tell.
    let _ = error.print();
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    if let (Some(argument), Some(value)) = (text(ContextKind::InvalidArg), text(ContextKind::InvalidValue)) {
        let flag = argument.split_whitespace().next().unwrap_or_default();
        let name = flag.trim_start_matches('-').replace('-', "_");
        let variable = format!("DENSITY_{}", name.to_uppercase());
        if std::env::var(&variable).is_ok_and(|set| set == value) {
            say(&format!("the value is that of the environment variable {variable}"));
        }
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// One line for people, on standard error.
fn say(line: &str) {
    // With standard error gone there is nobody to tell.
    let _ = writeln!(io::stderr().lock(), "{line}");
}

impl CliError {
    /// An error of reading or writing `what`.
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
    fn start(self, matches: &ArgMatches) -> Result<Settings, CliError> {
        let options = Options {
            models: self.models,
            work: self.work,
            http: HttpOptions::default(),
            grpc: GrpcOptions::default(),
            log: self.log,
        };
        let written = Written::new(options, matches, self.config.as_deref())?;
        let mut defaults = Settings::default();
        defaults.log.filter = "warn".to_owned();
        let mut settings = defaults.with(&written)?;
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
