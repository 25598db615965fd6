//! Statistics of the image alone, which need no member. Microseconds each.

use super::{Part, Statistic, Values, arithmetic::deviation};
use crate::domain::{complexity, image::ImageShape};

/// Bits of the image under a small lossless code, see [`crate::domain::complexity`].
pub const CODE_LENGTH: Statistic = Statistic {
    name: "code_length",
    unit: "bits",
    requirements: &[],
    part: Part::Decides,
    values: Values::Number(|seen| Some(complexity::code_length(seen.levels, seen.shape))),
};

/// The share of dimensions at level 0.
pub const DARK_SHARE: Statistic = Statistic {
    name: "dark_share",
    unit: "share",
    requirements: &[],
    part: Part::Decides,
    values: Values::Number(|seen| {
        let dark = seen.levels.iter().filter(|&&level| level == 0).count();
        Some(dark as f64 / seen.count())
    }),
};

/// Mean of level / (levels − 1).
pub const BRIGHTNESS: Statistic = Statistic {
    name: "brightness",
    unit: "level / (levels − 1)",
    requirements: &[],
    part: Part::Decides,
    values: Values::Number(|seen| Some(seen.units().sum::<f64>() / seen.count())),
};

/// Standard deviation of level / (levels − 1).
pub const CONTRAST: Statistic = Statistic {
    name: "contrast",
    unit: "level / (levels − 1)",
    requirements: &[],
    part: Part::Decides,
    values: Values::Number(|seen| Some(deviation(seen.units(), seen.count()))),
};

/// Mean absolute difference between neighbours, along rows plus along columns.
pub const TOTAL_VARIATION: Statistic = Statistic {
    name: "total_variation",
    unit: "level / (levels − 1)",
    requirements: &[],
    part: Part::Decides,
    values: Values::Number(|seen| Some(total_variation(seen.levels, seen.shape))),
};

/// Mean absolute difference between neighbours, along rows plus along columns, in units of level / (levels − 1).
fn total_variation(levels: &[u8], shape: ImageShape) -> f64 {
    let (height, width) = (shape.height(), shape.width());
    let (mut across, mut down) = (0u64, 0u64);
    for plane in levels.chunks(shape.pixels()) {
        for (index, &level) in plane.iter().enumerate() {
            if (index + 1) % width != 0 {
                across += u64::from(level.abs_diff(plane[index + 1]));
            }
            if index + width < plane.len() {
                down += u64::from(level.abs_diff(plane[index + width]));
            }
        }
    }
    let pairs = |rows: usize, columns: usize| (shape.channels() * rows * columns).max(1) as f64;
    let max = (shape.levels() - 1) as f64;
    (across as f64 / pairs(height, width - 1) + down as f64 / pairs(height - 1, width)) / max
}
