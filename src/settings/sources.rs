//! Where values come from. A flag beats an environment variable, which beats the file, which beats the default.
//!
//! All names follow from the flag: `--max-images` of the section HTTP is `DENSITY_MAX_IMAGES` in the environment and
//! `max_images` of `[http]` in the file. What the file says is laid under flags and environment as clap's default, so
//! that one parser reads all sources and knows the bounds.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use clap::{
    Arg, Args, Command, ValueHint,
    error::{ContextKind, ContextValue, ErrorKind},
};
use toml::{Table, Value};

use super::{Settings, SettingsError};

/// A setting as people look it up.
#[derive(Debug)]
pub struct Entry {
    /// Its flag, with the value's name.
    pub flag: String,
    /// `section.key` in the file.
    pub key: String,
    /// The default, if it is not none.
    pub default: Option<String>,
    /// What it does.
    pub help: String,
}

/// All settings, in the order of `--help`.
pub fn entries() -> Vec<Entry> {
    let command = Settings::augment_args(Command::new(""));
    command.get_arguments().map(entry).collect()
}

fn entry(argument: &Arg) -> Entry {
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    // A default that is no fixed value is told in words.
    let (help, told) = match help.strip_suffix(']').and_then(|help| help.split_once(" [default: ")) {
        Some((help, default)) => (help.to_owned(), Some(default.to_owned())),
        None => (help, None),
    };
    let declared = argument.get_default_values().first();
    let names = argument.get_value_names().unwrap_or_default();
    Entry {
        flag: format!("--{} {}", argument.get_long().unwrap_or_default(), names.join(" ")),
        key: key(argument),
        default: told.or_else(|| declared.map(|value| value.to_string_lossy().into_owned())),
        help,
    }
}

/// `section.key`. The key is the flag, less what the section says already; an address is the section's own flag.
fn key(argument: &Arg) -> String {
    let section = argument.get_help_heading().unwrap_or_default().to_lowercase();
    let id = argument.get_id().as_str();
    let name = id.strip_prefix(&section).map_or(id, |rest| match rest {
        "" => "address",
        rest => rest.strip_prefix('_').unwrap_or(id),
    });
    format!("{section}.{name}")
}

/// The environment variable of a flag.
pub fn variable(id: &str) -> String {
    format!("DENSITY_{}", id.to_uppercase())
}

/// Lets the settings among the arguments of `command` be given in the environment.
pub fn with_environment(command: Command) -> Command {
    let all = Settings::augment_args(Command::new(""));
    let is_setting = |id: &str| id == "config" || all.get_arguments().any(|own| own.get_id() == id);
    command.mut_args(|argument| {
        if !is_setting(argument.get_id().as_str()) {
            return argument;
        }
        let variable = variable(argument.get_id().as_str());
        argument.env(variable).hide_env_values(true)
    })
}

/// Variables of the environment that look like settings and are none, with what is meant, if that can be told.
pub fn unknown_variables() -> Vec<String> {
    let names = env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    unknown_among(names.collect())
}

pub(super) fn unknown_among(mut names: Vec<String>) -> Vec<String> {
    let command = Settings::augment_args(Command::new(""));
    let known = |name: &str| {
        let is_setting = |own: &Arg| variable(own.get_id().as_str()) == name;
        name == variable("config") || command.get_arguments().any(is_setting)
    };
    // Kubernetes tells every container of a service `density` so.
    let is_link = |name: &str| name.contains("_SERVICE_") || name.ends_with("_PORT") || name.contains("_PORT_");
    names.retain(|name| name.starts_with("DENSITY_") && !known(name) && !is_link(name));
    names.sort();
    let told = |name: String| {
        let own = name.trim_start_matches("DENSITY_");
        // As the section and the key of a file would have it: `http.address` is `--http`.
        let is_meant = |argument: &&Arg| {
            let key = key(argument).replace('.', "_").to_uppercase();
            key == own || argument.get_id().as_str().to_uppercase().replace('_', "") == own.replace('_', "")
        };
        match command.get_arguments().find(is_meant) {
            Some(meant) => format!("{name} (meant is {}?)", variable(meant.get_id().as_str())),
            None => name,
        }
    };
    names.into_iter().map(told).collect()
}

/// What a configuration file says, and ONNX Runtime's own variable beside it.
#[derive(Debug, Default)]
pub struct Underneath {
    values: Vec<(String, Vec<OsString>)>,
}

impl Underneath {
    /// Reads the file, if there is one, and refuses keys that there are not and values that cannot be.
    pub fn read(file: Option<&Path>) -> Result<Self, SettingsError> {
        let theirs = env::var_os("ORT_DYLIB_PATH").filter(|value| !value.is_empty());
        let Some(path) = file else {
            return Self::new("", Path::new(""), theirs);
        };
        let text = fs::read_to_string(path).map_err(|error| SettingsError::Unreadable {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Self::new(&text, path, theirs)
    }

    pub(super) fn new(text: &str, path: &Path, ort_dylib_path: Option<OsString>) -> Result<Self, SettingsError> {
        let mut values = Vec::new();
        let malformed = |reason: String| SettingsError::Malformed {
            path: path.to_owned(),
            reason,
        };
        let document: Table =
            toml::from_str(text).map_err(|error| malformed(error.to_string().trim_end().to_owned()))?;
        let command = Settings::augment_args(Command::new("")).no_binary_name(true);
        for (section, content) in document {
            let Value::Table(content) = content else {
                return Err(malformed(format!("{section:?} stands in no section, such as [http]")));
            };
            for (name, value) in content {
                let name = format!("{section}.{name}");
                let Some(argument) = command.get_arguments().find(|argument| key(argument) == name) else {
                    return Err(malformed(unknown(&command, &section, &name)));
                };
                let texts = texts(value).ok_or_else(|| malformed(format!("{name} has no values of this kind")))?;
                judge(&command, argument, &texts).map_err(|(value, reason)| SettingsError::Value {
                    origin: format!("key {name} in {}", path.display()),
                    value,
                    reason,
                })?;
                let folder = path.parent().unwrap_or(Path::new(""));
                let texts = texts.into_iter().map(|text| placed(argument, text, folder)).collect();
                values.push((argument.get_id().to_string(), texts));
            }
        }
        // ONNX Runtime's own variable is environment too: it beats the file, and our variable beats it.
        if let Some(theirs) = ort_dylib_path {
            values.retain(|(id, _)| id != "onnxruntime");
            values.push(("onnxruntime".to_owned(), vec![theirs]));
        }
        Ok(Self { values })
    }

    /// Makes what was read the defaults of `command`, as far as it knows these settings.
    pub fn lay(&self, command: Command) -> Command {
        command.mut_args(
            |argument| match self.values.iter().find(|(id, _)| argument.get_id() == id.as_str()) {
                Some((_, values)) => argument.default_values(values.clone()),
                None => argument,
            },
        )
    }
}

/// A value of the file as a flag's; `None` for what no flag can be.
fn texts(value: Value) -> Option<Vec<String>> {
    Some(match value {
        Value::String(text) => vec![text],
        Value::Integer(number) => vec![number.to_string()],
        Value::Float(number) => vec![number.to_string()],
        Value::Boolean(truth) => vec![truth.to_string()],
        Value::Array(values) => values.into_iter().map(texts).collect::<Option<Vec<_>>>()?.concat(),
        Value::Table(_) | Value::Datetime(_) => return None,
    })
}

/// Has clap read values, each as a flag of its own; the one that cannot be comes back with the reason.
fn judge(command: &Command, argument: &Arg, texts: &[String]) -> Result<(), (String, String)> {
    let long = argument.get_long().unwrap_or_default();
    for text in texts {
        let flag = format!("--{long}={text}");
        if let Err(error) = command.clone().try_get_matches_from([flag]) {
            return Err((text.clone(), reason(&error)));
        }
    }
    Ok(())
}

/// What is wrong with a value, without the flag that clap was given it by.
pub fn reason(error: &clap::Error) -> String {
    if let Some(cause) = std::error::Error::source(error) {
        return cause.to_string();
    }
    match (error.kind(), error.get(ContextKind::ValidValue)) {
        (ErrorKind::InvalidValue, Some(ContextValue::Strings(valid))) => format!("it must be {}", valid.join(" or ")),
        _ => error.kind().to_string(),
    }
}

/// A path of the file is relative to the file's folder.
fn placed(argument: &Arg, text: String, folder: &Path) -> OsString {
    let is_path = argument.get_value_hint() == ValueHint::AnyPath && text != "none";
    if is_path {
        folder.join(PathBuf::from(text)).into_os_string()
    } else {
        text.into()
    }
}

fn unknown(command: &Command, section: &str, name: &str) -> String {
    let keys: Vec<String> = command.get_arguments().map(key).collect();
    let section = format!("{section}.");
    let siblings: Vec<&str> = keys.iter().filter_map(|key| key.strip_prefix(&section)).collect();
    if siblings.is_empty() {
        let mut sections: Vec<&str> = keys.iter().filter_map(|key| key.split('.').next()).collect();
        sections.dedup();
        return format!("there is no {name:?}; the sections are {}", sections.join(", "));
    }
    format!(
        "there is no {name:?}; the keys of this section are {}",
        siblings.join(", ")
    )
}
