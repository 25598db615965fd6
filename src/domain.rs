//! The pure core: images, likelihoods, bounds, Bayes' rule, conformal p-values, sampling and coding arithmetic, random
//! numbers.
//!
//! Architecture invariant: nothing here knows of threads, files, ONNX, HTTP or serialisation. Every function is
//! deterministic, so the same image gives the same number wherever it is asked.

pub(crate) mod algebra;
pub mod assurance;
pub mod bayes;
pub mod binomial;
pub mod coding;
pub mod complexity;
pub mod conformal;
pub mod coverage;
pub mod drift;
pub mod image;
pub mod likelihood;
pub mod logistic_mixture;
pub mod mixture;
pub mod mondrian;
mod normal;
pub mod random;
pub mod reliability;
pub mod roc;
pub mod sampling;
pub mod summary;
pub mod surprise;
pub mod tiles;
