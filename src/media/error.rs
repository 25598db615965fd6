//! What can be wrong with an image, and what would be right.

use crate::domain::image::ImageShape;

use super::pixels::PixelFault;

/// Why bytes did not become an image.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MediaError {
    /// There are no bytes.
    #[error("the file is empty (0 bytes)")]
    Empty,
    /// No known signature.
    #[error("the bytes are not an image file of a known format ({})", super::FORMATS)]
    UnknownFormat,
    /// A signature of a format that is not read.
    #[error(
        "this is a file of the format {format}, which is not read here; convert it to one of {} and send that",
        super::FORMATS
    )]
    NotRead {
        /// The format that the signature names.
        format: &'static str,
    },
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
    /// More than one frame, of which none was asked for.
    #[error(
        "the {format} file holds {count} frames or pages; send a single image, or frames=first or frames=all to say \
         which are meant"
    )]
    Frames {
        /// The format that the signature names.
        format: &'static str,
        /// Frames in the file.
        count: u64,
    },
    /// All frames are wanted, and they are too many; nothing was decoded.
    #[error(
        "the file holds {count} frames of {pixels} pixels, {} in all; at most {max_frames} frames and {max_pixels} \
         pixels may be decoded",
        count.saturating_mul(*pixels)
    )]
    TooManyFrames {
        /// Frames in the file.
        count: u64,
        /// Pixels of one.
        pixels: u64,
        /// Frames allowed.
        max_frames: usize,
        /// Pixels allowed.
        max_pixels: u64,
    },
    /// The header shows that decoding would need more memory than the limit; nothing was decoded.
    #[error("decoding the file would take {bytes} bytes of memory; at most {limit} may be used")]
    TooMuchMemory {
        /// Bytes needed.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// Floating-point pixels.
    #[error(
        "the file holds floating-point values, which have no levels; send whole numbers of 8 bits, or of 16 with \
         convert=true"
    )]
    Floats,
    /// Decoding was given up because nobody waits for the image any more.
    #[error("decoding was given up before its end, because its result was no longer wanted")]
    Cancelled,
    /// Not base64.
    #[error("base64: {0}")]
    Base64(String),
    /// A map to be drawn that holds no number at some place.
    #[error("the map at index {map} has {value} at {place}, which no colour stands for")]
    NotANumber {
        /// Which of the maps.
        map: usize,
        /// Position in row order.
        place: usize,
        /// What stands there.
        value: f64,
    },
    /// Not the size of the model's images.
    #[error(
        "the image has {width}×{height} pixels (width × height), the model takes {}×{}; send that size, or resize=true \
         to have it resized, which changes its likelihood",
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
    /// Smaller than the least that a model of any size takes.
    #[error(
        "the image has {width}×{height} pixels (width × height), the model takes {}×{} and more",
        shape.width(), shape.height()
    )]
    TooSmall {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// The least.
        shape: ImageShape,
    },
    /// More values than an image may have, of a model that takes any size.
    #[error(
        "the image has {width}×{height} pixels (width × height), {} values in all; at most {limit} may be taken of one",
        width.saturating_mul(*height).saturating_mul(*channels)
    )]
    TooManyValues {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// Values of a pixel.
        channels: usize,
        /// Values allowed.
        limit: usize,
    },
    /// The channels are not the model's.
    #[error(
        "the file holds {found}, the model takes {wanted}; send that, or convert=true to have it converted, which \
         changes its likelihood"
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
        "the file has {bits} bits a value, the model was trained on {levels} levels; send 8 bits, or convert=true to \
         have it reduced, which changes its likelihood"
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

/// The shape of an image of `width` columns and `height` rows for a model that takes any size from `least` on.
pub fn of_size(least: ImageShape, width: usize, height: usize) -> Result<ImageShape, MediaError> {
    if width < least.width() || height < least.height() {
        return Err(MediaError::TooSmall {
            width,
            height,
            shape: least,
        });
    }
    let channels = least.channels();
    ImageShape::new(channels, height, width, least.levels()).map_err(|_| MediaError::TooManyValues {
        width,
        height,
        channels,
        limit: ImageShape::MAX_DIMENSIONS,
    })
}

impl MediaError {
    /// Whether a limit of size was passed, as opposed to an image being wrong.
    pub fn is_too_large(&self) -> bool {
        matches!(
            self,
            Self::TooManyPixels { .. }
                | Self::TooManyFrames { .. }
                | Self::TooMuchMemory { .. }
                | Self::TooManyValues { .. }
                | Self::TooManyItems { .. }
                | Self::Encode(_)
        )
    }

    /// The same, with options written as a command line takes them: --resize for resize=true.
    pub fn for_command_line(&self) -> String {
        let mut text = self.to_string();
        for (option, flag) in [
            ("resize=true", "--resize"),
            ("convert=true", "--convert"),
            ("frames=first", "--frames first"),
            ("frames=all", "--frames all"),
        ] {
            text = text.replace(option, flag);
        }
        text
    }
}

/// Characters of somebody else's text that are repeated in a message.
const CLIP: usize = 200;

/// A text as far as a message should repeat it.
pub(super) fn clip(text: &str) -> String {
    match text.char_indices().nth(CLIP) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
