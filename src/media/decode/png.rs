//! PNG files, row by row.
//!
//! Colour profiles, texts and every other chunk that no pixel depends on are stepped over in place: a profile that
//! unpacks to half a gigabyte costs nothing, because nobody looks at it.

use std::io::{self, BufRead, Read, Seek, SeekFrom};

use image::{ColorType, ImageFormat};
use png::{BitDepth, Decoder, DecodingError, Reader, Transformations};

use crate::media::MediaError;

use super::{
    cancellation::Cancellation,
    canvas::{Canvas, Run},
    container::{self, Chunk, PNG_SIGNATURE},
    format::corrupt,
};

/// The first column and row of each pass of an interlaced file, and the steps to the next ones.
const ADAM7: [(usize, usize, usize, usize); 7] = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
];

/// The one pass of any other file.
const PLAIN: [(usize, usize, usize, usize); 1] = [(0, 0, 1, 1)];

/// Columns, rows, and what a decoded pixel is.
pub(super) fn header(bytes: &[u8]) -> Result<((u32, u32), ColorType), MediaError> {
    if let Some(plain) = plain_header(bytes) {
        return Ok(plain);
    }
    let reader = open(bytes)?;
    Ok((reader.info().size(), colour(&reader)?))
}

/// The same of files with eight bits a sample and nothing that changes what they mean. A decoder takes longer to make
/// than a small picture to decode.
fn plain_header(bytes: &[u8]) -> Option<((u32, u32), ColorType)> {
    let mut chunks = container::png_chunks(bytes);
    let first = chunks.next()?;
    let (b"IHDR", &[a, b, c, d, e, f, g, h, 8, colour, 0, 0, 0 | 1]) = (&first.kind, first.data) else {
        return None;
    };
    let colour = match colour {
        0 => ColorType::L8,
        2 => ColorType::Rgb8,
        4 => ColorType::La8,
        6 => ColorType::Rgba8,
        _ => return None,
    };
    let size = (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]));
    let pixels = chunks.find(|chunk| !chunk.is_ancillary())?;
    (&pixels.kind == b"IDAT").then_some((size, colour))
}

/// Bytes that decoding holds: the decoder keeps up to five rows in a buffer that doubles as it grows, and gives out
/// one.
pub(super) fn held(width: u32, height: u32, bytes_per_pixel: u64) -> u64 {
    let row = u64::from(width) * bytes_per_pixel;
    row * (2 * u64::from(height).min(5) + 1)
}

/// Bytes that are held beside that where rows are wanted in order: the whole picture, if the file is interlaced.
pub(super) fn gathered(bytes: &[u8], pixels: u64, bytes_per_pixel: u64) -> u64 {
    let is_interlaced = open(bytes).is_ok_and(|reader| reader.info().interlaced);
    if is_interlaced {
        pixels.saturating_mul(bytes_per_pixel)
    } else {
        0
    }
}

/// Draws every row.
pub(super) fn draw(bytes: &[u8], canvas: &mut Canvas, cancellation: &Cancellation<'_>) -> Result<(), MediaError> {
    let mut reader = open(bytes)?;
    let colour = colour(&reader)?;
    let size = usize::from(colour.bytes_per_pixel());
    let is_deep = colour.bytes_per_pixel() > colour.channel_count();
    let (width, height) = canvas.size();
    let is_interlaced = reader.info().interlaced;
    let passes = if is_interlaced { &ADAM7[..] } else { &PLAIN };
    let mut picture = (is_interlaced && canvas.wants_order()).then(|| vec![0; width * height * size]);
    let mut row = vec![0; width * size];
    for &(x, first, step, rows) in passes {
        let columns = width.saturating_sub(x).div_ceil(step);
        if columns == 0 {
            continue;
        }
        for y in (first..height).step_by(rows) {
            let found = reader.read_row(&mut row).map_err(failed)?;
            if found.is_none() {
                return Err(corrupt(ImageFormat::Png, "it has too few rows"));
            }
            let bytes = &mut row[..columns * size];
            if is_deep {
                let (values, _) = bytes.as_chunks_mut::<2>();
                for value in values {
                    *value = u16::from_be_bytes(*value).to_ne_bytes();
                }
            }
            match &mut picture {
                None => canvas.draw(colour, Run { x, step, y, bytes }, cancellation)?,
                Some(picture) => {
                    cancellation.after(columns as u64)?;
                    let places = picture[(y * width + x) * size..].chunks_mut(step * size);
                    for (place, pixel) in places.zip(bytes.chunks_exact(size)) {
                        place[..size].copy_from_slice(pixel);
                    }
                }
            }
        }
    }
    if let Some(picture) = picture {
        canvas.draw_all(&picture, (ImageFormat::Png, colour), cancellation)?;
    }
    // The checksum of the last chunk of pixels is read here.
    reader.read_row(&mut row).map_err(failed)?;
    Ok(())
}

fn open(bytes: &[u8]) -> Result<Reader<Pieces<'_>>, MediaError> {
    // Chunks are stepped over before they come here, and rows are held against the limits by the caller.
    let limits = png::Limits { bytes: usize::MAX };
    let mut decoder = Decoder::new_with_limits(Pieces::of(bytes), limits);
    decoder.set_transformations(Transformations::EXPAND);
    decoder.read_info().map_err(failed)
}

fn colour(reader: &Reader<Pieces<'_>>) -> Result<ColorType, MediaError> {
    use png::ColorType::{Grayscale, GrayscaleAlpha, Rgb, Rgba};
    Ok(match reader.output_color_type() {
        (Grayscale, BitDepth::Eight) => ColorType::L8,
        (Grayscale, BitDepth::Sixteen) => ColorType::L16,
        (GrayscaleAlpha, BitDepth::Eight) => ColorType::La8,
        (GrayscaleAlpha, BitDepth::Sixteen) => ColorType::La16,
        (Rgb, BitDepth::Eight) => ColorType::Rgb8,
        (Rgb, BitDepth::Sixteen) => ColorType::Rgb16,
        (Rgba, BitDepth::Eight) => ColorType::Rgba8,
        (Rgba, BitDepth::Sixteen) => ColorType::Rgba16,
        (colour, depth) => {
            let reason = format!("{colour:?} with {depth:?} bits cannot be read");
            return Err(corrupt(ImageFormat::Png, reason));
        }
    })
}

fn failed(error: DecodingError) -> MediaError {
    corrupt(ImageFormat::Png, error)
}

/// The parts of a file that pixels depend on, one after the other.
pub(super) struct Pieces<'a> {
    rest: Box<dyn Iterator<Item = &'a [u8]> + 'a>,
    piece: &'a [u8],
}

impl<'a> Pieces<'a> {
    /// Those of the image that everyone sees.
    fn of(bytes: &'a [u8]) -> Self {
        Self::with(bytes, |chunk| !chunk.is_ancillary())
    }

    /// Those of all frames.
    pub(super) fn of_animation(bytes: &'a [u8]) -> Self {
        Self::with(bytes, |chunk| {
            !chunk.is_ancillary() || matches!(&chunk.kind, b"acTL" | b"fcTL" | b"fdAT")
        })
    }

    fn with(bytes: &'a [u8], is_needed: fn(&Chunk<'_>) -> bool) -> Self {
        let needed = container::png_chunks(bytes).filter(move |chunk| is_needed(chunk));
        Self {
            rest: Box::new(needed.map(|chunk| chunk.whole)),
            piece: bytes.get(..PNG_SIGNATURE.len()).unwrap_or(bytes),
        }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let piece = self.fill_buf()?;
        let length = piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&piece[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Pieces<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.is_empty() {
            self.piece = self.rest.next().unwrap_or_default();
        }
        Ok(self.piece)
    }

    fn consume(&mut self, amount: usize) {
        self.piece = &self.piece[amount..];
    }
}

/// The decoder asks for a reader that could, and never does.
impl Seek for Pieces<'_> {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, ImageFormat};

    use super::*;

    #[test]
    fn a_plain_header_says_what_the_decoder_says() {
        let mut plain = 0;
        for picture in [
            DynamicImage::new_luma8(3, 5),
            DynamicImage::new_luma_a8(3, 5),
            DynamicImage::new_rgb8(3, 5),
            DynamicImage::new_rgba8(3, 5),
            DynamicImage::new_luma16(3, 5),
            DynamicImage::new_rgba16(3, 5),
        ] {
            let mut file = io::Cursor::new(Vec::new());
            picture.write_to(&mut file, ImageFormat::Png).unwrap();
            let bytes = file.into_inner();
            let reader = open(&bytes).unwrap();
            let decoded = (reader.info().size(), colour(&reader).unwrap());
            if let Some(found) = plain_header(&bytes) {
                assert_eq!(found, decoded);
                plain += 1;
            }
            // Which colour is transparent stands before the pixels, and adds a channel.
            let place = bytes.windows(4).position(|window| window == b"IDAT").unwrap() - 4;
            let transparent = [&bytes[..place], b"\0\0\0\x02tRNS\0\0....", &bytes[place..]].concat();
            assert_eq!(plain_header(&transparent), None);
            assert_eq!(plain_header(&bytes[..place]), None);
        }
        assert_eq!(plain, 4);
    }
}
