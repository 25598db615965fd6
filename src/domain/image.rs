//! Images as grids of discrete levels: the only form in which a density may look at them.

use std::{fmt, sync::Arc};

/// The size of the images that a model was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageShape {
    channels: usize,
    height: usize,
    width: usize,
    levels: usize,
}

/// Why a shape or an image cannot exist.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// A side or the number of channels is zero, or their product is absurd.
    #[error(
        "an image of {channels}×{height}×{width} (channels × height × width) is not possible: every side must be at \
         least 1, and there may be at most 4 channels and {} values in all",
        ImageShape::MAX_DIMENSIONS
    )]
    Shape {
        /// Channels asked for.
        channels: usize,
        /// Rows asked for.
        height: usize,
        /// Columns asked for.
        width: usize,
    },
    /// Levels are stored in bytes.
    #[error("{0} levels are not possible: a dimension takes between 2 and 256 levels")]
    Levels(usize),
    /// The number of values is not that of the shape.
    #[error("{actual} values given, but an image of {shape} has {expected}")]
    Length {
        /// The shape that was wanted.
        shape: ImageShape,
        /// `shape.dimensions()`.
        expected: usize,
        /// Values that came.
        actual: usize,
    },
    /// A value outside the levels.
    #[error("the value {value} at index {index} is outside the levels 0 to {max}")]
    Level {
        /// Position in channel, row, column order.
        index: usize,
        /// The offending value.
        value: u8,
        /// The largest level.
        max: usize,
    },
}

impl ImageShape {
    /// The largest number of dimensions that a model may declare (16 Mi): a guard against nonsense in a manifest.
    pub const MAX_DIMENSIONS: usize = 1 << 24;

    /// The most channels: colour and an alpha channel.
    pub const MAX_CHANNELS: usize = 4;

    /// A shape of `channels` × `height` × `width` dimensions, each of which takes `levels` values.
    pub fn new(channels: usize, height: usize, width: usize, levels: usize) -> Result<Self, ImageError> {
        let impossible = || ImageError::Shape {
            channels,
            height,
            width,
        };
        let dimensions = channels
            .checked_mul(height)
            .and_then(|n| n.checked_mul(width))
            .ok_or_else(impossible)?;
        if dimensions == 0 || channels > Self::MAX_CHANNELS || dimensions > Self::MAX_DIMENSIONS {
            return Err(impossible());
        }
        if !(2..=256).contains(&levels) {
            return Err(ImageError::Levels(levels));
        }
        Ok(Self {
            channels,
            height,
            width,
            levels,
        })
    }

    /// Colour channels (1 for grey, 3 for red, green and blue).
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Values that one dimension takes: 256 for 8-bit images.
    pub fn levels(&self) -> usize {
        self.levels
    }

    /// Sub-pixels: channels · height · width.
    pub fn dimensions(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Pixels: height · width.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// The place in autoregressive order of the dimension stored at `index`: rows from the top, pixels from the left,
    /// channels within a pixel. Storage is channel, row, column.
    pub fn order_of(&self, index: usize) -> usize {
        let (channel, pixel) = (index / self.pixels(), index % self.pixels());
        pixel * self.channels + channel
    }

    /// The storage index of the dimension at place `order`; the inverse of [`Self::order_of`].
    pub fn index_of(&self, order: usize) -> usize {
        let (pixel, channel) = (order / self.channels, order % self.channels);
        channel * self.pixels() + pixel
    }
}

impl ImageShape {
    /// The smallest size that covers every one of some images of a model; `None` of none.
    pub fn covering(shapes: impl IntoIterator<Item = Self>) -> Option<Self> {
        shapes.into_iter().reduce(|one, other| Self {
            height: one.height.max(other.height),
            width: one.width.max(other.width),
            ..one
        })
    }
}

/// Values in channel, row, column order on a larger image, `filling` to the right and below.
pub fn padded<T: Copy>(values: &[T], from: ImageShape, to: ImageShape, filling: T) -> Vec<T> {
    let mut out = vec![filling; to.dimensions()];
    for (place, row) in values.chunks_exact(from.width).enumerate() {
        let (channel, y) = (place / from.height, place % from.height);
        let at = (channel * to.height + y) * to.width;
        out[at..at + from.width].copy_from_slice(row);
    }
    out
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}×{}×{} (channels × height × width) with {} levels",
            self.channels, self.height, self.width, self.levels
        )
    }
}

/// One image whose every value is a valid level. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    shape: ImageShape,
    levels: Arc<[u8]>,
}

impl Image {
    /// Takes levels in channel, row, column order; refuses a wrong count and values outside the shape's levels.
    pub fn new(shape: ImageShape, levels: impl Into<Arc<[u8]>>) -> Result<Self, ImageError> {
        let levels = levels.into();
        if levels.len() != shape.dimensions() {
            return Err(ImageError::Length {
                shape,
                expected: shape.dimensions(),
                actual: levels.len(),
            });
        }
        let max = shape.levels() - 1;
        if max < 255
            && let Some(index) = levels.iter().position(|&level| usize::from(level) > max)
        {
            return Err(ImageError::Level {
                index,
                value: levels[index],
                max,
            });
        }
        Ok(Self { shape, levels })
    }

    /// The shape.
    pub fn shape(&self) -> ImageShape {
        self.shape
    }

    /// Levels in channel, row, column order.
    pub fn levels(&self) -> &[u8] {
        &self.levels
    }

    /// The same of each image.
    pub fn levels_of(images: &[Self]) -> Vec<&[u8]> {
        images.iter().map(Self::levels).collect()
    }
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Image({})", self.shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_keeps_rows_and_channels_apart() {
        let small = ImageShape::new(2, 1, 2, 256).unwrap();
        let tall = ImageShape::new(2, 2, 1, 256).unwrap();
        let both = ImageShape::covering([small, tall]).unwrap();
        assert_eq!((both.height(), both.width()), (2, 2));
        assert_eq!(padded(&[1, 2, 3, 4], small, both, 0), [1, 2, 0, 0, 3, 4, 0, 0]);
        assert_eq!(padded(&[1, 2, 3, 4], tall, both, 0), [1, 0, 2, 0, 3, 0, 4, 0]);
        assert_eq!(ImageShape::covering([]), None);
    }

    #[test]
    fn impossible_shapes_and_levels_are_refused() {
        assert!(ImageShape::new(1, 0, 3, 256).is_err());
        assert!(ImageShape::new(5, 2, 2, 256).is_err());
        assert!(ImageShape::new(usize::MAX, 2, 2, 256).is_err());
        assert_eq!(ImageShape::new(1, 2, 2, 257), Err(ImageError::Levels(257)));
        let shape = ImageShape::new(1, 2, 2, 4).unwrap();
        assert!(matches!(
            Image::new(shape, vec![0, 1, 2]),
            Err(ImageError::Length { actual: 3, .. })
        ));
        assert!(matches!(
            Image::new(shape, vec![0, 1, 4, 3]),
            Err(ImageError::Level {
                index: 2,
                value: 4,
                max: 3
            })
        ));
    }

    #[test]
    fn order_runs_over_pixels_then_channels() {
        let shape = ImageShape::new(3, 2, 2, 256).unwrap();
        let order: Vec<usize> = (0..12).map(|o| shape.index_of(o)).collect();
        assert_eq!(order, [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
        assert!((0..12).all(|index| shape.index_of(shape.order_of(index)) == index));
    }
}
