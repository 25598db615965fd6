//! One image of a file.

use image::{ColorType, ImageDecoder, ImageFormat};

use crate::{
    domain::image::{Image, ImageShape},
    media::MediaError,
};

use super::{
    DecodeOptions,
    canvas::{Canvas, Run},
    header::{self, Header, corrupt},
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
    let mut canvas = Canvas::new(header, shape, options);
    match header.format {
        ImageFormat::Png => png::draw(bytes, &header, &mut canvas, watch)?,
        ImageFormat::Jpeg => {
            let pixels = jpeg::pixels(bytes, watch)?;
            draw(&pixels, header.colour, &header, &mut canvas, watch)?;
        }
        format => {
            let pixels = picture(Watched::new(bytes, watch), &header).map_err(|error| corrupt(format, error))?;
            draw(&pixels, header.colour, &header, &mut canvas, watch)?;
        }
    }
    Ok(canvas.finish())
}

/// The whole picture that a decoder gives.
fn picture(reader: Watched<'_>, header: &Header) -> Result<Vec<u8>, image::ImageError> {
    let decoder = header::open(reader, header.format, header.max_alloc())?;
    let mut pixels = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut pixels)?;
    Ok(pixels)
}

/// Draws a whole picture, row by row.
pub(super) fn draw(
    pixels: &[u8],
    colour: ColorType,
    header: &Header,
    canvas: &mut Canvas,
    watch: &Watch<'_>,
) -> Result<(), MediaError> {
    let row = header.width as usize * usize::from(colour.bytes_per_pixel());
    if pixels.len() != row * header.height as usize {
        return Err(corrupt(header.format, "it has too few rows"));
    }
    for (y, bytes) in pixels.chunks_exact(row).enumerate() {
        let run = Run {
            x: 0,
            step: 1,
            y,
            bytes,
        };
        canvas.draw(colour, run, watch)?;
    }
    Ok(())
}
