//! How images appear, pixel by pixel, as an animation.
//!
//! A frame holds only the pixels that are new in it, so it needs colours for those alone. Grey images are shown
//! exactly; a frame of colour images with more new colours than a GIF frame can have gets the nearest ones.

use std::{borrow::Cow, ops::Range};

use gif::{DisposalMethod, Encoder, Frame, Repeat};

use crate::domain::image::{Image, ImageShape};

use super::{
    MediaError, convert,
    render::{GAP, Grid, stretch},
};

mod palette;

use self::palette::Palette;

/// Frames in which pixels appear. More would be no smoother and make a larger file.
const MAX_STEPS: usize = 59;

/// Time of a frame in hundredths of a second.
const FRAME_TIME: u16 = 5;

/// Time for which all images stay before they appear anew, in hundredths of a second.
const LAST_FRAME_TIME: u16 = 300;

/// Pixels of the picture: dozens of such frames are still encoded in seconds.
const MAX_PIXELS: usize = 4 << 20;

/// The order in which pixels of an image appear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appearance {
    /// Along wavefronts: a row runs behind the row above by `lag` columns, so pixel (i, j) appears at step j + lag · i.
    Wavefront {
        /// Columns.
        lag: usize,
    },
    /// Row by row.
    Rows,
    /// All at once.
    AtOnce,
}

impl Appearance {
    /// The step at which a pixel, counted in row order, appears.
    fn step(self, pixel: usize, width: usize) -> usize {
        let (row, column) = (pixel / width, pixel % width);
        match self {
            Self::Wavefront { lag } => column + lag * row,
            Self::Rows => row,
            Self::AtOnce => 0,
        }
    }
}

/// How images of one shape appear, as one GIF file: in a grid like that of [`super::png_grid`], about 60 frames of 50
/// ms, the last of which stays for three seconds. `known` has a flag for every pixel in row order, or is empty; what is
/// known is there from the start. Missing pixels are black until they appear, and transparent ones are shown on black.
///
/// # Errors
/// If the pictures would be too large.
pub fn animation(
    images: &[Image],
    shape: ImageShape,
    known: &[bool],
    appearance: Appearance,
) -> Result<Vec<u8>, MediaError> {
    let film = Film::new(images, shape)?;
    let steps: Vec<Option<usize>> = (0..shape.pixels())
        .map(|pixel| {
            let is_known = known.get(pixel).copied().unwrap_or(false);
            (!is_known).then(|| appearance.step(pixel, shape.width()))
        })
        .collect();
    let unknown = || steps.iter().flatten().copied();
    let first = unknown().min().unwrap_or_default();
    let count = unknown().max().map_or(0, |last| last + 1 - first);
    let frames = count.min(MAX_STEPS);

    let mut file = Vec::new();
    let (width, height) = film.size()?;
    let mut encoder = Encoder::new(&mut file, width, height, &[]).map_err(failed)?;
    encoder.set_repeat(Repeat::Infinite).map_err(failed)?;
    let mut write = |frame: Frame<'_>| encoder.write_frame(&frame).map_err(failed);
    let time = |frame: usize| {
        if frame == frames { LAST_FRAME_TIME } else { FRAME_TIME }
    };
    write(film.background(|pixel| steps[pixel].is_none(), time(0)))?;
    for frame in 1..=frames {
        let now: Range<usize> = first + count * (frame - 1) / frames..first + count * frame / frames;
        let is_new = |pixel: usize| steps[pixel].is_some_and(|step| now.contains(&step));
        write(film.change(is_new, time(frame)))?;
    }
    drop(encoder);
    Ok(file)
}

fn failed(error: gif::EncodingError) -> MediaError {
    MediaError::Encode(error.to_string())
}

type Colour = [u8; 3];

const BLACK: Colour = [0; 3];

/// The images in the colours in which they are shown.
struct Film {
    grid: Grid,
    width: usize,
    /// For each image its pixels in row order.
    images: Vec<Vec<Colour>>,
}

impl Film {
    fn new(images: &[Image], shape: ImageShape) -> Result<Self, MediaError> {
        let (height, width) = (shape.height(), shape.width());
        let grid = Grid::new(images.len(), height, width, MAX_PIXELS)?;
        let images = images.iter().map(|image| {
            let mut bytes = convert::to_interleaved(image.levels(), shape.channels());
            stretch(&mut bytes, shape.levels());
            bytes.chunks_exact(shape.channels()).map(colour).collect()
        });
        Ok(Self {
            grid,
            width,
            images: images.collect(),
        })
    }

    fn size(&self) -> Result<(u16, u16), MediaError> {
        let side = |length: usize| {
            u16::try_from(length).map_err(|_| {
                MediaError::Encode(format!(
                    "a side of {length} pixels; at most {} fit into an animation",
                    u16::MAX
                ))
            })
        };
        Ok((side(self.grid.width)?, side(self.grid.height)?))
    }

    /// The first frame: gaps, and of every image the pixels that `is_known` tells.
    fn background(&self, is_known: impl Fn(usize) -> bool, time: u16) -> Frame<'static> {
        let palette = Palette::new(
            self.pixels(&is_known)
                .map(|(.., colour)| colour)
                .chain([BLACK, [GAP; 3]]),
            256,
        );
        let mut indices = vec![palette.index([GAP; 3]); self.grid.width * self.grid.height];
        let black = palette.index(BLACK);
        for image in 0..self.images.len() {
            for pixel in 0..self.images[image].len() {
                self.paint(&mut indices, image, pixel, black);
            }
        }
        for (image, pixel, colour) in self.pixels(&is_known) {
            self.paint(&mut indices, image, pixel, palette.index(colour));
        }
        self.frame(indices, palette, None, time)
    }

    /// A frame with those pixels of every image that `is_new` tells. Black ones are there already.
    fn change(&self, is_new: impl Fn(usize) -> bool, time: u16) -> Frame<'static> {
        let visible = || self.pixels(&is_new).filter(|&(.., colour)| colour != BLACK);
        let mut palette = Palette::new(visible().map(|(.., colour)| colour), 255);
        let transparent = palette.reserve();
        let mut indices = vec![transparent; self.grid.width * self.grid.height];
        for (image, pixel, colour) in visible() {
            self.paint(&mut indices, image, pixel, palette.index(colour));
        }
        self.frame(indices, palette, Some(transparent), time)
    }

    /// Some pixels of every image: its number, theirs, and the colour.
    fn pixels(&self, is_wanted: impl Fn(usize) -> bool) -> impl Iterator<Item = (usize, usize, Colour)> {
        self.images.iter().enumerate().flat_map(move |(image, pixels)| {
            let wanted: Vec<usize> = (0..pixels.len()).filter(|&pixel| is_wanted(pixel)).collect();
            wanted.into_iter().map(move |pixel| (image, pixel, pixels[pixel]))
        })
    }

    /// Sets one magnified pixel.
    fn paint(&self, indices: &mut [u8], image: usize, pixel: usize, index: u8) {
        let (left, top) = self.grid.corner(image);
        let scale = self.grid.scale;
        let left = left + pixel % self.width * scale;
        let top = top + pixel / self.width * scale;
        for row in top..top + scale {
            let start = row * self.grid.width + left;
            indices[start..start + scale].fill(index);
        }
    }

    fn frame(&self, indices: Vec<u8>, palette: Palette, transparent: Option<u8>, time: u16) -> Frame<'static> {
        Frame {
            delay: time,
            dispose: DisposalMethod::Keep,
            transparent,
            // `size` has held both against the format's limit.
            width: self.grid.width as u16,
            height: self.grid.height as u16,
            palette: Some(palette.into_bytes()),
            buffer: Cow::Owned(indices),
            ..Frame::default()
        }
    }
}

/// A pixel of 1 to 4 channels as red, green and blue, on black as far as it is transparent.
fn colour(pixel: &[u8]) -> Colour {
    let on_black = |value: u8, opacity: u8| (u16::from(value) * u16::from(opacity) / 255) as u8;
    match *pixel {
        [grey] => [grey; 3],
        [grey, opacity] => [on_black(grey, opacity); 3],
        [red, green, blue] => [red, green, blue],
        [red, green, blue, opacity] => [red, green, blue].map(|value| on_black(value, opacity)),
        _ => BLACK,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{AnimationDecoder, RgbaImage, codecs::gif::GifDecoder};

    use super::*;
    use crate::media::png_grid;

    fn images(count: usize, shape: ImageShape) -> Vec<Image> {
        let image = |number: usize| {
            let level = |i: usize| ((i * 7 + number * 13 + i * i / 3) % shape.levels()) as u8;
            Image::new(shape, (0..shape.dimensions()).map(level).collect::<Vec<_>>()).unwrap()
        };
        (0..count).map(image).collect()
    }

    fn frames(file: &[u8]) -> Vec<(RgbaImage, u32)> {
        let frames = GifDecoder::new(Cursor::new(file)).unwrap().into_frames();
        frames
            .collect_frames()
            .unwrap()
            .into_iter()
            .map(|frame| {
                let (milliseconds, _) = frame.delay().numer_denom_ms();
                (frame.into_buffer(), milliseconds)
            })
            .collect()
    }

    fn grid(images: &[Image], shape: ImageShape) -> RgbaImage {
        image::load_from_memory(&png_grid(images, shape).unwrap())
            .unwrap()
            .to_rgba8()
    }

    #[test]
    fn the_last_frame_is_the_grid_of_the_images_and_stays() {
        for (channels, levels, side) in [(1, 256, 28), (1, 2, 28), (1, 256, 5), (3, 256, 7), (3, 8, 20)] {
            let shape = ImageShape::new(channels, side, side, levels).unwrap();
            let images = images(5, shape);
            for appearance in [Appearance::Wavefront { lag: 4 }, Appearance::Rows, Appearance::AtOnce] {
                let frames = frames(&animation(&images, shape, &[], appearance).unwrap());
                let (last, time) = frames.last().unwrap();
                assert!(*last == grid(&images, shape), "{shape} {appearance:?}");
                assert_eq!(*time, 3000);
                assert!(frames.len() <= 60, "{}", frames.len());
                assert_eq!(frames[0].1, 50);
                match appearance {
                    Appearance::AtOnce => assert_eq!(frames.len(), 2),
                    Appearance::Rows => assert_eq!(frames.len(), side + 1),
                    Appearance::Wavefront { .. } => assert!(frames.len() > side),
                }
            }
        }
    }

    #[test]
    fn pixels_appear_in_the_order_in_which_they_are_drawn() {
        let shape = ImageShape::new(1, 3, 4, 256).unwrap();
        let image = Image::new(shape, vec![200; 12]).unwrap();
        let appearance = Appearance::Wavefront { lag: 2 };
        let frames = frames(&animation(&[image], shape, &[], appearance).unwrap());
        assert_eq!(frames.len(), 9, "the empty one, and 4 + 2 · 2 steps");
        for (number, (frame, _)) in frames.iter().enumerate() {
            let scale = frame.width() / 4;
            for row in 0..3 {
                for column in 0..4 {
                    let shown = frame.get_pixel(column * scale, row * scale).0[0];
                    let step = (column + 2 * row) as usize;
                    assert_eq!(shown == 200, step < number, "{row} {column} {number}");
                }
            }
        }
    }

    #[test]
    fn known_pixels_are_there_from_the_start_and_nothing_else_is() {
        let shape = ImageShape::new(1, 4, 2, 256).unwrap();
        let image = Image::new(shape, vec![90; 8]).unwrap();
        let known: Vec<bool> = (0..8).map(|pixel| pixel < 4).collect();
        let file = animation(std::slice::from_ref(&image), shape, &known, Appearance::Rows).unwrap();
        let appearing = frames(&file);
        assert_eq!(appearing.len(), 3, "no frame waits for what is known");
        let first = &appearing[0].0;
        let scale = first.width() / 2;
        assert_eq!(first.get_pixel(0, scale).0[0], 90);
        assert_eq!(first.get_pixel(0, 2 * scale).0[0], 0);
        let all = animation(&[image], shape, &[true; 8], Appearance::Rows).unwrap();
        assert_eq!(frames(&all).len(), 1);
    }

    #[test]
    fn more_colours_than_a_frame_has_become_near_ones() {
        let shape = ImageShape::new(3, 32, 32, 256).unwrap();
        let images = images(4, shape);
        let frames = frames(&animation(&images, shape, &[], Appearance::AtOnce).unwrap());
        let (last, _) = frames.last().unwrap();
        let wanted = grid(&images, shape);
        let total: u64 = last
            .as_raw()
            .iter()
            .zip(wanted.as_raw())
            .map(|(&a, &b)| u64::from(a.abs_diff(b)))
            .sum();
        let mean = total as f64 / wanted.as_raw().len() as f64;
        assert!(mean < 6.0, "{mean}");
    }

    #[test]
    fn enormous_pictures_are_refused_and_empty_ones_are_not() {
        let shape = ImageShape::new(1, 2048, 2048, 256).unwrap();
        let images = images(2, shape);
        let refused = animation(&images, shape, &[], Appearance::Rows).unwrap_err();
        assert!(refused.is_too_large());
        let file = animation(&[], shape, &[], Appearance::Rows).unwrap();
        assert!(!frames(&file).is_empty());
    }
}
