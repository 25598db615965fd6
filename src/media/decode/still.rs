//! One image of a file.

use image::{ImageDecoder, ImageFormat};

use crate::{
    domain::image::{Image, ImageShape},
    media::MediaError,
};

use super::{
    DecodeOptions,
    format::{corrupt, open},
    header::Header,
    jpeg, png,
    watch::{Watch, Watched},
};

/// Decodes the first image of a file whose header was found acceptable.
pub(super) fn still(
    bytes: &[u8],
    header: Header,
    shape: ImageShape,
    options: DecodeOptions,
    watch: &Watch<'_>,
) -> Result<Image, MediaError> {
    let mut canvas = header.canvas(shape, options);
    let whole = match header.format {
        ImageFormat::Png => {
            png::draw(bytes, &mut canvas, watch)?;
            return Ok(canvas.finish());
        }
        ImageFormat::Jpeg => jpeg::pixels(bytes, watch)?,
        format => picture(Watched::new(bytes, watch), &header).map_err(|error| corrupt(format, error))?,
    };
    canvas.draw_all(&whole, (header.format, header.colour), watch)?;
    Ok(canvas.finish())
}

/// The whole picture that a decoder gives.
fn picture(reader: Watched<'_>, header: &Header) -> Result<Vec<u8>, image::ImageError> {
    let decoder = open(reader, header.format, header.max_alloc())?;
    let mut pixels = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut pixels)?;
    Ok(pixels)
}
