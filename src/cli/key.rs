//! `key`: makes a key for a client. The server's file gets its hash; the key itself is told once.

use std::{
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, ValueEnum};

use super::{CliError, Outcome, say};
use crate::access::{self, Access, Identity, NewKey, Scope};

/// Make a key for a client, write its hash to the server's file of keys, and print the key
#[derive(Debug, Args)]
pub(super) struct KeyArgs {
    /// Whose it is, for logs
    #[arg(value_name = "NAME")]
    name: String,

    /// What it is good for, with commas between
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', required = true)]
    scopes: Vec<KeyScope>,

    /// The file of keys, as for `serve`; it is made if there is none
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
}

/// What a key may be good for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum KeyScope {
    /// Models and what they are; scoring, judging, encoding
    Read,
    /// Sampling, completion, compression
    Sample,
    /// What changes the server for everybody
    Admin,
}

impl From<KeyScope> for Scope {
    fn from(scope: KeyScope) -> Self {
        match scope {
            KeyScope::Read => Self::Read,
            KeyScope::Sample => Self::Sample,
            KeyScope::Admin => Self::Admin,
        }
    }
}

pub(super) fn run(arguments: KeyArgs) -> Result<Outcome, CliError> {
    let KeyArgs {
        name,
        scopes,
        keys: path,
    } = arguments;
    let failed = |error| CliError::writing(Some(&path), error);
    if path.exists() {
        // A line that spoils the file would lock everybody out.
        let access = Access::new(Some(path.clone()), Identity::None).map_err(access_error)?;
        if access.knows(&name) {
            return Err(CliError::Usage(format!(
                "{} has a key {name:?} already",
                path.display()
            )));
        }
    }
    let scopes: Vec<Scope> = scopes.into_iter().map(Scope::from).collect();
    let NewKey { key, entry } = NewKey::new(&name, &scopes).map_err(failed)?;
    let mut options = File::options();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&path).map_err(failed)?;
    let length = file.metadata().map_err(failed)?.len();
    let written = file.write_all(format!("{entry}\n").as_bytes()).map_err(failed);
    let told =
        written.and_then(|()| writeln!(io::stdout().lock(), "{key}").map_err(|error| CliError::writing(None, error)));
    if let Err(error) = told {
        // Half an entry would lock everybody out at the next start, and a key that nobody knows opens nothing.
        file.set_len(length).map_err(failed)?;
        return Err(error);
    }
    say(&format!("the hash is in {}; the key is told only here", path.display()));
    Ok(Outcome::Done)
}

fn access_error(error: access::KeysError) -> CliError {
    CliError::Usage(error.to_string())
}
