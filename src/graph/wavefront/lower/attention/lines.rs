//! Attention along rows or along columns, as axial transformers have it, or within blocks of pixels: of all pixels, one
//! heeds those of its line.

use super::super::{
    View,
    axes::{self, Axis},
    line::Line,
    scores::{MOST_ADDED, Scores, Sight},
};
use crate::graph::{constant::Constant, wavefront::Unsupported};

/// Whether two views have their lines, and their heads, along the same axes.
pub(super) fn lie_alike(one: &View, other: &View) -> bool {
    let outer = |view: &View| view.axes[..view.axes.len().saturating_sub(2)].to_vec();
    let means_nothing = |axis: &Axis| axis.size() == 1 && !axis.is_spatial();
    let (one, other) = (outer(one), outer(other));
    let mut pairs = one.iter().zip(&other);
    one.len() == other.len() && pairs.all(|(a, b)| a == b || (means_nothing(a) && means_nothing(b)))
}

impl Scores {
    /// What is added to the scores of all pairs of pixels of the image: nothing is left of those on different lines.
    pub(super) fn over_the_image(&self, sight: Sight) -> Result<Sight, Unsupported> {
        if self.line == Line::Image {
            return Ok(sight);
        }
        if !sight.sees_itself {
            return Err(Unsupported::new(
                "attention along rows or columns in which the first pixel of each sees nothing",
            ));
        }
        let added = self.added.as_deref();
        let (rows, columns) = axes::extent(&self.queries.axes).unwrap_or((1, 1));
        let (pixels, columns) = (Axis::Pixels(rows, columns).size(), columns as usize);
        let heads = added.map_or(1, |added| added.heads);
        if pixels.saturating_mul(pixels).saturating_mul(heads) > MOST_ADDED {
            return Err(Unsupported::new(
                "attention along rows or columns of an image of very many pixels",
            ));
        }
        let places = self.places();
        let mut bias = Vec::with_capacity(pixels * heads * pixels);
        for query in 0..pixels {
            let (line, at) = self.line.place(query, columns);
            for head in 0..heads {
                let own = added.map(|added| &added.values[(head * places + at) * places..][..places]);
                bias.extend((0..pixels).map(|key| match self.line.place(key, columns) {
                    (other, seen) if other == line && seen <= at => own.map_or(0.0, |own| own[seen]),
                    _ => f32::NEG_INFINITY,
                }));
            }
        }
        Ok(Sight {
            bias: Some(Constant::floats(vec![pixels, heads, pixels], bias)),
            ..sight
        })
    }
}
