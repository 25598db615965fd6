//! A grid of equal cells, magnified by a whole factor.

use crate::media::MediaError;

use super::{MAX_SIDE, READABLE_SIDE};

/// Pixels in one picture: beyond this it would only be a way to fill memory.
const MAX_PIXELS: usize = 64 << 20;

/// Where the cells of a grid lie.
#[derive(Debug, Clone, Copy)]
pub(in crate::media) struct Grid {
    cell_height: usize,
    cell_width: usize,
    columns: usize,
    /// Pixels of the picture for a pixel of a cell, in each direction.
    pub(in crate::media) scale: usize,
    pub(in crate::media) width: usize,
    pub(in crate::media) height: usize,
}

impl Grid {
    /// A grid of `cells` cells in about as many columns as rows. The gap between them is one magnified pixel wide.
    pub(in crate::media) fn new(
        cells: usize,
        cell_height: usize,
        cell_width: usize,
        max_pixels: usize,
    ) -> Result<Self, MediaError> {
        let columns = (1..).find(|c| c * c >= cells).unwrap_or(1);
        Self::with_columns(cells, columns, cell_height, cell_width, max_pixels)
    }

    /// The same in a given number of columns, at least one.
    fn with_columns(
        cells: usize,
        columns: usize,
        cell_height: usize,
        cell_width: usize,
        max_pixels: usize,
    ) -> Result<Self, MediaError> {
        let columns = columns.max(1);
        let rows = cells.div_ceil(columns);
        let across = (columns * (cell_width + 1)).saturating_sub(1);
        let down = (rows * (cell_height + 1)).saturating_sub(1);
        let readable = READABLE_SIDE / cell_height.max(cell_width);
        let scale = readable.min(MAX_SIDE / across.max(down).max(1)).max(1);
        // No cells still make a picture, of one pixel: a file format knows no empty one.
        let (width, height) = ((across * scale).max(1), (down * scale).max(1));
        if width.saturating_mul(height) > max_pixels {
            return Err(MediaError::Encode(format!(
                "{cells} images would make {width}×{height} pixels; at most {max_pixels} fit into one picture"
            )));
        }
        Ok(Self {
            cell_height,
            cell_width,
            columns,
            scale,
            width,
            height,
        })
    }

    /// The column and the row of the picture at which a cell begins.
    pub(in crate::media) fn corner(&self, cell: usize) -> (usize, usize) {
        (
            cell % self.columns * (self.cell_width + 1) * self.scale,
            cell / self.columns * (self.cell_height + 1) * self.scale,
        )
    }
}

/// A picture under construction.
pub(super) struct Canvas {
    channels: usize,
    grid: Grid,
    bytes: Vec<u8>,
}

impl Canvas {
    /// A canvas for `cells` cells. The gap between them is of middle grey, which differs from black and from white
    /// margins of images.
    pub(super) fn new(
        cells: usize,
        channels: usize,
        cell_height: usize,
        cell_width: usize,
    ) -> Result<Self, MediaError> {
        let grid = Grid::new(cells, cell_height, cell_width, MAX_PIXELS)?;
        Ok(Self::of(grid, channels))
    }

    /// The same in a given number of columns.
    pub(super) fn with_columns(
        cells: usize,
        columns: usize,
        channels: usize,
        cell_height: usize,
        cell_width: usize,
    ) -> Result<Self, MediaError> {
        let grid = Grid::with_columns(cells, columns, cell_height, cell_width, MAX_PIXELS)?;
        Ok(Self::of(grid, channels))
    }

    fn of(grid: Grid, channels: usize) -> Self {
        Self {
            channels,
            grid,
            bytes: vec![GAP; grid.width * grid.height * channels],
        }
    }

    /// Fills a cell with interleaved pixels.
    pub(super) fn draw(&mut self, cell: usize, pixels: &[u8]) {
        let Grid {
            scale,
            width,
            cell_width,
            ..
        } = self.grid;
        let (left, top) = self.grid.corner(cell);
        let line = width * self.channels;
        for (row, pixels) in pixels.chunks_exact(cell_width * self.channels).enumerate() {
            let first = (top + row * scale) * line + left * self.channels;
            let mut at = first;
            for pixel in pixels.chunks_exact(self.channels) {
                for _ in 0..scale {
                    self.bytes[at..at + self.channels].copy_from_slice(pixel);
                    at += self.channels;
                }
            }
            for copy in 1..scale {
                self.bytes.copy_within(first..at, first + copy * line);
            }
        }
    }

    /// The picture as a PNG file.
    pub(super) fn encode(self) -> Result<Vec<u8>, MediaError> {
        super::encode(&self.bytes, self.grid.width, self.grid.height, self.channels)
    }
}

/// The level of gaps in every channel.
pub(in crate::media) const GAP: u8 = 128;
