//! Images that are changed to try causality: given ones, noise, and such as a network may treat in a way of its own.

use super::Trial;
use crate::{
    domain::{image::ImageShape, random::Random},
    families::gate::batch_independence,
};

/// Kinds of image that are changed, since a network may see on one what it does not on another: where a unit is
/// saturated, where it is scaled by the spread of an image, where colours are alike. Where there are few places, each
/// is tried on all of them.
pub(super) const KINDS: usize = 12;
/// The kind whose images excite most.
pub(super) const NOISE: usize = 1;
/// Levels by which a dimension of an image that is to stay what it is is changed, at most.
const STEPS: usize = 8;
/// A quiet image has one level in so many, at most, on both sides of its own.
const QUIET: usize = 32;

/// An image that is changed.
pub(super) struct Base {
    pub(super) levels: Vec<u8>,
    /// Whether it is to stay nearly what it is: what a network does to such images alone does not show where all that
    /// follows is changed at will.
    is_kept: bool,
}

impl Base {
    /// An image of a kind; `turn` decides which of those that are given.
    pub(super) fn new(trial: &Trial<'_>, kind: usize, turn: usize, random: &Random) -> Self {
        let shape = trial.shape;
        let (given, _) = trial.images[turn / KINDS % trial.images.len()];
        let (dimensions, count) = (shape.dimensions(), shape.levels());
        let most = (count - 1) as u8;
        let below =
            |index: usize, limit: usize| ((random.uniform(index as u32) * limit as f64) as usize).min(limit - 1);
        let quiet = batch_independence::alternating(dimensions, 1);
        let own = below(dimensions, count);
        let pixels = shape.pixels();
        let levels = match kind {
            0 => given.to_vec(),
            NOISE => (0..dimensions).map(|index| below(index, count) as u8).collect(),
            // Beside these every change is large.
            2 => quiet,
            3 => quiet.into_iter().map(|level| most - level).collect(),
            4 => vec![0; dimensions],
            5 => vec![most; dimensions],
            6 => vec![own as u8; dimensions],
            7 => {
                let spread = (count / QUIET).max(1);
                let near = |index: usize| {
                    (own + below(index, 2 * spread + 1))
                        .saturating_sub(spread)
                        .min(count - 1)
                };
                (0..dimensions).map(|index| near(index) as u8).collect()
            }
            // From one border to the other, each channel in its own direction.
            8 => (0..dimensions)
                .map(|index| {
                    let (row, column) = (index % pixels / shape.width(), index % shape.width());
                    let (row, column) = (row * (count - 1) / shape.height(), column * (count - 1) / shape.width());
                    let share = [row, column, count - 1 - row, count - 1 - column];
                    share[below(dimensions + index / pixels, share.len())] as u8
                })
                .collect(),
            // Without colour, and of one colour.
            9 => (0..dimensions)
                .map(|index| below(index % pixels, count) as u8)
                .collect(),
            10 => {
                let colours = (1 << shape.channels()) - 2;
                let colour = 1 + below(dimensions, colours.max(1));
                (0..dimensions)
                    .map(|index| most * (colour >> (index / pixels) & 1) as u8)
                    .collect()
            }
            // Of the highest contrast.
            _ => (0..dimensions).map(|index| most * below(index, 2) as u8).collect(),
        };
        Self {
            levels,
            is_kept: matches!(kind, 4..=8 | 10..),
        }
    }

    /// The image with another level at every place from `cut` on, or at that place alone, if it is to be kept.
    pub(super) fn changed_from(&self, cut: usize, shape: ImageShape, random: &Random) -> Vec<u8> {
        let end = if self.is_kept { cut + 1 } else { shape.dimensions() };
        self.changed(cut..end, cut, shape, random)
    }

    /// The image with other levels at these places. `number` decides on which.
    pub(super) fn changed(
        &self,
        places: impl IntoIterator<Item = usize>,
        number: usize,
        shape: ImageShape,
        random: &Random,
    ) -> Vec<u8> {
        let mut changed = self.levels.clone();
        let count = shape.levels();
        for place in places {
            let index = shape.index_of(place);
            let share = random.uniform((shape.dimensions() * (number + 2) + place) as u32);
            let level = &mut changed[index];
            *level = if self.is_kept {
                let step = 1 + (share * STEPS.min(count - 1) as f64) as usize;
                // Down where it does not go up.
                let up = usize::from(*level) + step;
                if up < count {
                    up as u8
                } else {
                    level.abs_diff(step as u8)
                }
            } else {
                let step = 1 + (share * (count - 1) as f64) as usize;
                ((usize::from(*level) + step) % count) as u8
            };
        }
        changed
    }
}
