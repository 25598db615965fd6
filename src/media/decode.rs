//! Image files to images, with every difference from what the model was trained on named instead of repaired.
//!
//! What a file costs is told from its header before anything is decoded. Decoding holds as little as the format allows:
//! a PNG file is read row by row and resized as its rows arrive; a decoder that gives whole pictures may do so within a
//! limit. It can be given up at any time. Nothing here knows of threads, clocks or requests.

use crate::domain::image::{Image, ImageShape};

use super::{MediaError, resize::Resize};

mod cancellation;
mod canvas;
mod container;
mod format;
mod frames;
mod header;
mod jpeg;
mod orientation;
mod png;
mod still;
mod unsupported;

pub use self::orientation::Orientation;
use self::{cancellation::Cancellation, header::Header};

/// The formats that can be read, for messages and documents.
pub const FORMATS: &str = "PNG, JPEG, WebP, GIF, BMP, PNM, TIFF";

/// What may be done to an image that does not fit. Everything is off by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DecodeOptions {
    /// Bring images of another size to the model's.
    pub resize: Option<Resize>,
    /// Take images as large as they are, from the shape's size on: its height and width are only the least then.
    pub any_size: bool,
    /// Convert between grey and colour (luma of ITU-R BT.601, as in Pillow), blend transparent pixels over black, and
    /// reduce 16 bits to 8.
    pub convert: bool,
    /// What becomes of files with more than one frame or page.
    pub frames: Frames,
    /// Turn and mirror the image as the orientation tag of its EXIF data asks. Otherwise it is taken as it is stored,
    /// and [`Decoded::notes`] says that it has such a tag.
    pub orient: bool,
}

/// Which frames of an animation (GIF, WebP, PNG), pages of a TIFF file or images of a PNM file are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Frames {
    /// The only one; a file with more is refused.
    #[default]
    Only,
    /// The first. Of a PNG animation it is the image that a viewer without animations shows.
    First,
    /// All, as they are seen one after the other: what a frame leaves of the one before it is part of it.
    All,
}

/// What decoding one file may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Pixels in all frames that are decoded, checked from the header before any is. Memory is bounded by it too: see
    /// [`Self::max_bytes`].
    pub max_pixels: u64,
    /// Frames that are decoded.
    pub max_frames: usize,
}

impl DecodeOptions {
    /// What one or the other wants; where both want a resize, that of the first.
    pub fn or(self, other: Self) -> Self {
        Self {
            resize: self.resize.or(other.resize).filter(|_| !self.any_size),
            any_size: self.any_size,
            convert: self.convert || other.convert,
            frames: other.frames,
            orient: self.orient || other.orient,
        }
    }
}

impl Default for DecodeLimits {
    /// 25 Mi pixels, a photograph of 24 million and a little more, in at most 256 frames.
    fn default() -> Self {
        Self {
            max_pixels: 25 << 20,
            max_frames: 256,
        }
    }
}

impl DecodeLimits {
    /// Bytes that decoding may hold at once, beside the file and the images that come out: 8 for each pixel of the
    /// limit, and 8 MiB for files of few pixels. By default 208 MiB.
    pub fn max_bytes(&self) -> u64 {
        self.max_pixels.saturating_mul(8).saturating_add(8 << 20)
    }
}

/// What decoding one file takes, from its header alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Pixels of all frames that will be decoded: the work.
    pub pixels: u64,
    /// The most bytes that are held at once, beside the file and the images that come out. An estimate from above.
    pub bytes: u64,
}

/// The images of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// One, or with [`Frames::All`] one a frame; never none.
    pub images: Vec<Image>,
    /// What a user should know of them.
    pub notes: Vec<Note>,
}

/// Something that decoding did not do and that changes what is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Note {
    /// The image was taken as stored although its EXIF data ask for another way up.
    #[error(
        "the file asks to be shown another way up (EXIF orientation {}), and was judged as it is stored; orient=true \
         turns it",
        _0.exif()
    )]
    Orientation(Orientation),
}

/// Reads an image file whose format is told from its content. See [`decode_file`], of whose images this gives the
/// first.
pub fn decode(
    bytes: &[u8],
    shape: ImageShape,
    options: DecodeOptions,
    limits: DecodeLimits,
) -> Result<Image, MediaError> {
    let mut decoded = decode_file(bytes, shape, options, limits, &|| false)?;
    Ok(decoded.images.swap_remove(0))
}

/// Reads the images of a file whose format is told from its content, until `stop` says that nobody wants them any more:
/// it is asked every few thousand pixels.
///
/// Pixels are taken as they are stored: colour profiles and gamma are ignored. A model with 256 levels takes 8-bit
/// values as they are; with L levels a value v becomes ⌊v·L/256⌋.
///
/// # Errors
/// [`MediaError::Cancelled`] if `stop` said so; otherwise what is wrong with the file, or why it does not fit.
pub fn decode_file(
    bytes: &[u8],
    shape: ImageShape,
    options: DecodeOptions,
    limits: DecodeLimits,
    stop: &dyn Fn() -> bool,
) -> Result<Decoded, MediaError> {
    let header = Header::read(bytes, options)?;
    header.check(shape, options, limits)?;
    let shape = header.shape(shape, options)?;
    let cancellation = Cancellation::new(stop);
    cancellation.check()?;
    let images = match options.frames {
        Frames::All if header.frames > 1 => frames::all(bytes, &header, shape, options, limits, &cancellation),
        _ => still::still(bytes, header, shape, options, &cancellation).map(|image| vec![image]),
    };
    let is_turned = header.orientation == header.applied;
    Ok(Decoded {
        images: cancellation.cause(images)?,
        notes: (!is_turned)
            .then_some(Note::Orientation(header.orientation))
            .into_iter()
            .collect(),
    })
}

/// What [`decode_file`] will cost with the same arguments, from the file's header alone.
///
/// # Errors
/// Whatever the header shows to be wrong: the same error that decoding would give.
pub fn cost(bytes: &[u8], shape: ImageShape, options: DecodeOptions, limits: DecodeLimits) -> Result<Cost, MediaError> {
    Header::read(bytes, options)?.check(shape, options, limits)
}

#[cfg(test)]
mod tests;
