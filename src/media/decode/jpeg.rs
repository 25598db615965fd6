//! JPEG files. The decoder gives whole pictures, and fills what is missing with grey, which a density would judge: so
//! whether a file is whole is looked at here.

use image::{ColorType, ImageFormat};
use zune_jpeg::{
    JpegDecoder,
    zune_core::{
        bytestream::{ZByteReaderTrait, ZCursor},
        colorspace::ColorSpace,
        options::DecoderOptions,
    },
};

use crate::media::MediaError;

use super::{
    cancellation::{Cancellable, Cancellation},
    format::corrupt,
};

/// Columns, rows, and what a decoded pixel is.
pub(super) fn header(bytes: &[u8]) -> Result<((u32, u32), ColorType), MediaError> {
    let decoder = open(ZCursor::new(bytes))?;
    let dimensions = decoder
        .dimensions()
        .and_then(|(width, height)| Some((width.try_into().ok()?, height.try_into().ok()?)));
    let colour = decoder.input_colorspace().map(|space| output(space).1);
    dimensions
        .zip(colour)
        .ok_or_else(|| corrupt(ImageFormat::Jpeg, "it has no size"))
}

/// The whole picture.
pub(super) fn pixels(bytes: &[u8], cancellation: &Cancellation<'_>) -> Result<Vec<u8>, MediaError> {
    if !is_complete(bytes) {
        return Err(corrupt(ImageFormat::Jpeg, "it ends before its last scan does"));
    }
    let mut decoder = open(Cancellable::new(bytes, cancellation))?;
    decoder.decode().map_err(|error| corrupt(ImageFormat::Jpeg, error))
}

fn open<R: ZByteReaderTrait>(reader: R) -> Result<JpegDecoder<R>, MediaError> {
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::MAX)
        .set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(reader, options);
    decoder
        .decode_headers()
        .map_err(|error| corrupt(ImageFormat::Jpeg, error))?;
    let (space, _) = output(decoder.input_colorspace().unwrap_or(ColorSpace::RGB));
    decoder.set_options(options.jpeg_set_out_colorspace(space));
    Ok(decoder)
}

/// What the decoder is asked for, and what that is in memory: what is not grey becomes colour.
fn output(space: ColorSpace) -> (ColorSpace, ColorType) {
    match space {
        ColorSpace::Luma => (space, ColorType::L8),
        ColorSpace::LumaA => (space, ColorType::La8),
        ColorSpace::RGBA => (space, ColorType::Rgba8),
        _ => (ColorSpace::RGB, ColorType::Rgb8),
    }
}

/// Whether the marker that ends an image follows its scans.
///
/// Segments are stepped over by their lengths, so that the end of a thumbnail inside a header is not taken for the end
/// of the image. In a scan a byte 0xFF is data when 0x00 follows, and a restart marker (0xD0 to 0xD7) does not end it.
fn is_complete(bytes: &[u8]) -> bool {
    let mut position = 2;
    while let Some(&byte) = bytes.get(position) {
        if byte != 0xFF {
            position += 1;
            continue;
        }
        match bytes.get(position + 1) {
            Some(0xD9) => return true,
            // Fill bytes: the marker may be preceded by any number of 0xFF.
            Some(0xFF) => position += 1,
            Some(0x00 | 0x01 | 0xD0..=0xD8) => position += 2,
            Some(_) => {
                let (Some(&high), Some(&low)) = (bytes.get(position + 2), bytes.get(position + 3)) else {
                    return false;
                };
                position += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::is_complete;

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_end_of_the_image() {
        // A header segment of length 6 that contains an end marker, then a scan with a stuffed byte and a restart.
        let start = [0xFF, 0xD8, 0xFF, 0xE1, 0, 6, 0xFF, 0xD9, 1, 2];
        let scan = [0xFF, 0xDA, 0, 2, 7, 0xFF, 0x00, 8, 0xFF, 0xD3, 9];
        let cut = [&start[..], &scan[..]].concat();
        assert!(!is_complete(&cut));
        assert!(is_complete(&[&cut[..], &[0xFF, 0xD9]].concat()));
        assert!(!is_complete(&[0xFF, 0xD8, 0xFF, 0xE1, 0]));
        assert!(!is_complete(&[0xFF]));
        assert!(!is_complete(&[]));
    }
}
