//! What is fitted to features of inliers before anything is measured, and how far other features are from it.
//!
//! A learner is a value in a file of its own and one line of [`of`]. Statistics [need](Requirement) it by its name and
//! take their numbers from its distances. What it learnt are tensors, which a detector keeps in a file.

mod gaussians;
mod matrix;
mod nearest;
mod neighbours;
mod subspace;

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use super::statistics::Requirement;
use crate::runtime::Threads;

/// Something that is fitted to places of inliers.
pub trait Learner: Debug + Sync {
    /// Fits it. The same sample and seed give the same tensors.
    fn fit(&self, sample: &Sample, seed: u64) -> Result<Tensors, String>;

    /// What [`Self::fit`] answered, ready to measure places of `size` numbers; or what is wrong with it.
    fn ready(&self, tensors: &Tensors, size: usize) -> Result<Arc<dyn Learnt>, String>;
}

/// A fitted learner.
pub trait Learnt: Debug + Send + Sync {
    /// How far each of some places, one after the other, is from what was learnt: 0 or more.
    fn distances(&self, places: &[f32], threads: Threads) -> Vec<f32>;

    /// The same, and beside it the distances before each was brought to a unit of its own place, if it was: of one
    /// place and another these say which is farther.
    fn with_plain(&self, places: &[f32], threads: Threads) -> (Vec<f32>, Option<Vec<f32>>) {
        (self.distances(places, threads), None)
    }
}

/// The learner that a need is met by, if it is met by one.
pub fn of(requirement: Requirement) -> Option<&'static dyn Learner> {
    match requirement {
        Requirement::Gaussians => Some(&gaussians::Gaussians),
        Requirement::Neighbours => Some(&neighbours::Neighbours),
        Requirement::Subspace => Some(&subspace::Subspace),
        _ => None,
    }
}

/// Numbers in a sample, at most: 128 MiB.
pub const SAMPLE: usize = 1 << 25;

/// Places in a sample, at most.
pub const SAMPLE_PLACES: usize = 1 << 16;

/// Places in a bank, if nobody says another number.
pub const BANK: usize = 8192;

/// Places of inliers.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Numbers at a place.
    pub size: usize,
    /// The places one after the other.
    pub places: Vec<f32>,
    /// For each place the label that the network gives its image; 0 for all without labels.
    pub labels: Vec<usize>,
    /// For each place the number of its image.
    pub images: Vec<usize>,
    /// Whether an image has many places.
    pub is_map: bool,
    /// Places that a bank may keep.
    pub bank: usize,
    /// Places that a bank keeps first: those of them that cover a larger sample.
    pub begun: Vec<usize>,
}

impl Sample {
    /// Places that leave no other far from all of them, as many as a bank keeps, where a bank keeps such.
    pub fn cover(&self, seed: u64) -> Vec<usize> {
        if !self.is_map || self.count() <= self.bank {
            return Vec::new();
        }
        // As a bank has them: rounding decides between places that are about as far.
        let places = neighbours::scaled(&self.places, &neighbours::scale(self));
        neighbours::cover(&places, self.size, self.bank, &self.begun, seed)
    }

    /// How many places there are.
    pub fn count(&self) -> usize {
        self.labels.len()
    }
}

/// An array of single precision.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

/// Tensors by name.
pub type Tensors = BTreeMap<String, Tensor>;

impl Tensor {
    fn new(shape: &[usize], values: Vec<f32>) -> Self {
        Self {
            shape: shape.to_vec(),
            values,
        }
    }
}

/// The tensor of a name, if its rows have `size` numbers and all are finite.
fn rows_of<'a>(tensors: &'a Tensors, name: &str, size: usize) -> Result<&'a [f32], String> {
    let tensor = tensors.get(name).ok_or_else(|| format!("it has no {name}"))?;
    match tensor.shape.as_slice() {
        [rows, columns] if *rows > 0 && *columns == size => {}
        shape => {
            return Err(format!(
                "{name} has the shape {shape:?}, and its rows must have {size} numbers"
            ));
        }
    }
    if tensor.values.iter().all(|value| value.is_finite()) {
        return Ok(&tensor.values);
    }
    Err(format!("{name} has numbers that are not finite"))
}

/// What learners of a detector learnt.
#[derive(Debug, Clone, Default)]
pub struct Knowledge {
    /// Everything, by the name of the learner's need and a name of its own.
    pub tensors: Tensors,
    ready: Vec<(Requirement, Arc<dyn Learnt>)>,
}

impl Knowledge {
    /// Fits the learners of some needs.
    pub fn fit(requirements: &[Requirement], sample: &Sample, seed: u64) -> Result<Self, String> {
        let mut tensors = Tensors::new();
        for &requirement in requirements {
            let learner = of(requirement).ok_or_else(|| format!("nothing is learnt for {requirement}"))?;
            let own = learner
                .fit(sample, seed)
                .map_err(|cause| format!("{requirement}: {cause}"))?;
            tensors.extend(
                own.into_iter()
                    .map(|(name, tensor)| (format!("{requirement}.{name}"), tensor)),
            );
        }
        Self::read(requirements, tensors, sample.size)
    }

    /// What was learnt for some needs of places of `size` numbers, or what of it does not fit.
    pub fn read(requirements: &[Requirement], tensors: Tensors, size: usize) -> Result<Self, String> {
        let mut ready = Vec::new();
        for &requirement in requirements {
            let learner = of(requirement).ok_or_else(|| format!("nothing is learnt for {requirement}"))?;
            let prefix = format!("{requirement}.");
            let own = tensors
                .iter()
                .filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?.to_owned(), tensor.clone())));
            let own = learner.ready(&own.collect(), size);
            ready.push((requirement, own.map_err(|cause| format!("{requirement}: {cause}"))?));
        }
        Ok(Self { tensors, ready })
    }

    /// What is ready, by need.
    pub fn ready(&self) -> &[(Requirement, Arc<dyn Learnt>)] {
        &self.ready
    }

    /// Whether something was learnt for a need.
    pub fn has(&self, requirement: Requirement) -> bool {
        self.ready.iter().any(|(own, _)| *own == requirement)
    }
}

#[cfg(test)]
mod tests;
