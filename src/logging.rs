//! The log: lines of text or JSON on standard error, chosen by a filter.
//!
//! Standard output belongs to results, so that a log line never ends up in somebody's CSV.

use std::io;

use tracing_subscriber::EnvFilter;

use self::{fields::Fields, lines::Lines};
use crate::settings::{LogFormat, LogSettings};

mod fields;
mod lines;

/// The lines of this process.
static LINES: Lines = Lines::new();

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter cannot be read.
    #[error("the log filter {filter:?} is not valid: {reason}")]
    Filter {
        /// As written.
        filter: String,
        /// What is wrong.
        reason: String,
    },
    /// Somebody else in this process logs already.
    #[error("a log was started before: {0}")]
    Started(String),
}

/// Starts the log of this process.
pub fn start(settings: &LogSettings) -> Result<(), LoggingError> {
    let filter = EnvFilter::builder()
        .parse(&settings.filter)
        .map_err(|error| LoggingError::Filter {
            filter: settings.filter.clone(),
            reason: error.to_string(),
        })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| &LINES);
    let started = match settings.format {
        // Colour codes would spoil a log file, and a terminal shows plain text well enough.
        LogFormat::Text => lines.with_ansi(false).fmt_fields(Fields).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| LoggingError::Started(error.to_string()))
}

/// Has a thread write the log as long as this lives.
#[derive(Debug)]
pub struct Apart(());

impl Apart {
    /// From now on.
    pub fn begin() -> io::Result<Self> {
        LINES.begin()?;
        Ok(Self(()))
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        end();
    }
}

/// Has the last lines written, before the process ends.
pub fn end() {
    LINES.end();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_filter_is_named() {
        let settings = LogSettings {
            filter: "density_server=loud".to_owned(),
            format: LogFormat::Text,
        };
        let message = start(&settings).unwrap_err().to_string();
        assert!(message.contains("density_server=loud"), "{message}");
    }
}
