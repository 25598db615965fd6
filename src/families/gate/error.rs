//! Why a version does not serve, in words for its author.

use std::time::Duration;

use super::units::Suspicion;
use crate::{
    families::{NetworkError, manifest::MANIFEST},
    import::interview::Question,
    model::{
        Reason,
        info::{Change, short},
    },
    runtime::{Placement, Precision, RuntimeError},
};

/// Why a version does not serve.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GateError {
    /// A file that cannot be read.
    #[error("{file} cannot be read: {cause}")]
    Read {
        /// The file's name.
        file: String,
        /// What the system said.
        cause: String,
    },
    /// The manifest is not valid.
    #[error("{MANIFEST}: {0}")]
    Manifest(String),
    /// A file is not the one that the manifest describes.
    #[error("{file} has sha256 {actual}, but {MANIFEST} says {expected}")]
    Hash {
        /// The file's name.
        file: String,
        /// What the manifest says.
        expected: String,
        /// What the file has.
        actual: String,
    },
    /// A file is not what it should be.
    #[error("{file}: {cause}")]
    File {
        /// The file's name.
        file: String,
        /// What is wrong.
        cause: String,
    },
    /// A stream that cannot be watched.
    #[error("its stream cannot be watched for drift: {0}")]
    Drift(String),
    /// A graph that cannot be used.
    #[error("{file}: {cause}")]
    Network {
        /// The graph's file.
        file: String,
        /// What is wrong.
        cause: NetworkError,
    },
    /// A graph that does not run.
    #[error(
        "{file}: {cause}. The load gate runs a graph on one image and on several: export it with a batch dimension \
         that is not fixed and without the size of a batch in its reshapes; if it takes one image at a time, say \
         [serving] batch = 1"
    )]
    Run {
        /// The graph's file.
        file: String,
        /// What the runtime said.
        cause: RuntimeError,
    },
    /// A logit depends on its own or a later dimension: the product of the predictions is not a probability.
    #[error(
        "{file} is not causal: the prediction of {predicted} changed when only dimensions from {changed} on were \
         changed, so the product of its predictions is not a probability"
    )]
    Leak {
        /// The graph's file.
        file: String,
        /// The dimension whose prediction changed.
        predicted: String,
        /// The first dimension that was changed.
        changed: String,
    },
    /// What a graph gives depends on the images that share its run.
    #[error(
        "{file} depends on the batch: in the company of other images, what it gives changes by up to \
         {difference:e}{also}. Export the graph so that it computes nothing over the batch (batch normalisation in \
         evaluation mode, fixed ranges), or, if each image is to be seen alone, say [serving] batch = 1"
    )]
    Company {
        /// The graph's file.
        file: String,
        /// Largest difference.
        difference: f32,
        /// What else is wrong; empty or a clause.
        also: String,
    },
    /// A graph that draws random numbers.
    #[error(
        "{file} is random, or keeps something from one run to the next: the same twice gives different numbers{nodes}. \
         Export it in evaluation mode and without draws inside{cure}"
    )]
    Random {
        /// The graph's file.
        file: String,
        /// The nodes that draw; empty or a clause.
        nodes: String,
        /// What may be said instead; empty or a clause.
        cure: &'static str,
    },
    /// A graph that holds draws, although no trial saw one.
    #[error(
        "{file} holds what draws random numbers ({nodes}): under some images its numbers may be random, though none \
         that was tried showed it. Export it in evaluation mode and without draws inside{cure}"
    )]
    Draws {
        /// The graph's file.
        file: String,
        /// The nodes that draw.
        nodes: String,
        /// What may be said instead; empty or a clause.
        cure: &'static str,
    },
    /// Something that ran longer than a load may take, and did not stop when it was asked to.
    #[error(
        "loading took longer than {} s and could not be stopped: one of its graphs does not end, and goes on in a \
         thread of its own until the process ends", .0.as_secs_f64()
    )]
    Unstoppable(Duration),
    /// No thread to load in.
    #[error("no thread to load in: {0}")]
    Thread(String),
    /// More probability than there is.
    #[error(
        "{file} gives no probability: images of uniform noise have a log-likelihood of {actual:.1} nats, where no \
         probability can give them more than {most:.1} on average"
    )]
    Noise {
        /// The graph's file.
        file: String,
        /// Mean log-likelihood of noise.
        actual: f64,
        /// What it can be.
        most: f64,
    },
    /// Numbers that look like something else, and are not declared.
    #[error("{}; what is right is said in [declared] of {MANIFEST}", listed(.0))]
    Undeclared(Vec<Undeclared>),
    /// Numbers that move further at a lower precision than is declared.
    #[error(
        "on {placement} {change}: {}. If that will do, say `bf16_tolerance = {:?}` in [golden] of {MANIFEST}; else \
         serve it with {}",
        declared.map_or("how far they may is not declared".to_owned(), |declared| format!("declared are {declared}")),
        short(change.largest * 1.1),
        Placement { precision: Precision::F32, ..*placement }.flags()
    )]
    Moved {
        /// Where they were computed.
        placement: Placement,
        /// How far they moved.
        change: Change,
        /// What the manifest allows.
        declared: Option<f64>,
    },
    /// A proof that fails on a device and not at the reference.
    #[error("on {placement}, though not on {}: {cause}", Placement::REFERENCE)]
    Elsewhere {
        /// Where.
        placement: Placement,
        /// What failed.
        cause: Box<GateError>,
    },
    /// A calibration that was made elsewhere.
    #[error("{0}")]
    Calibrated(Reason),
    /// Golden numbers that prove nothing.
    #[error("{what}: the tolerance allows {allowed:e}, so that any number would do")]
    Tolerance {
        /// What was compared.
        what: &'static str,
        /// The largest difference that is allowed.
        allowed: f64,
    },
    /// Logits that describe no distribution.
    #[error("{file}: the logits of {dimension} of golden image {image} give no distribution: they are not finite")]
    Undefined {
        /// The graph's file.
        file: String,
        /// Index of the golden image.
        image: usize,
        /// The dimension that they predict.
        dimension: String,
    },
    /// Scores and logits disagree.
    #[error(
        "{file}: scores and logits disagree: image {image} has log-likelihood {score} by its scores and {logits} by \
         its logits"
    )]
    Inconsistent {
        /// The graph's file.
        file: String,
        /// Index of the golden image.
        image: usize,
        /// Σ of the scoring graph.
        score: f64,
        /// The same from logits.
        logits: f64,
    },
    /// A golden number was not reproduced.
    #[error(
        "{what}: number {index} is {expected}{unit}, but the graph gives {actual}: off by {:.3e}, allowed are \
         {allowed:.3e}",
        (actual - expected).abs()
    )]
    Golden {
        /// What was compared.
        what: &'static str,
        /// Their unit, with a space before it; empty if they have none.
        unit: &'static str,
        /// Which of them.
        index: usize,
        /// The golden number.
        expected: f64,
        /// What the graph gives.
        actual: f64,
        /// Allowed difference.
        allowed: f64,
    },
}

/// Numbers of a graph that look like something else.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{file}: {suspicion}")]
pub struct Undeclared {
    /// The graph's file.
    file: String,
    suspicion: Suspicion,
}

impl Undeclared {
    pub(super) fn new(file: String, suspicion: Suspicion) -> Self {
        Self { file, suspicion }
    }

    /// The same as a question.
    pub fn question(&self) -> Question {
        let (key, options, likely) = self.suspicion.answers();
        let option = |&(value, meaning): &(&str, &str)| (value.to_owned(), meaning.to_owned());
        Question {
            key: key.to_owned(),
            text: self.to_string(),
            options: options.iter().map(option).collect(),
            likely: likely.to_owned(),
        }
    }
}

fn listed(all: &[Undeclared]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    all.join("; ")
}

impl GateError {
    /// A file that is not what it should be.
    pub fn file(file: &str, cause: impl ToString) -> Self {
        Self::File {
            file: file.to_owned(),
            cause: cause.to_string(),
        }
    }

    /// Whether a load took too long, which another one may not.
    pub fn is_of_time(&self) -> bool {
        matches!(
            self,
            Self::Unstoppable(_)
                | Self::Thread(_)
                | Self::Network {
                    cause: NetworkError::Runtime(RuntimeError::Impatient { .. }),
                    ..
                }
        )
    }
}
