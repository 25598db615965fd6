//! Image files to images, with every difference from what the model was trained on named instead of repaired.

use std::io::Cursor;

use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::domain::image::{Image, ImageShape};

use super::{MediaError, convert, jpeg};

/// The formats that can be read, for messages and documents.
pub const FORMATS: &str = "PNG, JPEG, WebP, GIF, BMP, PNM";

/// What may be done to an image that does not fit. Everything is off by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecodeOptions {
    /// Resize to the model's size with a triangle filter (bilinear, widened when it shrinks, as in Pillow). The aspect
    /// ratio is not kept.
    pub resize: bool,
    /// Convert between grey and colour (luma of ITU-R BT.601, as in Pillow), blend transparent pixels over black, and
    /// reduce 16 bits to 8.
    pub convert: bool,
}

/// What decoding one image may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Pixels in the file, checked from its header before they are decoded.
    pub max_pixels: u64,
}

impl Default for DecodeLimits {
    /// 16 Mi pixels.
    fn default() -> Self {
        Self {
            max_pixels: 16 << 20,
        }
    }
}

/// Reads an image file whose format is told from its content. Of an animation (GIF, WebP, PNG) only the first frame counts.
/// Pixels are taken as they are stored: colour profiles, gamma and the orientation tag of a camera are ignored.
///
/// A model with 256 levels takes 8-bit values as they are; with L levels a value v becomes ⌊v·L/256⌋.
pub fn decode(
    bytes: &[u8],
    shape: ImageShape,
    options: DecodeOptions,
    limits: DecodeLimits,
) -> Result<Image, MediaError> {
    let (format, decoder) = open(bytes, limits)?;
    let (width, height) = decoder.dimensions();
    let fits = (width as usize, height as usize) == (shape.width(), shape.height());
    if !fits && !options.resize {
        return Err(MediaError::Size {
            width,
            height,
            shape,
        });
    }
    if !options.convert {
        check_values(decoder.color_type(), shape)?;
    }
    let picture = pixels(bytes, format, decoder)?;
    let picture = convert::to_channels(picture, shape.channels(), options.convert)?;
    let picture = if fits {
        picture
    } else {
        picture.resize(shape.width() as u32, shape.height() as u32)
    };
    Ok(picture.into_image(shape))
}

/// Columns and rows of an image file, from its header alone.
pub fn file_dimensions(bytes: &[u8]) -> Result<(u32, u32), MediaError> {
    let limits = DecodeLimits {
        max_pixels: u64::MAX,
    };
    Ok(open(bytes, limits)?.1.dimensions())
}

/// Reads the header and checks the size that it claims.
pub(super) fn open(
    bytes: &[u8],
    limits: DecodeLimits,
) -> Result<(ImageFormat, impl ImageDecoder + '_), MediaError> {
    let format = image::guess_format(bytes)
        .ok()
        .filter(|format| format.reading_enabled())
        .ok_or(MediaError::UnknownFormat)?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut allocation = Limits::default();
    // 8 bytes a pixel is the most that a 16-bit file needs; as much again for what decoders keep beside it.
    allocation.max_alloc = Some(limits.max_pixels.saturating_mul(16).saturating_add(1 << 20));
    reader.limits(allocation);
    let decoder = reader
        .into_decoder()
        .map_err(|error| corrupt(format, &error))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(MediaError::TooManyPixels {
            width,
            height,
            limit: limits.max_pixels,
        });
    }
    Ok((format, decoder))
}

/// Decodes the pixels behind a header that was found acceptable.
pub(super) fn pixels(
    bytes: &[u8],
    format: ImageFormat,
    decoder: impl ImageDecoder,
) -> Result<DynamicImage, MediaError> {
    if format == ImageFormat::Jpeg && !jpeg::is_complete(bytes) {
        return Err(MediaError::Corrupt {
            format: name(format),
            reason: "it ends before its last scan does".to_owned(),
        });
    }
    DynamicImage::from_decoder(decoder).map_err(|error| corrupt(format, &error))
}

/// Refuses what only a conversion could make fit, as far as the header tells.
fn check_values(color: ColorType, shape: ImageShape) -> Result<(), MediaError> {
    let bits = u32::from(color.bytes_per_pixel()) * 8 / u32::from(color.channel_count());
    if bits != 8 {
        return Err(MediaError::Depth {
            bits,
            levels: shape.levels(),
        });
    }
    // Alpha does not count against a model without a channel for it: whether it says anything is seen in the pixels.
    let fits = match shape.channels() {
        1 => !color.has_color(),
        3 => color.has_color(),
        channels => usize::from(color.channel_count()) == channels,
    };
    if fits {
        return Ok(());
    }
    Err(MediaError::Channels {
        found: convert::describe(color.channel_count().into()),
        wanted: convert::describe(shape.channels()),
    })
}

fn corrupt(format: ImageFormat, error: &image::ImageError) -> MediaError {
    MediaError::Corrupt {
        format: name(format),
        reason: error.to_string(),
    }
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Pnm => "PNM",
        _ => "image",
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, ImageBuffer, Luma, Rgb, RgbImage, Rgba, RgbaImage};

    use super::*;

    const FORMATS_WRITTEN: [ImageFormat; 6] = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Pnm,
    ];
    const RESIZE: DecodeOptions = DecodeOptions {
        resize: true,
        convert: false,
    };
    const CONVERT: DecodeOptions = DecodeOptions {
        resize: false,
        convert: true,
    };

    fn file(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn grey() -> GrayImage {
        GrayImage::from_fn(5, 4, |x, y| Luma([(x * 50 + y) as u8]))
    }

    fn grey_shape() -> ImageShape {
        ImageShape::new(1, 4, 5, 256).unwrap()
    }

    fn rgb_shape() -> ImageShape {
        ImageShape::new(3, 4, 5, 256).unwrap()
    }

    fn read(bytes: &[u8], shape: ImageShape, options: DecodeOptions) -> Result<Image, MediaError> {
        decode(bytes, shape, options, DecodeLimits::default())
    }

    /// The message of a refusal must name each of `parts`.
    fn refused(bytes: &[u8], shape: ImageShape, options: DecodeOptions, parts: &[&str]) {
        let message = read(bytes, shape, options).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }

    #[test]
    fn grey_levels_arrive_as_they_are() {
        let image = read(
            &file(grey(), ImageFormat::Png),
            grey_shape(),
            DecodeOptions::default(),
        );
        assert_eq!(image.unwrap().levels(), grey().as_raw().as_slice());
    }

    #[test]
    fn colour_arrives_in_planes() {
        let rgb = RgbImage::from_fn(5, 4, |x, y| Rgb([x as u8, y as u8, 9]));
        for format in [
            ImageFormat::Png,
            ImageFormat::Bmp,
            ImageFormat::Pnm,
            ImageFormat::WebP,
        ] {
            let image = read(
                &file(rgb.clone(), format),
                rgb_shape(),
                DecodeOptions::default(),
            )
            .unwrap();
            assert_eq!(&image.levels()[..6], [0, 1, 2, 3, 4, 0], "{format:?}");
            assert_eq!(&image.levels()[20..26], [0, 0, 0, 0, 0, 1]);
            assert!(image.levels()[40..].iter().all(|&level| level == 9));
        }
    }

    #[test]
    fn every_format_is_read_and_refused_when_cut_short() {
        let rgb = RgbImage::from_fn(5, 4, |x, y| Rgb([(x * 50) as u8, (y * 60) as u8, 9]));
        for format in FORMATS_WRITTEN {
            let bytes = file(rgb.clone(), format);
            read(&bytes, rgb_shape(), DecodeOptions::default())
                .unwrap_or_else(|error| panic!("{format:?}: {error}"));
            for keep in [bytes.len() / 2, bytes.len() - bytes.len() / 8 - 2, 20] {
                let result = read(&bytes[..keep.min(bytes.len() - 1)], rgb_shape(), CONVERT);
                assert!(
                    matches!(result, Err(MediaError::Corrupt { .. })),
                    "{format:?} cut to {keep}: {result:?}"
                );
            }
        }
    }

    #[test]
    fn bytes_that_are_no_image_are_refused() {
        for bytes in [&b""[..], b"hello, this is no image", b"\x93NUMPY\x01\x00"] {
            refused(bytes, grey_shape(), CONVERT, &["PNG, JPEG, WebP"]);
        }
        // Formats that can be told but are not read.
        refused(b"II*\x00\x08\x00\x00\x00", grey_shape(), CONVERT, &["PNG"]);
    }

    #[test]
    fn a_wrong_size_names_both_sizes_and_the_way_out() {
        let shape = ImageShape::new(1, 8, 10, 256).unwrap();
        let bytes = file(grey(), ImageFormat::Png);
        refused(&bytes, shape, CONVERT, &["5×4", "10×8", "resize=true"]);
        let image = read(&bytes, shape, RESIZE).unwrap();
        assert_eq!(image.shape(), shape);
        assert!(image.levels().windows(2).take(9).all(|w| w[0] <= w[1]));
    }

    #[test]
    fn colour_for_a_grey_model_needs_convert_even_if_every_pixel_is_grey() {
        let rgb = RgbImage::from_pixel(5, 4, Rgb([7, 7, 7]));
        let bytes = file(rgb, ImageFormat::Png);
        refused(
            &bytes,
            grey_shape(),
            RESIZE,
            &["3 channels (RGB)", "1 channel (grey)", "convert=true"],
        );
        let image = read(&bytes, grey_shape(), CONVERT).unwrap();
        assert!(image.levels().iter().all(|&level| level == 7));
        let red = file(
            RgbImage::from_pixel(5, 4, Rgb([255, 0, 0])),
            ImageFormat::Png,
        );
        assert_eq!(read(&red, grey_shape(), CONVERT).unwrap().levels()[0], 76);
    }

    #[test]
    fn grey_for_a_colour_model_needs_convert() {
        let bytes = file(grey(), ImageFormat::Png);
        refused(
            &bytes,
            rgb_shape(),
            RESIZE,
            &["1 channel (grey)", "convert=true"],
        );
        let image = read(&bytes, rgb_shape(), CONVERT).unwrap();
        assert_eq!(image.levels()[..20], image.levels()[40..]);
    }

    #[test]
    fn only_transparency_that_says_something_is_refused() {
        let opaque = RgbaImage::from_pixel(5, 4, Rgba([10, 20, 30, 255]));
        let image = read(
            &file(opaque.clone(), ImageFormat::Png),
            rgb_shape(),
            DecodeOptions::default(),
        )
        .unwrap();
        assert_eq!(image.levels()[20], 20);
        let mut clear = opaque;
        clear.put_pixel(2, 1, Rgba([255, 255, 255, 0]));
        let bytes = file(clear, ImageFormat::Png);
        refused(
            &bytes,
            rgb_shape(),
            RESIZE,
            &["transparent", "convert=true"],
        );
        let image = read(&bytes, rgb_shape(), CONVERT).unwrap();
        assert_eq!(image.levels()[7], 0);
        assert_eq!(image.levels()[8], 10);
    }

    #[test]
    fn sixteen_bits_are_not_reduced_silently() {
        let deep = ImageBuffer::<Luma<u16>, _>::from_pixel(5, 4, Luma([0x8080]));
        let bytes = file(deep, ImageFormat::Png);
        refused(&bytes, grey_shape(), RESIZE, &["16 bits", "convert=true"]);
        let image = read(&bytes, grey_shape(), CONVERT).unwrap();
        assert!(image.levels().iter().all(|&level| level == 0x80));
    }

    #[test]
    fn fewer_levels_divide_the_bytes_evenly() {
        let shape = ImageShape::new(1, 1, 4, 4).unwrap();
        let row = GrayImage::from_raw(4, 1, vec![0, 63, 64, 255]).unwrap();
        let image = read(
            &file(row, ImageFormat::Png),
            shape,
            DecodeOptions::default(),
        );
        assert_eq!(image.unwrap().levels(), [0, 0, 1, 3]);
    }

    #[test]
    fn a_bomb_is_refused_from_its_header() {
        // The signature and a header that claims 60,000 × 60,000 pixels, in its checksum too; then a start of data.
        let mut bomb = file(grey(), ImageFormat::Png);
        bomb[16..20].copy_from_slice(&60_000u32.to_be_bytes());
        bomb[20..24].copy_from_slice(&60_000u32.to_be_bytes());
        let checksum = crc32(&bomb[12..29]);
        bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
        let error = read(&bomb, grey_shape(), RESIZE).unwrap_err();
        assert!(error.is_too_large(), "{error}");
        assert!(error.to_string().contains("60000×60000"), "{error}");
        assert!(error.to_string().contains("16777216"), "{error}");
        assert_eq!(file_dimensions(&bomb), Ok((60_000, 60_000)));
        let error = decode(
            b"P5 60000 60000 255\n",
            grey_shape(),
            RESIZE,
            DecodeLimits::default(),
        )
        .unwrap_err();
        assert!(error.is_too_large(), "{error}");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(u32::MAX, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
            })
        })
    }
}
