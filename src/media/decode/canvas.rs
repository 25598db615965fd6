//! Where decoded pixels go: brought to the model's channels, then either to their place or into a resized image.
//!
//! Pixels come in runs and are not kept, so an image costs what the model's image costs, however large the file is.

use image::ColorType;

use crate::{
    domain::image::{Image, ImageShape},
    media::{DecodeOptions, MediaError, convert, resize::Resizer},
};

use super::{header::Header, watch::Watch};

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
    shape: ImageShape,
    header: Header,
    convert: bool,
    pixels: Pixels,
}

enum Pixels {
    /// Of the model's size.
    Placed(Vec<u8>),
    Resized(Box<Resizer>),
}

impl Canvas {
    /// A canvas for one frame of a file whose header was found acceptable.
    pub(super) fn new(header: Header, shape: ImageShape, options: DecodeOptions) -> Self {
        let source = (header.width as usize, header.height as usize);
        // Everything is done on the image as it is stored; only the model's image is turned.
        let target = header.applied.turn((shape.width(), shape.height()));
        let pixels = if header.fits(shape, options) {
            Pixels::Placed(vec![0; shape.dimensions()])
        } else {
            let resize = options.resize.unwrap_or_default();
            let window = header.window(resize, shape);
            let resizer = Resizer::new(resize.filter, source, window, target, shape.channels());
            Pixels::Resized(Box::new(resizer))
        };
        Self {
            shape,
            header,
            convert: options.convert,
            pixels,
        }
    }

    /// Whether pixels must come row by row from the top, and from left to right.
    pub(super) fn wants_order(&self) -> bool {
        matches!(self.pixels, Pixels::Resized(_))
    }

    /// Takes pixels of the file, as long as the image is wanted.
    pub(super) fn draw(&mut self, colour: ColorType, run: Run<'_>, watch: &Watch<'_>) -> Result<(), MediaError> {
        let channels = self.shape.channels();
        let size = usize::from(colour.bytes_per_pixel());
        for (number, bytes) in run.bytes.chunks(RUN * size).enumerate() {
            watch.after((bytes.len() / size) as u64)?;
            let values = convert::to_channels(bytes, colour, channels, self.convert)?;
            let x = run.x + number * RUN * run.step;
            match &mut self.pixels {
                Pixels::Resized(resizer) => resizer.add(x, run.y, &values),
                Pixels::Placed(pixels) => {
                    let row = run.y * self.header.width as usize;
                    for (number, values) in values.chunks_exact(channels).enumerate() {
                        let at = (row + x + number * run.step) * channels;
                        pixels[at..at + channels].copy_from_slice(values);
                    }
                }
            }
        }
        Ok(())
    }

    /// The model's image.
    pub(super) fn finish(self) -> Image {
        let (shape, turn) = (self.shape, self.header.applied);
        let values = match self.pixels {
            Pixels::Placed(pixels) => pixels,
            Pixels::Resized(resizer) => resizer.finish(),
        };
        let (width, _) = turn.turn((shape.width(), shape.height()));
        let values = turn.apply(values, width, shape.channels());
        convert::to_image(values, shape)
    }
}
