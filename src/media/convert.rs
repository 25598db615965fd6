//! Channels and depths: from what a file holds to the planes of levels that a model takes.

use std::borrow::Cow;

use image::ColorType;

use crate::domain::image::{Image, ImageShape};

use super::MediaError;

/// Brings pixels of a file, interleaved and in the byte order of the machine, to `channels` channels of 8 bits.
/// Transparency that a model has no channel for is an error unless `convert` allows to blend it over black.
///
/// Only whole numbers become levels: floats are refused before it comes to that.
pub(super) fn to_channels(
    bytes: &[u8],
    colour: ColorType,
    channels: usize,
    convert: bool,
) -> Result<Cow<'_, [u8]>, MediaError> {
    let found = usize::from(colour.channel_count());
    let values = match colour.bytes_per_pixel() / colour.channel_count() {
        1 => Cow::Borrowed(bytes),
        2 => Cow::Owned(to_8_bits(bytes)),
        _ => return Err(MediaError::Floats),
    };
    if found == channels {
        return Ok(values);
    }
    let mut pixels = Vec::with_capacity(values.len() / found * channels);
    for pixel in values.chunks_exact(found) {
        let [red, green, blue, alpha] = match *pixel {
            [grey] => [grey, grey, grey, 255],
            [grey, alpha] => [grey, grey, grey, alpha],
            [red, green, blue] => [red, green, blue, 255],
            [red, green, blue, alpha] => [red, green, blue, alpha],
            _ => unreachable!("files have 1 to 4 channels"),
        };
        let has_alpha_channel = channels.is_multiple_of(2);
        let [red, green, blue] = if alpha == 255 || has_alpha_channel {
            [red, green, blue]
        } else if convert {
            [red, green, blue].map(|value| over_black(value, alpha))
        } else {
            return Err(MediaError::Transparent {
                wanted: describe(channels),
            });
        };
        // The luma of a grey pixel is its grey, exactly.
        match channels {
            1 => pixels.push(luma(red, green, blue)),
            2 => pixels.extend([luma(red, green, blue), alpha]),
            3 => pixels.extend([red, green, blue]),
            _ => pixels.extend([red, green, blue, alpha]),
        }
    }
    Ok(Cow::Owned(pixels))
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

/// Interleaved values of 8 bits as an image of a model's levels.
///
/// # Panics
/// If there are not as many as the shape has dimensions, which callers have seen to.
pub(super) fn to_image(interleaved: Vec<u8>, shape: ImageShape) -> Image {
    let planes = quantise(to_planes(interleaved, shape.channels()), shape.levels());
    Image::new(shape, planes).expect("values of the model's size, channels and levels")
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

/// 16 bits to 8, rounded: 65535 becomes 255.
fn to_8_bits(bytes: &[u8]) -> Vec<u8> {
    let (values, _) = bytes.as_chunks::<2>();
    values
        .iter()
        .map(|&value| ((u32::from(u16::from_ne_bytes(value)) + 128) / 257) as u8)
        .collect()
}

/// ITU-R BT.601 luma in 16-bit fixed point with rounding, digit for digit what Pillow computes: most training data was
/// made grey that way.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    let sum = u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471;
    ((sum + 0x8000) >> 16) as u8
}

/// A value of a pixel that lets black through.
fn over_black(value: u8, alpha: u8) -> u8 {
    ((u16::from(value) * u16::from(alpha) + 127) / 255) as u8
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

    #[test]
    fn values_are_converted_as_whole_pictures_are() {
        use image::{DynamicImage, ImageBuffer};
        let bytes: Vec<u8> = (0..=255).cycle().step_by(7).take(12 * 64).collect();
        let deep: Vec<u16> = (0..12 * 64).map(|i| (i * 7919 % 65_536) as u16).collect();
        let deep_bytes: Vec<u8> = deep.iter().flat_map(|value| value.to_ne_bytes()).collect();
        let picture = |count: u32| -> Option<DynamicImage> {
            Some(match count {
                1 => ImageBuffer::<image::Luma<u16>, _>::from_raw(768, 1, deep.clone())?.into(),
                3 => ImageBuffer::<image::Rgb<u16>, _>::from_raw(256, 1, deep.clone())?.into(),
                _ => ImageBuffer::<image::Rgba<u16>, _>::from_raw(192, 1, deep.clone())?.into(),
            })
        };
        for (count, colour, wanted) in [
            (1, ColorType::L16, picture(1).unwrap().into_luma8().into_raw()),
            (3, ColorType::Rgb16, picture(3).unwrap().into_rgb8().into_raw()),
            (4, ColorType::Rgba16, picture(4).unwrap().into_rgba8().into_raw()),
        ] {
            assert_eq!(*to_channels(&deep_bytes, colour, count, false).unwrap(), wanted);
        }
        for grey in 0..=255 {
            assert_eq!(luma(grey, grey, grey), grey);
        }
        let rgb = to_channels(&bytes[..6], ColorType::Rgb8, 4, true).unwrap();
        assert_eq!(rgb[3], 255);
        let clear = to_channels(&[200, 0], ColorType::La8, 1, true).unwrap();
        assert_eq!(*clear, [0]);
        assert!(to_channels(&[200, 0], ColorType::La8, 1, false).is_err());
        assert!(to_channels(&[0; 12], ColorType::Rgb32F, 3, true).is_err());
    }
}
