//! Which of flags, environment, file and default wins, and the name of the winner for error messages.

use std::{
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, parser::ValueSource};

use super::{SettingsError, options::Options};

/// A setting by its place in the file, `section.key`, and its name in clap, from which flag and variable follow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    path: &'static str,
    id: &'static str,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A flag, by its name.
    Flag(String),
    /// An environment variable, by its name.
    Environment(String),
    /// A key of the configuration file.
    File {
        /// `section.key`.
        key: &'static str,
        /// The file.
        path: PathBuf,
    },
}

/// The written settings of every source.
#[derive(Debug, Default)]
pub struct Written {
    given: Options,
    from_environment: Vec<String>,
    file: Options,
    path: PathBuf,
    pub(super) ort_dylib_path: Option<OsString>,
}

impl Key {
    /// A setting whose flag is its key.
    pub(super) const fn new(path: &'static str, id: &'static str) -> Self {
        Self { path, id }
    }
}

impl Written {
    /// What flags and environment gave (`matches` tells them apart), over the file at `path`, if there is one.
    pub fn new(given: Options, matches: &ArgMatches, path: Option<&Path>) -> Result<Self, SettingsError> {
        let from_environment = matches
            .ids()
            .map(|id| id.as_str())
            .filter(|id| matches.value_source(id) == Some(ValueSource::EnvVariable))
            .map(str::to_owned)
            .collect();
        Ok(Self {
            given,
            from_environment,
            file: path.map(read).transpose()?.unwrap_or_default(),
            path: path.unwrap_or(Path::new("")).to_owned(),
            ort_dylib_path: std::env::var_os("ORT_DYLIB_PATH").filter(|value| !value.is_empty()),
        })
    }

    /// The value that wins, with its source; `None` leaves the default.
    pub(super) fn pick<T: Clone>(&self, key: Key, get: impl Fn(&Options) -> &Option<T>) -> Option<(T, Source)> {
        if let Some(value) = get(&self.given) {
            let source = if self.from_environment.iter().any(|id| id == key.id) {
                Source::Environment(format!("DENSITY_{}", key.id.to_uppercase()))
            } else {
                Source::Flag(format!("--{}", key.id.replace('_', "-")))
            };
            return Some((value.clone(), source));
        }
        let source = || Source::File {
            key: key.path,
            path: self.path.clone(),
        };
        get(&self.file).clone().map(|value| (value, source()))
    }

    /// Like [`Self::pick`] for a path: one written in the file is relative to the file's folder.
    pub(super) fn pick_path(&self, key: Key, get: impl Fn(&Options) -> &Option<PathBuf>) -> Option<(PathBuf, Source)> {
        let (path, source) = self.pick(key, get)?;
        let folder = match &source {
            Source::File { path, .. } => path.parent().unwrap_or(Path::new("")),
            _ => Path::new(""),
        };
        Some((folder.join(path), source))
    }
}

fn read(path: &Path) -> Result<Options, SettingsError> {
    let text = fs::read_to_string(path).map_err(|error| SettingsError::Unreadable {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    toml::from_str(&text).map_err(|error| SettingsError::Malformed {
        path: path.to_owned(),
        reason: error.to_string().trim_end().to_owned(),
    })
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::File { key, path } => write!(f, "key {key} in {}", path.display()),
        }
    }
}

#[cfg(test)]
impl Written {
    /// For tests: what a file of this text and these flags would give.
    pub(super) fn for_testing(given: Options, file: &str) -> Self {
        Self {
            given,
            file: toml::from_str(file).unwrap(),
            path: PathBuf::from("/etc/density/server.toml"),
            ..Self::default()
        }
    }
}
