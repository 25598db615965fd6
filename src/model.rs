//! What a loaded model is to everybody else: an identity, images of one size, labels, and capabilities that are there
//! or absent with a reason.
//!
//! A capability is a trait. [Families](crate::families) implement it, [operations](crate::operations) and
//! [detection](crate::detection) ask for it: `model.can::<dyn Scores>()?` gives the capability or the family's reason
//! why not.
//!
//! Architecture invariant: nothing here knows a family, an operation or a transport by name.

pub mod call;
mod capabilities;
pub mod catalogue;
pub mod classify;
pub mod codes;
pub mod compress;
pub mod control;
pub mod cost_floor;
pub mod detect;
pub mod draw;
pub mod info;
pub mod labels;
pub mod progress;
pub mod refusal;
pub mod score;
pub mod shadow;
pub mod value;
pub mod work;

use std::{fmt, sync::Arc};

pub use self::{
    call::Call,
    capabilities::{Capabilities, Reason},
    refusal::{Kind, Refusal},
};
use self::{info::Card, labels::Labels};
use crate::{domain::image::ImageShape, media::DecodeOptions, runtime::Placement};

/// Per image: its result, or why it has none.
pub type PerImage<T> = Vec<Result<T, Refusal>>;

/// A version of a model that has proved itself and serves.
pub struct Model {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// What identifies the numbers that it computes: sha256, in hexadecimal digits, of its graphs, or of its manifest
    /// where it has none.
    pub identity: String,
    /// Size of its images.
    pub shape: ImageShape,
    /// What is done to image files so that they fit, without being asked for.
    pub preprocessing: DecodeOptions,
    /// The labels that its density is conditioned on, or that it tells apart.
    pub labels: Option<Labels>,
    /// Where its numbers are computed, and how exactly.
    pub placement: Placement,
    /// What it says of itself.
    pub card: Card,
    /// What it can do.
    pub capabilities: Capabilities,
}

impl Model {
    /// A capability of the model, or the reason why it lacks it.
    pub fn can<C: ?Sized + Send + Sync + 'static>(&self) -> Result<Arc<C>, Reason> {
        self.capabilities.get::<C>()
    }

    /// Names of its labels, in the order of their numbers; none without labels.
    pub fn label_names(&self) -> &[String] {
        self.labels.as_ref().map_or(&[], |labels| &labels.names)
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({} version {})", self.name, self.version)
    }
}
