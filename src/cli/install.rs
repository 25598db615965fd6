//! `completions` and `man`: what a package installs beside the binary. Both come from the declarations of the commands.

use std::io::{self, Write};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use super::{CliError, Outcome};

/// Print completions for a shell
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Print a manual page, for example `density-server man serve | man -l -`
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The command [default: density-server as a whole]
    command: Option<String>,
}

pub(super) fn completions(arguments: &CompletionsArgs, mut command: Command) -> Result<Outcome, CliError> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(arguments.shell, &mut command, name, &mut script);
    print(&script)
}

pub(super) fn man(arguments: &ManArgs, mut command: Command) -> Result<Outcome, CliError> {
    // Names of subcommands get the whole in front.
    command.build();
    let page = match &arguments.command {
        None => command,
        Some(name) => {
            let own = command.find_subcommand(name).cloned();
            let own = own.ok_or_else(|| CliError::Usage(format!("there is no command {name:?}")))?;
            let title = format!("{}-{name}", command.get_name());
            own.name(title)
        }
    };
    let mut text = Vec::new();
    Man::new(page)
        .render(&mut text)
        .map_err(|error| CliError::writing(None, error))?;
    print(&text)
}

fn print(bytes: &[u8]) -> Result<Outcome, CliError> {
    let written = io::stdout().lock().write_all(bytes);
    written.map_err(|error| CliError::writing(None, error))?;
    Ok(Outcome::Done)
}
