//! Where decoded pixels go: brought to the model's channels, then either to their place or into a resized image.
//!
//! Pixels come in runs and are not kept, so an image costs what the model's image costs, however large the file is.

use image::{ColorType, ImageFormat};

use crate::{
    domain::image::{Image, ImageShape},
    media::{MediaError, convert, resize::Resizer},
};

use super::{cancellation::Cancellation, format::corrupt, orientation::Orientation};

/// Pixels that are converted at a time.
const RUN: usize = 1 << 12;

/// Neighbouring pixels of one row of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run<'a> {
    /// Column of the first.
    pub(super) x: usize,
    /// Columns from one to the next: more than 1 in an interlaced file.
    pub(super) step: usize,
    pub(super) y: usize,
    /// Values in the byte order of the machine.
    pub(super) bytes: &'a [u8],
}

/// One image under construction.
pub(super) struct Canvas {
    /// Columns and rows of the file.
    size: (usize, usize),
    /// How the model's image is turned at the end.
    turn: Orientation,
    shape: ImageShape,
    convert: bool,
    pixels: Pixels,
}

enum Pixels {
    /// Of the model's size.
    Placed(Vec<u8>),
    Resized(Box<Resizer>),
}

impl Canvas {
    /// A canvas for pixels of a file of `size`, which go through the resizer if there is one.
    pub(super) fn new(
        size: (usize, usize),
        turn: Orientation,
        shape: ImageShape,
        convert: bool,
        resizer: Option<Resizer>,
    ) -> Self {
        let placed = || Pixels::Placed(vec![0; shape.dimensions()]);
        Self {
            size,
            turn,
            shape,
            convert,
            pixels: resizer.map_or_else(placed, |resizer| Pixels::Resized(Box::new(resizer))),
        }
    }

    /// Columns and rows of the file.
    pub(super) fn size(&self) -> (usize, usize) {
        self.size
    }

    /// Whether pixels must come row by row from the top, and from left to right.
    pub(super) fn wants_order(&self) -> bool {
        matches!(self.pixels, Pixels::Resized(_))
    }

    /// Takes pixels of the file, as long as the image is wanted.
    pub(super) fn draw(
        &mut self,
        colour: ColorType,
        run: Run<'_>,
        cancellation: &Cancellation<'_>,
    ) -> Result<(), MediaError> {
        let channels = self.shape.channels();
        let size = usize::from(colour.bytes_per_pixel());
        for (number, bytes) in run.bytes.chunks(RUN * size).enumerate() {
            cancellation.after((bytes.len() / size) as u64)?;
            let values = convert::to_channels(bytes, colour, channels, self.convert)?;
            let x = run.x + number * RUN * run.step;
            match &mut self.pixels {
                Pixels::Resized(resizer) => resizer.add(x, run.y, &values),
                Pixels::Placed(pixels) => {
                    let row = run.y * self.size.0;
                    for (number, values) in values.chunks_exact(channels).enumerate() {
                        let at = (row + x + number * run.step) * channels;
                        pixels[at..at + channels].copy_from_slice(values);
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes a whole picture, row by row.
    pub(super) fn draw_all(
        &mut self,
        pixels: &[u8],
        (format, colour): (ImageFormat, ColorType),
        cancellation: &Cancellation<'_>,
    ) -> Result<(), MediaError> {
        let (width, height) = self.size;
        let row = width * usize::from(colour.bytes_per_pixel());
        if pixels.len() != row * height {
            return Err(corrupt(format, "it has too few rows"));
        }
        for (y, bytes) in pixels.chunks_exact(row).enumerate() {
            let run = Run {
                x: 0,
                step: 1,
                y,
                bytes,
            };
            self.draw(colour, run, cancellation)?;
        }
        Ok(())
    }

    /// The model's image.
    pub(super) fn finish(self) -> Image {
        let (shape, turn) = (self.shape, self.turn);
        let values = match self.pixels {
            Pixels::Placed(pixels) => pixels,
            Pixels::Resized(resizer) => resizer.finish(),
        };
        let (width, _) = turn.turn((shape.width(), shape.height()));
        let values = turn.apply(values, width, shape.channels());
        convert::to_image(values, shape)
    }
}
