//! One image of a file.

use image::{ImageDecoder, ImageFormat};

use crate::{
    domain::image::{Image, ImageShape},
    media::MediaError,
};

use super::{
    DecodeOptions,
    cancellation::{Cancellable, Cancellation},
    format::{corrupt, open},
    header::Header,
    jpeg, png,
};

/// Decodes the first image of a file whose header was found acceptable.
pub(super) fn still(
    bytes: &[u8],
    header: Header,
    shape: ImageShape,
    options: DecodeOptions,
    cancellation: &Cancellation<'_>,
) -> Result<Image, MediaError> {
    let mut canvas = header.canvas(shape, options);
    let whole = match header.format {
        ImageFormat::Png => {
            png::draw(bytes, &mut canvas, cancellation)?;
            return Ok(canvas.finish());
        }
        ImageFormat::Jpeg => jpeg::pixels(bytes, cancellation)?,
        format => picture(Cancellable::new(bytes, cancellation), &header).map_err(|error| corrupt(format, error))?,
    };
    canvas.draw_all(&whole, (header.format, header.colour), cancellation)?;
    Ok(canvas.finish())
}

/// The whole picture that a decoder gives.
fn picture(reader: Cancellable<'_>, header: &Header) -> Result<Vec<u8>, image::ImageError> {
    let decoder = open(reader, header.format, header.max_alloc())?;
    let mut pixels = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut pixels)?;
    Ok(pixels)
}
