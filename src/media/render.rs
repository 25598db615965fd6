//! Pictures for people: images as PNG, many images as one grid, log-probabilities as a heat map.

use image::{
    ExtendedColorType, ImageEncoder,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};

use crate::domain::image::{Image, ImageShape, padded};

use super::{MediaError, convert};

mod canvas;
mod colormap;
mod evidence;
mod overlay;

use self::canvas::Canvas;
pub(super) use self::canvas::{GAP, Grid};
pub use self::{evidence::evidence_grid, overlay::overlay_grid};

/// Small images are magnified until a side has about this many pixels.
const READABLE_SIDE: usize = 112;

/// No side of a picture grows beyond this by magnification.
const MAX_SIDE: usize = 4096;

/// The image as a PNG file, one pixel a pixel, its levels stretched over 0 to 255.
pub fn png(image: &Image) -> Result<Vec<u8>, MediaError> {
    let shape = image.shape();
    let mut bytes = convert::to_interleaved(image.levels(), shape.channels());
    stretch(&mut bytes, shape.levels());
    encode(&bytes, shape.width(), shape.height(), shape.channels())
}

/// Images as one PNG file: in reading order, about as many columns as rows, magnified by a whole factor so
/// that small images can be seen, and separated by a gap. A single image comes plainly, as from [`png()`].
pub fn png_grid(images: &[Image], shape: ImageShape) -> Result<Vec<u8>, MediaError> {
    if let [image] = images {
        return png(image);
    }
    let (images, shape) = &framed(images, shape);
    let mut canvas = Canvas::new(images.len(), shape.channels(), shape.height(), shape.width())?;
    for (cell, image) in images.iter().enumerate() {
        let mut bytes = convert::to_interleaved(image.levels(), shape.channels());
        stretch(&mut bytes, shape.levels());
        canvas.draw(cell, &bytes);
    }
    canvas.encode()
}

/// Images on a common size, black to the right and below; those that have it already as they are.
fn framed(images: &[Image], shape: ImageShape) -> (Vec<Image>, ImageShape) {
    let common = ImageShape::covering(images.iter().map(Image::shape)).unwrap_or(shape);
    let frame = |image: &Image| {
        let levels = padded(image.levels(), image.shape(), common, 0);
        Image::new(common, levels).unwrap_or_else(|_| image.clone())
    };
    (images.iter().map(frame).collect(), common)
}

/// Log-probabilities in nats, in channel, row, column order, of one or more images as one PNG heat map. The channels of
/// a pixel are added up. Dark is expected, bright is surprising; the scale runs from 0 to the largest finite surprise
/// among all the images. An impossible pixel (−∞) is as bright as can be.
///
/// # Errors
/// [`MediaError::NotANumber`] where a log-probability is NaN or +∞: no colour stands for what is no number.
///
/// # Panics
/// If a map does not have the shape's dimensions.
pub fn heat_map_grid(maps: &[&[f32]], shape: ImageShape) -> Result<Vec<u8>, MediaError> {
    let surprises: Vec<Vec<f64>> = maps.iter().map(|map| surprise(map, shape)).collect();
    check_numbers(&surprises, |value| value > f64::NEG_INFINITY)?;
    let brightest = surprises
        .iter()
        .flatten()
        .copied()
        .filter(|surprise| surprise.is_finite())
        .fold(0.0, f64::max);
    let mut canvas = Canvas::new(maps.len(), 3, shape.height(), shape.width())?;
    for (cell, surprises) in surprises.iter().enumerate() {
        let bytes: Vec<u8> = surprises
            .iter()
            .flat_map(|&surprise| colour(surprise, brightest))
            .collect();
        canvas.draw(cell, &bytes);
    }
    canvas.encode()
}

/// Refuses maps that hold what is not acceptable, and NaN in any case.
fn check_numbers(maps: &[Vec<f64>], is_accepted: fn(f64) -> bool) -> Result<(), MediaError> {
    for (map, values) in maps.iter().enumerate() {
        let found = values.iter().position(|&value| value.is_nan() || !is_accepted(value));
        if let Some(place) = found {
            return Err(MediaError::NotANumber {
                map,
                place,
                value: values[place],
            });
        }
    }
    Ok(())
}

/// −log p of every pixel in nats.
fn surprise(map: &[f32], shape: ImageShape) -> Vec<f64> {
    by_pixel(map, shape).into_iter().map(|value| -value).collect()
}

/// The sum over the channels of every pixel.
fn by_pixel(map: &[f32], shape: ImageShape) -> Vec<f64> {
    assert_eq!(map.len(), shape.dimensions(), "one value a dimension");
    (0..shape.pixels())
        .map(|pixel| {
            let channels = map.iter().skip(pixel).step_by(shape.pixels());
            channels.map(|&value| f64::from(value)).sum()
        })
        .collect()
}

fn colour(surprise: f64, brightest: f64) -> [u8; 3] {
    if surprise == f64::INFINITY {
        return colormap::inferno(1.0);
    }
    // A density above 1 is impossible for discrete levels; rounding can still give a hair below zero surprise.
    colormap::inferno(if brightest > 0.0 { surprise / brightest } else { 0.0 })
}

/// Spreads levels evenly over 0 to 255.
pub(super) fn stretch(values: &mut [u8], levels: usize) {
    if levels < 256 {
        let max = levels - 1;
        for value in values {
            *value = ((usize::from(*value) * 255 + max / 2) / max) as u8;
        }
    }
}

fn encode(bytes: &[u8], width: usize, height: usize, channels: usize) -> Result<Vec<u8>, MediaError> {
    let colour = match channels {
        1 => ExtendedColorType::L8,
        2 => ExtendedColorType::La8,
        3 => ExtendedColorType::Rgb8,
        _ => ExtendedColorType::Rgba8,
    };
    let mut file = Vec::new();
    PngEncoder::new_with_quality(&mut file, CompressionType::Fast, FilterType::Adaptive)
        .write_image(bytes, width as u32, height as u32, colour)
        .map_err(|error| MediaError::Encode(error.to_string()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{DecodeLimits, DecodeOptions, decode};

    fn image(shape: ImageShape) -> Image {
        let levels: Vec<u8> = (0..shape.dimensions())
            .map(|i| (i * 7 % shape.levels()) as u8)
            .collect();
        Image::new(shape, levels).unwrap()
    }

    fn picture(bytes: &[u8]) -> image::DynamicImage {
        image::load_from_memory(bytes).unwrap()
    }

    #[test]
    fn a_written_image_is_read_back() {
        for (channels, levels) in [(1, 256), (2, 256), (3, 256), (4, 256), (1, 2), (3, 16), (1, 7)] {
            let shape = ImageShape::new(channels, 5, 4, levels).unwrap();
            let bytes = png(&image(shape)).unwrap();
            let back = decode(&bytes, shape, DecodeOptions::default(), DecodeLimits::default());
            assert_eq!(back.unwrap(), image(shape), "{channels} channels, {levels} levels");
        }
    }

    #[test]
    fn grids_are_magnified_and_a_single_image_is_not() {
        let shape = ImageShape::new(1, 28, 28, 256).unwrap();
        let one = picture(&png_grid(&[image(shape)], shape).unwrap());
        assert_eq!((one.width(), one.height()), (28, 28));
        let images = vec![image(shape); 5];
        let grid = picture(&png_grid(&images, shape).unwrap());
        // Three columns and two rows of 112 pixels, with gaps of one magnified pixel.
        assert_eq!((grid.width(), grid.height()), (3 * 112 + 2 * 4, 2 * 112 + 4));
        assert_eq!(grid.to_luma8().get_pixel(6, 2).0, [image(shape).levels()[1]]);
        let many = vec![image(shape); 256];
        let grid = picture(&png_grid(&many, shape).unwrap());
        assert!(grid.width() <= MAX_SIDE as u32);
        assert_eq!(picture(&png_grid(&[], shape).unwrap()).height(), 1);
        let enormous = ImageShape::new(1, 4096, 4096, 256).unwrap();
        let images = vec![image(enormous); 5];
        assert!(png_grid(&images, enormous).unwrap_err().is_too_large());
    }

    #[test]
    fn what_is_impossible_is_bright_and_what_is_no_number_is_refused() {
        let shape = ImageShape::new(1, 2, 2, 256).unwrap();
        let map = [0.0, -5.0, f32::NEG_INFINITY, -2.5];
        let picture = picture(&heat_map_grid(&[&map], shape).unwrap()).to_rgb8();
        let (width, height) = picture.dimensions();
        let at = |x, y| picture.get_pixel(x, y).0;
        assert_eq!(at(0, 0), colormap::inferno(0.0));
        assert_eq!(at(width - 1, 0), colormap::inferno(1.0));
        assert_eq!(at(0, height - 1), colormap::inferno(1.0));
        assert_eq!(at(width - 1, height - 1), colormap::inferno(0.5));
        for value in [0.0, f32::NEG_INFINITY, f32::MIN] {
            heat_map_grid(&[&[value; 4]], shape).unwrap();
        }
        for value in [f32::NAN, f32::INFINITY] {
            let error = heat_map_grid(&[&[0.0, 0.0, value, 0.0]], shape)
                .unwrap_err()
                .to_string();
            assert!(error.contains("at 2"), "{error}");
        }
    }

    #[test]
    fn channels_of_a_pixel_add_up() {
        let shape = ImageShape::new(3, 1, 2, 256).unwrap();
        let surprise = surprise(&[-1.0, -2.0, -3.0, -4.0, -5.0, -6.0], shape);
        assert_eq!(surprise, [9.0, 12.0]);
    }
}
