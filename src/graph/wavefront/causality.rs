//! The proof that no prediction sees its own or a later dimension.
//!
//! For every feature of every tensor, the last dimension that it can see is found, relative to its own pixel: (rows
//! down, columns to the right, channel), compared in that order, which is the order of dimensions. Reading a neighbour
//! moves what the neighbour sees by the same distance and keeps the order, so the last dimension that a feature sees is
//! the last one among those that its sources see. Only connections with a weight other than zero count.

use std::fmt;

use super::{
    Predictions,
    stencil::{Operand, Operator, Stencil, StencilTensor},
};
use crate::domain::image::ImageShape;

/// The last dimension that a feature sees, relative to its pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Reach {
    dy: i64,
    dx: i64,
    channel: usize,
}

/// What a feature sees, and through which feature of which tensor.
#[derive(Debug, Clone, Copy)]
struct Sight {
    reach: Reach,
    through: (usize, usize),
    step: (i64, i64),
}

/// A prediction that sees what it predicts, or something later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// The layer that lets it.
    pub layer: String,
    /// The channel that is predicted, where each is predicted for itself.
    pub predicted_channel: Option<usize>,
    /// What is seen, relative to the predicted pixel: rows down.
    pub rows_down: i64,
    /// Columns to the right.
    pub columns_right: i64,
    /// The channel that is seen.
    pub seen_channel: usize,
}

impl Leak {
    /// Whether what is seen is as far away as no two pixels of an image are.
    pub(super) fn is_outside(&self, shape: &ImageShape) -> bool {
        let is_beyond = |distance: i64, size: usize| distance.unsigned_abs() >= size as u64;
        is_beyond(self.rows_down, shape.height()) || is_beyond(self.columns_right, shape.width())
    }
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let distance = |count: i64, one: &str, after: &str, before: &str| {
            let plural = if count.abs() == 1 { "" } else { "s" };
            let side = if count > 0 { after } else { before };
            format!("{} {one}{plural} {side}", count.abs())
        };
        let place = match (self.rows_down, self.columns_right) {
            (0, 0) => "the same pixel".to_owned(),
            (0, dx) => format!("the pixel {}", distance(dx, "column", "to the right", "to the left")),
            (dy, 0) => format!("the pixel {}", distance(dy, "row", "below", "above")),
            (dy, dx) => format!(
                "the pixel {} and {}",
                distance(dy, "row", "below", "above"),
                distance(dx, "column", "to the right", "to the left")
            ),
        };
        let predicted = self
            .predicted_channel
            .map_or_else(String::new, |channel| format!("channel {channel} of "));
        write!(
            f,
            "layer {} lets the prediction of {predicted}a pixel see channel {} of {place}",
            self.layer, self.seen_channel
        )
    }
}

impl std::error::Error for Leak {}

/// Proves the stencil causal.
pub(super) fn prove(stencil: &Stencil) -> Result<(), Leak> {
    let sights = sights(stencil);
    let channels = stencil.shape.channels();
    for (feature, sight) in sights[stencil.logits].iter().enumerate() {
        let Some(sight) = sight else { continue };
        let own = Reach {
            dy: 0,
            dx: 0,
            channel: stencil.predictions.first_hidden(feature, channels),
        };
        if sight.reach >= own {
            return Err(Leak {
                layer: guilty_layer(stencil, &sights, feature),
                predicted_channel: match stencil.predictions {
                    Predictions::OfChannels(_) => Some(own.channel),
                    Predictions::OfPixels(_) => None,
                },
                rows_down: sight.reach.dy,
                columns_right: sight.reach.dx,
                seen_channel: sight.reach.channel,
            });
        }
    }
    Ok(())
}

/// Whether all that pixels add to layers over all of them is of each pixel itself, as the last that it sees.
pub(super) fn adds_itself(stencil: &Stencil) -> bool {
    let sights = sights(stencil);
    let sees_itself = |sight: &Option<Sight>| sight.is_some_and(|sight| (sight.reach.dy, sight.reach.dx) == (0, 0));
    let sources = stencil.summed.iter().flat_map(|&at| &stencil.tensors[at].operands);
    sources
        .filter_map(|operand| match operand {
            Operand::Tensor(read) => Some(read.tensor),
            Operand::Constant(_) | Operand::Table(_) => None,
        })
        .all(|source| sights[source].iter().all(sees_itself))
}

fn sights(stencil: &Stencil) -> Vec<Vec<Option<Sight>>> {
    let unseen = |tensor: &StencilTensor| vec![None; tensor.width()];
    let mut all: Vec<Vec<Option<Sight>>> = stencil.tensors.iter().map(unseen).collect();
    let has_states = !stencil.states().is_empty();
    // What a state sees is found anew until it sees no more: all that it has of places before lies before.
    loop {
        let mut sees_more = false;
        for (index, tensor) in stencil.tensors.iter().enumerate() {
            let mut own = std::mem::take(&mut all[index]);
            if let Operator::Image = tensor.operator {
                for (channel, sight) in own.iter_mut().enumerate() {
                    *sight = Some(Sight {
                        reach: Reach { dy: 0, dx: 0, channel },
                        through: (index, channel),
                        step: (0, 0),
                    });
                }
            }
            tensor.dependencies(|found| {
                let Some(source) = all[found.tensor][found.source] else {
                    return;
                };
                let reach = Reach {
                    dy: source.reach.dy + found.dy,
                    dx: source.reach.dx + found.dx,
                    channel: source.reach.channel,
                };
                let sight = &mut own[found.feature];
                if sight.is_none_or(|known| known.reach < reach) {
                    sees_more = true;
                    *sight = Some(Sight {
                        reach,
                        through: (found.tensor, found.source),
                        step: (found.dy, found.dx),
                    });
                }
            });
            all[index] = own;
        }
        if !sees_more || !has_states {
            return all;
        }
    }
}

/// On the way from the logit to what it sees: the layer that reads farthest ahead; among equals, one with weights, and
/// of those the nearest to the image, which is where a mask is stricter than elsewhere.
fn guilty_layer(stencil: &Stencil, sights: &[Vec<Option<Sight>>], feature: usize) -> String {
    let (mut at, mut feature) = (stencil.logits, feature);
    let mut guilty = None;
    while let Some(sight) = sights[at][feature] {
        let tensor = &stencil.tensors[at];
        if let Operator::Image = tensor.operator {
            break;
        }
        let has_weights = matches!(tensor.operator, Operator::Linear(_));
        let rank = (sight.step, has_weights);
        if guilty.is_none_or(|(best, _)| rank >= best) {
            guilty = Some((rank, at));
        }
        (at, feature) = sight.through;
    }
    guilty.map_or_else(String::new, |(_, at)| stencil.tensors[at].layer.clone())
}
