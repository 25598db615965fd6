//! Channels and depths: from what a file holds to the planes of levels that a model takes.

use image::{DynamicImage, imageops::FilterType};

use crate::domain::image::{Image, ImageShape};

use super::MediaError;

/// 8-bit pixels with the model's channels, interleaved as files hold them.
pub(super) enum Picture {
    /// One channel.
    Grey(image::GrayImage),
    /// Grey and opacity.
    GreyAlpha(image::GrayAlphaImage),
    /// Red, green and blue.
    Colour(image::RgbImage),
    /// Red, green, blue and opacity.
    ColourAlpha(image::RgbaImage),
}

/// Brings a decoded file to `channels` channels of 8 bits. Transparency that a model has no channel for is an error unless
/// `convert` allows to blend it over black.
pub(super) fn to_channels(
    picture: DynamicImage,
    channels: usize,
    convert: bool,
) -> Result<Picture, MediaError> {
    let has_alpha_channel = channels.is_multiple_of(2);
    let picture = if picture.color().has_alpha() && !has_alpha_channel {
        drop_alpha(picture, channels, convert)?
    } else {
        picture
    };
    Ok(match channels {
        1 if !picture.color().has_color() => Picture::Grey(picture.into_luma8()),
        1 => Picture::Grey(luma(&picture.into_rgb8())),
        2 if !picture.color().has_color() => Picture::GreyAlpha(picture.into_luma_alpha8()),
        2 => {
            let rgba = picture.into_rgba8();
            let grey = luma(&DynamicImage::ImageRgba8(rgba.clone()).into_rgb8());
            Picture::GreyAlpha(image::GrayAlphaImage::from_fn(
                rgba.width(),
                rgba.height(),
                |x, y| image::LumaA([grey.get_pixel(x, y).0[0], rgba.get_pixel(x, y).0[3]]),
            ))
        }
        3 => Picture::Colour(picture.into_rgb8()),
        _ => Picture::ColourAlpha(picture.into_rgba8()),
    })
}

/// Names a number of channels.
pub(super) fn describe(channels: usize) -> &'static str {
    match channels {
        1 => "1 channel (grey)",
        2 => "2 channels (grey and alpha)",
        3 => "3 channels (RGB)",
        _ => "4 channels (RGB and alpha)",
    }
}

impl Picture {
    /// The picture at another size, by a triangle filter: it neither rings nor overshoots, and it is what Pillow calls
    /// bilinear.
    pub(super) fn resize(self, width: u32, height: u32) -> Self {
        use image::imageops::resize;
        let filter = FilterType::Triangle;
        match self {
            Self::Grey(pixels) => Self::Grey(resize(&pixels, width, height, filter)),
            Self::GreyAlpha(pixels) => Self::GreyAlpha(resize(&pixels, width, height, filter)),
            Self::Colour(pixels) => Self::Colour(resize(&pixels, width, height, filter)),
            Self::ColourAlpha(pixels) => Self::ColourAlpha(resize(&pixels, width, height, filter)),
        }
    }

    /// Planes of levels.
    ///
    /// # Panics
    /// If the size or the channels are not those of the shape, which callers have seen to.
    pub(super) fn into_image(self, shape: ImageShape) -> Image {
        let bytes = match self {
            Self::Grey(pixels) => pixels.into_raw(),
            Self::GreyAlpha(pixels) => pixels.into_raw(),
            Self::Colour(pixels) => pixels.into_raw(),
            Self::ColourAlpha(pixels) => pixels.into_raw(),
        };
        let planes = quantise(to_planes(bytes, shape.channels()), shape.levels());
        Image::new(shape, planes).expect("a picture of the model's size, channels and levels")
    }
}

/// Interleaved values to one plane a channel.
pub(super) fn to_planes(interleaved: Vec<u8>, channels: usize) -> Vec<u8> {
    if channels == 1 {
        return interleaved;
    }
    let mut planes = Vec::with_capacity(interleaved.len());
    for channel in 0..channels {
        planes.extend(interleaved.iter().skip(channel).step_by(channels));
    }
    planes
}

/// One plane a channel to interleaved values.
pub(super) fn to_interleaved(planes: &[u8], channels: usize) -> Vec<u8> {
    if channels == 1 {
        return planes.to_vec();
    }
    let pixels = planes.len() / channels;
    let mut interleaved = Vec::with_capacity(planes.len());
    for pixel in 0..pixels {
        interleaved.extend((0..channels).map(|channel| planes[channel * pixels + pixel]));
    }
    interleaved
}

/// ⌊v·L/256⌋.
fn quantise(mut values: Vec<u8>, levels: usize) -> Vec<u8> {
    if levels < 256 {
        for value in &mut values {
            *value = (usize::from(*value) * levels / 256) as u8;
        }
    }
    values
}

/// ITU-R BT.601 luma in 16-bit fixed point with rounding, digit for digit what Pillow computes: most training data was
/// made grey that way.
fn luma(rgb: &image::RgbImage) -> image::GrayImage {
    let grey = rgb
        .pixels()
        .map(|&image::Rgb([red, green, blue])| {
            let sum = u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471;
            ((sum + 0x8000) >> 16) as u8
        })
        .collect();
    image::GrayImage::from_raw(rgb.width(), rgb.height(), grey).expect("one value a pixel")
}

fn drop_alpha(
    picture: DynamicImage,
    channels: usize,
    convert: bool,
) -> Result<DynamicImage, MediaError> {
    if !picture.color().has_color() {
        let mut pixels = picture.into_luma_alpha8();
        blend(
            pixels.pixels_mut().map(|pixel| &mut pixel.0),
            channels,
            convert,
        )?;
        return Ok(DynamicImage::ImageLumaA8(pixels));
    }
    let mut pixels = picture.into_rgba8();
    blend(
        pixels.pixels_mut().map(|pixel| &mut pixel.0),
        channels,
        convert,
    )?;
    Ok(DynamicImage::ImageRgba8(pixels))
}

/// Scales each pixel by its opacity, the last of its values.
fn blend<'a, const N: usize>(
    pixels: impl Iterator<Item = &'a mut [u8; N]>,
    channels: usize,
    convert: bool,
) -> Result<(), MediaError> {
    for pixel in pixels {
        let alpha = u16::from(pixel[N - 1]);
        if alpha == 255 {
            continue;
        }
        if !convert {
            return Err(MediaError::Transparent {
                wanted: describe(channels),
            });
        }
        for value in &mut pixel[..N - 1] {
            *value = ((u16::from(*value) * alpha + 127) / 255) as u8;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_and_interleaved_values_are_inverse() {
        let interleaved: Vec<u8> = (0..24).collect();
        for channels in 1..=4 {
            let planes = to_planes(interleaved.clone(), channels);
            assert_eq!(to_interleaved(&planes, channels), interleaved);
        }
        assert_eq!(to_planes(vec![1, 2, 3, 4, 5, 6], 3), [1, 4, 2, 5, 3, 6]);
    }
}
