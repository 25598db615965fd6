//! The one error of the service: what was wrong, and what would be right.

use std::time::Duration;

use crate::domain::family::Capability;

/// Why a request, or one image of it, was not served. Rejecting an outlier is an answer, not an error.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServiceError {
    /// No such model.
    #[error("there is no model {name:?}; this server has: {}", list(known))]
    ModelNotFound {
        /// The name asked for.
        name: String,
        /// Names there are.
        known: Vec<String>,
    },
    /// The model has no such version.
    #[error("model {name:?} has no version {version}; it has: {}", list(known))]
    VersionNotFound {
        /// The model.
        name: String,
        /// The version asked for.
        version: u32,
        /// Versions there are.
        known: Vec<String>,
    },
    /// The server has just started and has not looked at all models yet.
    #[error("the models are still being loaded; /readyz tells when they are")]
    Loading,
    /// The version is there but its load gate refused it.
    #[error("model {name:?} version {version} is not ready: {reason}")]
    ModelNotReady {
        /// The model.
        name: String,
        /// The version.
        version: u32,
        /// What the load gate said.
        reason: String,
    },
    /// The model cannot do this.
    #[error("model {model:?} cannot {capability}: {reason}")]
    Unsupported {
        /// The model.
        model: String,
        /// What was asked of it.
        capability: Capability,
        /// Why it cannot.
        reason: String,
    },
    /// An option outside its range, or that does not apply to this model.
    #[error("{option}: {reason}")]
    InvalidOption {
        /// The option's name as the client writes it.
        option: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// An image that does not fit the model.
    #[error("{0}")]
    InvalidImage(String),
    /// A compressed image that this model cannot, or must not, decompress.
    #[error("{0}")]
    InvalidStream(String),
    /// More work in one request than a limit allows.
    #[error("{0}")]
    TooLarge(String),
    /// The queue is full.
    #[error(
        "the queue for this kind of work is full; try again in {} s",
        retry_after.as_secs().max(1)
    )]
    Overloaded {
        /// An estimate of when there will be room.
        retry_after: Duration,
    },
    /// The answer did not come in time.
    #[error("the request was not finished within its deadline")]
    DeadlineExceeded,
    /// The server is draining.
    #[error("the server is shutting down and takes no new work")]
    ShuttingDown,
    /// The batch in which the work ran failed; the cause is in the log.
    #[error("inference failed: {0}")]
    Inference(String),
}

/// The kinds of error, for transports to map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Nothing of that name.
    NotFound,
    /// There, but not serving.
    NotReady,
    /// The model's family cannot do it.
    Unsupported,
    /// A bad option.
    InvalidOption,
    /// A bad image.
    InvalidImage,
    /// A bad compressed image.
    InvalidStream,
    /// Over a limit of size.
    TooLarge,
    /// Queue full.
    Overloaded,
    /// Too late.
    DeadlineExceeded,
    /// Draining.
    ShuttingDown,
    /// Our fault.
    Internal,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::NotFound,
        Self::NotReady,
        Self::Unsupported,
        Self::InvalidOption,
        Self::InvalidImage,
        Self::InvalidStream,
        Self::TooLarge,
        Self::Overloaded,
        Self::DeadlineExceeded,
        Self::ShuttingDown,
        Self::Internal,
    ];
}

impl ServiceError {
    /// A graph that gave no numbers for an image.
    pub(super) fn not_a_number() -> Self {
        Self::Inference("the model's output for this image is not a number".to_owned())
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ModelNotFound { .. } | Self::VersionNotFound { .. } => ErrorKind::NotFound,
            Self::ModelNotReady { .. } | Self::Loading => ErrorKind::NotReady,
            Self::Unsupported { .. } => ErrorKind::Unsupported,
            Self::InvalidOption { .. } => ErrorKind::InvalidOption,
            Self::InvalidImage(_) => ErrorKind::InvalidImage,
            Self::InvalidStream(_) => ErrorKind::InvalidStream,
            Self::TooLarge(_) => ErrorKind::TooLarge,
            Self::Overloaded { .. } => ErrorKind::Overloaded,
            Self::DeadlineExceeded => ErrorKind::DeadlineExceeded,
            Self::ShuttingDown => ErrorKind::ShuttingDown,
            Self::Inference(_) => ErrorKind::Internal,
        }
    }
}

fn list(known: &[String]) -> String {
    if known.is_empty() {
        "none".to_owned()
    } else {
        known.join(", ")
    }
}
