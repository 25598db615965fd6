//! How sure it is that an autoregressive network is causal, without which the product of its predictions is no
//! probability.

use std::fmt;

/// What stands behind the word "exact".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assurance {
    /// It follows from the graph, for every image.
    Proven,
    /// It was tried: at so many of the dimensions, no prediction changed when its own or later dimensions were changed.
    Tried {
        /// Dimensions at which it was tried.
        places: usize,
        /// Dimensions of an image.
        of: usize,
    },
}

impl Assurance {
    /// The word for answers: what kind of number a log-likelihood of such a network is.
    pub fn bound(self) -> &'static str {
        match self {
            Self::Proven => "exact",
            Self::Tried { .. } => "exact_as_far_as_tried",
        }
    }
}

impl fmt::Display for Assurance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Proven => f.write_str("proven from the graph"),
            Self::Tried { places, of } => {
                write!(f, "tried by perturbation at {places} of {of} places")
            }
        }
    }
}
