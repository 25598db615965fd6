//! Statistics of an image that is looked at in windows: what the strangest of them say, and the largest places of the
//! map that they make together.

use super::{Part, Requirement, Statistic, Values};

/// What windows say of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pooled {
    /// The largest value of the smoothed map.
    pub map_largest: f64,
    /// The mean over the largest share of the smoothed map.
    pub map_share: f64,
    /// The mean over the map.
    pub map_mean: f64,
    /// The strangeness of the strangest window.
    pub window_largest: f64,
    /// The mean over the strangest share of the windows.
    pub window_share: f64,
    /// The mean over all windows.
    pub window_mean: f64,
}

/// Every one, in the order in which a detector has them.
pub const ALL: [Statistic; 6] = [
    TILE_MAP_LARGEST,
    TILE_MAP_SHARE,
    TILE_MAP_MEAN,
    TILE_LARGEST,
    TILE_SHARE,
    TILE_MEAN,
];

/// The largest value of the smoothed map of the image.
pub const TILE_MAP_LARGEST: Statistic = number("tile_map_largest", MAP, |pooled| pooled.map_largest);

/// The mean over the largest share of the smoothed map.
pub const TILE_MAP_SHARE: Statistic = number("tile_map_share", MAP, |pooled| pooled.map_share);

/// The mean over the map.
pub const TILE_MAP_MEAN: Statistic = number("tile_map_mean", MAP, |pooled| pooled.map_mean);

/// The strangeness of the strangest window.
pub const TILE_LARGEST: Statistic = number("tile_largest", STRANGENESS, |pooled| pooled.window_largest);

/// The mean strangeness of the strangest share of the windows.
pub const TILE_SHARE: Statistic = number("tile_share", STRANGENESS, |pooled| pooled.window_share);

/// The mean strangeness of the windows.
pub const TILE_MEAN: Statistic = number("tile_mean", STRANGENESS, |pooled| pooled.window_mean);

const MAP: &str = "that of the map";
const STRANGENESS: &str = "−log share of inliers";

const fn number(name: &'static str, unit: &'static str, of: fn(&Pooled) -> f64) -> Statistic {
    Statistic {
        name,
        unit,
        requirements: &[Requirement::Tiles],
        part: Part::Decides,
        values: Values::Pooled(of),
    }
}
