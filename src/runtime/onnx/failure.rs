//! Why ONNX Runtime did not load or run a graph.

use std::time::Duration;

use super::super::RuntimeError;

/// Why the runtime did not do what it was asked for.
pub(super) enum Failure {
    /// For this reason.
    Cause(String),
    /// It was stopped after this time.
    Impatient(Duration),
}

/// What the runtime says of memory that it does not get, also for a thread.
const NO_MEMORY: [&str; 3] = ["std::bad_alloc", "Failed to allocate memory", "pthread_create failed"];

/// What to do about it, if the runtime `said` that it got no memory.
pub(super) fn shortage(said: &str) -> Option<String> {
    NO_MEMORY.iter().any(|words| said.contains(words)).then(|| {
        format!(
            "there is not enough memory: raise the limit of the container or of `ulimit -v`, or have fewer workers or \
             models ({said})"
        )
    })
}

impl<T> From<ort::Error<T>> for Failure {
    fn from(error: ort::Error<T>) -> Self {
        let said = error.to_string();
        Self::Cause(shortage(&said).unwrap_or(said))
    }
}

impl From<String> for Failure {
    fn from(cause: String) -> Self {
        Self::Cause(cause)
    }
}

impl Failure {
    /// The error of loading `name`.
    pub(super) fn of_load(self, name: &str) -> RuntimeError {
        let name = name.to_owned();
        match self {
            Self::Cause(cause) => RuntimeError::Load { name, cause },
            Self::Impatient(limit) => RuntimeError::Impatient { name, limit },
        }
    }

    /// The error of running `name`.
    pub(super) fn of_run(self, name: &str) -> RuntimeError {
        let name = name.to_owned();
        match self {
            Self::Cause(cause) => RuntimeError::Run { name, cause },
            Self::Impatient(limit) => RuntimeError::Impatient { name, limit },
        }
    }
}
