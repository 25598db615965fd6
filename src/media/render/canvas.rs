//! A grid of equal cells, magnified by a whole factor.

use crate::media::MediaError;

use super::{MAX_SIDE, READABLE_SIDE};

/// Pixels in one picture: beyond this it would only be a way to fill memory.
const MAX_PIXELS: usize = 64 << 20;

/// A picture under construction.
pub(super) struct Canvas {
    channels: usize,
    cell_height: usize,
    cell_width: usize,
    columns: usize,
    scale: usize,
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

impl Canvas {
    /// A canvas for `cells` cells in about as many columns as rows. The gap between them is one magnified pixel wide and
    /// of middle grey, which differs from black and from white margins of images.
    pub(super) fn new(
        cells: usize,
        channels: usize,
        cell_height: usize,
        cell_width: usize,
    ) -> Result<Self, MediaError> {
        let columns = (1..).find(|c| c * c >= cells).unwrap_or(1);
        let rows = cells.div_ceil(columns);
        let across = (columns * (cell_width + 1)).saturating_sub(1);
        let down = (rows * (cell_height + 1)).saturating_sub(1);
        let readable = READABLE_SIDE / cell_height.max(cell_width);
        let scale = readable.min(MAX_SIDE / across.max(down).max(1)).max(1);
        // No cells still make a picture, of one pixel: a file format knows no empty one.
        let (width, height) = ((across * scale).max(1), (down * scale).max(1));
        if width.saturating_mul(height) > MAX_PIXELS {
            return Err(MediaError::Encode(format!(
                "{cells} images would make {width}×{height} pixels; at most {MAX_PIXELS} fit into one picture"
            )));
        }
        Ok(Self {
            channels,
            cell_height,
            cell_width,
            columns,
            scale,
            width,
            height,
            bytes: vec![128; width * height * channels],
        })
    }

    /// Fills a cell with interleaved pixels.
    pub(super) fn draw(&mut self, cell: usize, pixels: &[u8]) {
        let left = cell % self.columns * (self.cell_width + 1) * self.scale;
        let top = cell / self.columns * (self.cell_height + 1) * self.scale;
        let line = self.width * self.channels;
        for (row, pixels) in pixels
            .chunks_exact(self.cell_width * self.channels)
            .enumerate()
        {
            let first = (top + row * self.scale) * line + left * self.channels;
            let mut at = first;
            for pixel in pixels.chunks_exact(self.channels) {
                for _ in 0..self.scale {
                    self.bytes[at..at + self.channels].copy_from_slice(pixel);
                    at += self.channels;
                }
            }
            for copy in 1..self.scale {
                self.bytes.copy_within(first..at, first + copy * line);
            }
        }
    }

    /// The picture as a PNG file.
    pub(super) fn encode(self) -> Result<Vec<u8>, MediaError> {
        super::encode(&self.bytes, self.width, self.height, self.channels)
    }
}
