//! Graphs as people export them, brought to the one form that the server keeps contracts for.
//!
//! A front end of a compiler: [`export`] reads a file, `decompose` writes what exporters leave in it with standard
//! operators, [`probe`] runs it as it is, [`reading`] finds out what it takes and gives, [`split`] parts an encoder
//! from a decoder, [`layout`] tells which axis is which, [`causal`] whether it predicts, [`output_activation`] what its
//! last operators did to its numbers, [`output_range`] in which range that leaves them, [`features`] whether they are
//! for labels at all, and [`canonical`] writes the same computation again with the server's inputs, outputs and units,
//! [`tables`] with what it makes of a label alone.
//! What no file tells is asked by [`interview`].
//!
//! Architecture invariant: no family of models is known here, nor manifests, nor where questions are asked.

pub mod canonical;
pub mod causal;
mod decompose;
mod exclusive_sums;
pub mod export;
pub mod features;
pub mod interview;
pub mod layout;
pub mod learning;
mod of_probabilities;
pub mod output_activation;
pub mod output_range;
mod pixel_rows;
pub mod probe;
pub mod reading;
pub mod split;
pub mod tables;
pub mod trial_images;

use std::fmt;

/// Something that stands in the way, and what helps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What it is about: a file, a flag.
    pub place: String,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub cure: String,
}

impl Problem {
    /// A problem of `place`.
    pub fn new(place: impl Into<String>, what: impl Into<String>, cure: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            what: what.into(),
            cure: cure.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)?;
        if self.cure.is_empty() {
            return Ok(());
        }
        write!(f, "; {}", self.cure)
    }
}
