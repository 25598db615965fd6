//! Which way up an image is, as the tag of a camera says.

use image::metadata;

use crate::media::resize::Window;

/// The eight values of the orientation tag of EXIF: 1 is as stored, 2 to 8 are turned, mirrored, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orientation(u8);

impl Default for Orientation {
    fn default() -> Self {
        Self(1)
    }
}

impl Orientation {
    /// The tag of an EXIF block, with or without the word that it begins with in JPEG files. Without a tag, or with one
    /// that is no orientation, an image is as stored.
    pub(super) fn of_exif(block: &[u8]) -> Self {
        let block = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
        metadata::Orientation::from_exif_chunk(block).map_or_else(Self::default, |tag| Self(tag.to_exif()))
    }

    /// The number in the tag, 1 to 8.
    pub fn exif(self) -> u8 {
        self.0
    }

    /// Whether the image is to be seen as it is stored.
    pub fn is_as_stored(self) -> bool {
        self.0 == 1
    }

    /// Columns and rows as seen of an image that is stored with these; or the reverse.
    pub(super) fn turn<T>(self, (width, height): (T, T)) -> (T, T) {
        if self.0 < 5 { (width, height) } else { (height, width) }
    }

    /// Where the pixel that is seen at (x, y) is stored in an image of `width` × `height` stored pixels.
    fn stored(self, x: usize, y: usize, width: usize, height: usize) -> (usize, usize) {
        match self.0 {
            1 => (x, y),
            2 => (width - 1 - x, y),
            3 => (width - 1 - x, height - 1 - y),
            4 => (x, height - 1 - y),
            5 => (y, x),
            6 => (y, height - 1 - x),
            7 => (width - 1 - y, height - 1 - x),
            _ => (width - 1 - y, x),
        }
    }

    /// Where a part of `size` columns and rows of the image as seen lies in the image as stored.
    pub(super) fn window(self, seen: Window, size: (usize, usize)) -> Window {
        let whole = self.turn(seen.whole);
        let corner = |x: usize, y: usize| self.stored(x, y, whole.0, whole.1);
        let (one, other) = (
            corner(seen.first.0, seen.first.1),
            corner(seen.first.0 + size.0 - 1, seen.first.1 + size.1 - 1),
        );
        Window {
            whole,
            first: (one.0.min(other.0), one.1.min(other.1)),
            // What is across in the image as seen is down in the file.
            down_first: seen.down_first != (self.0 >= 5),
            mirrored: (matches!(self.0, 2 | 3 | 7 | 8), matches!(self.0, 3 | 4 | 6 | 7)),
        }
    }

    /// The pixels as seen, of `channels` values each, of an image that is stored in `width` columns.
    pub(super) fn apply(self, values: Vec<u8>, width: usize, channels: usize) -> Vec<u8> {
        if self.is_as_stored() {
            return values;
        }
        let height = values.len() / channels / width;
        let (columns, rows) = self.turn((width, height));
        let mut seen = Vec::with_capacity(values.len());
        for y in 0..rows {
            for x in 0..columns {
                let (x, y) = self.stored(x, y, width, height);
                let at = (y * width + x) * channels;
                seen.extend_from_slice(&values[at..at + channels]);
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, GrayImage};

    use super::*;

    #[test]
    fn every_tag_turns_as_the_standard_says() {
        for tag in 1..=8 {
            let pixels: Vec<u8> = (0..6).collect();
            let mut expected = DynamicImage::ImageLuma8(GrayImage::from_raw(3, 2, pixels.clone()).unwrap());
            expected.apply_orientation(metadata::Orientation::from_exif(tag).unwrap());
            assert_eq!(Orientation(tag).apply(pixels, 3, 1), expected.as_bytes(), "{tag}");
            assert_eq!(Orientation(tag).turn((3, 2)), (expected.width(), expected.height()));
        }
    }

    #[test]
    fn what_is_no_tag_leaves_an_image_as_stored() {
        for block in [&b""[..], b"Exif\0\0", b"II*\0\x08\0\0\0", b"II*\0\xff\xff\xff\xff"] {
            assert!(Orientation::of_exif(block).is_as_stored());
        }
    }
}
