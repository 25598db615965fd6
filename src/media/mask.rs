//! Masks: which pixels of an image are given.

use crate::domain::image::ImageShape;

use super::{DecodeLimits, DecodeOptions, MediaError, Pixels, Resize, decode};

/// Reads a mask from an image file of the model's size: light pixels (128 and above, after conversion to grey) are
/// given. One flag a pixel in row order. The mask is taken as it is stored, whatever its EXIF orientation. One of
/// another size is brought to the model's by `resize`, as its image was, or refused.
pub fn decode_mask(
    bytes: &[u8],
    shape: ImageShape,
    resize: Option<Resize>,
    limits: DecodeLimits,
) -> Result<Vec<bool>, MediaError> {
    let flags = ImageShape::new(1, shape.height(), shape.width(), 2).expect("the model's own size");
    let options = DecodeOptions {
        convert: true,
        resize,
        ..DecodeOptions::default()
    };
    let image = decode(bytes, flags, options, limits).map_err(|error| match error {
        MediaError::Size { width, height, .. } => MediaError::MaskSize { width, height, shape },
        other => other,
    })?;
    Ok(image.levels().iter().map(|&level| level == 1).collect())
}

/// Reads a mask from a nested list [[0, 1, …], …] of the model's rows and columns: 1 is given.
pub fn mask_from_pixels(pixels: Pixels, shape: ImageShape) -> Result<Vec<bool>, MediaError> {
    let flags = ImageShape::new(1, shape.height(), shape.width(), 2).expect("the model's own size");
    let image = pixels.into_image(flags)?;
    Ok(image.levels().iter().map(|&level| level == 1).collect())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, GrayImage, ImageFormat};

    use super::*;

    #[test]
    fn light_pixels_are_given_and_the_size_must_fit() {
        let mut bytes = Cursor::new(Vec::new());
        let grey = GrayImage::from_raw(3, 1, vec![0, 127, 128]).unwrap();
        DynamicImage::ImageLuma8(grey)
            .write_to(&mut bytes, ImageFormat::Png)
            .unwrap();
        let bytes = bytes.into_inner();
        let limits = DecodeLimits::default();
        let shape = ImageShape::new(3, 1, 3, 256).unwrap();
        assert_eq!(decode_mask(&bytes, shape, None, limits).unwrap(), [false, false, true]);
        let other = ImageShape::new(1, 2, 3, 256).unwrap();
        let message = decode_mask(&bytes, other, None, limits).unwrap_err().to_string();
        assert!(message.contains("3×1") && message.contains("3×2"), "{message}");
        // Twice as large in each direction.
        let larger = ImageShape::new(1, 2, 6, 256).unwrap();
        let resized = decode_mask(&bytes, larger, Some(Resize::default()), limits).unwrap();
        assert_eq!(resized[..3], [false; 3]);
        assert!(resized[5] && resized[11]);
    }

    #[test]
    fn lists_hold_zeros_and_ones() {
        let shape = ImageShape::new(1, 1, 2, 256).unwrap();
        let read = |text| mask_from_pixels(serde_json::from_str(text).unwrap(), shape);
        assert_eq!(read("[[1, 0]]").unwrap(), [true, false]);
        assert!(read("[[1, 2]]").unwrap_err().to_string().contains("2 at [0][1]"));
    }
}
