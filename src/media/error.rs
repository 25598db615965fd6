//! What can be wrong with an image, and what would be right.

use crate::domain::image::ImageShape;

use super::pixels::PixelFault;

/// Why bytes did not become an image.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MediaError {
    /// No known signature.
    #[error(
        "the bytes are not an image file of a known format ({})",
        super::FORMATS
    )]
    UnknownFormat,
    /// The signature is known, the rest is damaged, cut short, or of a variant that cannot be read.
    #[error("the {format} file cannot be read: {reason}")]
    Corrupt {
        /// The format that the signature names.
        format: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// The header promises more than the limit; nothing was decoded.
    #[error(
        "the image has {width}×{height} pixels (width × height), {} in all; at most {limit} may be decoded",
        u64::from(*width) * u64::from(*height)
    )]
    TooManyPixels {
        /// Columns that the header claims.
        width: u32,
        /// Rows that the header claims.
        height: u32,
        /// Pixels allowed.
        limit: u64,
    },
    /// Not the size of the model's images.
    #[error(
        "the image has {width}×{height} pixels (width × height), the model takes {}×{}; send that size, or resize=true to \
         have it resized, which changes its likelihood",
        shape.width(), shape.height()
    )]
    Size {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// What the model takes.
        shape: ImageShape,
    },
    /// The channels are not the model's.
    #[error(
        "the file holds {found}, the model takes {wanted}; send that, or convert=true to have it converted, which changes \
         its likelihood"
    )]
    Channels {
        /// What the file holds.
        found: &'static str,
        /// What the model takes.
        wanted: &'static str,
    },
    /// Some pixels are transparent and the model has no channel for it.
    #[error(
        "the image is partly transparent and the model takes {wanted}; send opaque pixels, or convert=true to have it \
         blended over black, which changes its likelihood"
    )]
    Transparent {
        /// What the model takes.
        wanted: &'static str,
    },
    /// More than 8 bits a value.
    #[error(
        "the file has {bits} bits a value, the model was trained on {levels} levels; send 8 bits, or convert=true to have \
         it reduced, which changes its likelihood"
    )]
    Depth {
        /// Bits a value.
        bits: u32,
        /// Levels of the model.
        levels: usize,
    },
    /// A mask whose size is not that of the model's images.
    #[error(
        "the mask has {width}×{height} pixels (width × height), the model's images have {}×{}",
        shape.width(), shape.height()
    )]
    MaskSize {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// What the model takes.
        shape: ImageShape,
    },
    /// A list of levels that is not an image.
    #[error("pixels: {0}")]
    Pixels(#[from] PixelFault),
    /// Not a npy file, or one that cannot be read safely.
    #[error("the npy file cannot be read: {0}")]
    Npy(String),
    /// A readable npy array that does not hold what is wanted.
    #[error("the npy array {found}; wanted: {wanted}")]
    NpyArray {
        /// What the array is.
        found: String,
        /// What would be right.
        wanted: String,
    },
    /// More items in one array than the limit.
    #[error("the npy array holds {count} items; at most {limit} may come in one request")]
    TooManyItems {
        /// Length of the first axis.
        count: u64,
        /// Items allowed.
        limit: usize,
    },
    /// The picture would be too large to encode.
    #[error("the picture cannot be encoded: {0}")]
    Encode(String),
}

impl MediaError {
    /// Whether a limit of size was passed, as opposed to an image being wrong.
    pub fn is_too_large(&self) -> bool {
        matches!(
            self,
            Self::TooManyPixels { .. } | Self::TooManyItems { .. } | Self::Encode(_)
        )
    }
}
