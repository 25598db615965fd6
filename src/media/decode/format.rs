//! Formats of image files: which one a file is of, what it is called, and whole pictures of those that are not read row
//! by row.

use image::{ImageDecoder, ImageFormat, ImageReader, Limits};

use super::{cancellation::Cancellable, container::PNG_SIGNATURE, unsupported};
use crate::media::{MediaError, error::clip};

/// The format of a file by its first bytes.
pub(super) fn format(bytes: &[u8]) -> Result<ImageFormat, MediaError> {
    if bytes.is_empty() {
        return Err(MediaError::Empty);
    }
    // A file that is cut off inside its signature is told from one of another kind.
    if bytes.len() < PNG_SIGNATURE.len() && PNG_SIGNATURE.starts_with(bytes) {
        return Err(corrupt(ImageFormat::Png, "it ends inside its signature"));
    }
    image::guess_format(bytes)
        .ok()
        .filter(|format| format.reading_enabled())
        .ok_or_else(|| match unsupported::format(bytes) {
            Some(format) => MediaError::NotRead { format },
            None => MediaError::UnknownFormat,
        })
}

/// A decoder that gives whole pictures. It may allocate `max_bytes`.
pub(super) fn open<'a>(
    reader: Cancellable<'a>,
    format: ImageFormat,
    max_bytes: u64,
) -> Result<impl ImageDecoder + 'a, image::ImageError> {
    let mut reader = ImageReader::with_format(reader, format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(max_bytes);
    reader.limits(limits);
    reader.into_decoder()
}

/// What a decoder said about a file, as far as it is worth repeating.
pub(super) fn corrupt(format: ImageFormat, reason: impl ToString) -> MediaError {
    MediaError::Corrupt {
        format: name(format),
        reason: clip(reason.to_string().trim()),
    }
}

pub(super) fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Png => "PNG",
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Pnm => "PNM",
        ImageFormat::Tiff => "TIFF",
        _ => "image",
    }
}
