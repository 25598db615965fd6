//! Which pixels attend to each other.

use super::axes::{Axis, Blocks};

/// The pixels that attend to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// All of the image.
    Image,
    /// Those of a row.
    Row,
    /// Those of a column.
    Column,
    /// Those of a block of so many.
    Block(usize),
}

impl Line {
    /// The line along an axis, if it is one of places.
    pub(super) fn along(axis: Axis) -> Option<Self> {
        match axis {
            Axis::Pixels(..) | Axis::Started(..) => Some(Self::Image),
            Axis::Column(_) => Some(Self::Row),
            Axis::Row(_) => Some(Self::Column),
            Axis::Within(Blocks { pixels, .. }) => Some(Self::Block(pixels as usize)),
            _ => None,
        }
    }

    /// Its number of pixels.
    pub(super) fn places(self, (rows, columns): (i64, i64)) -> usize {
        match self {
            Self::Image => Axis::Pixels(rows, columns).size(),
            Self::Row => Axis::Column(columns).size(),
            Self::Column => Axis::Row(rows).size(),
            Self::Block(pixels) => pixels,
        }
    }

    /// Which line a pixel is on, and at which place.
    pub(super) fn place(self, pixel: usize, columns: usize) -> (usize, usize) {
        match self {
            Self::Image => (0, pixel),
            Self::Row => (pixel / columns, pixel % columns),
            Self::Column => (pixel % columns, pixel / columns),
            Self::Block(pixels) => (pixel / pixels, pixel % pixels),
        }
    }
}
