//! Every frame of a file that has several.

use image::{
    AnimationDecoder, ColorType, ImageFormat,
    codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder},
};

use crate::{
    domain::image::{Image, ImageShape},
    media::MediaError,
};

use super::{
    DecodeLimits, DecodeOptions, Frames,
    cancellation::{Cancellable, Cancellation},
    container,
    format::corrupt,
    header::Header,
    png::Pieces,
    still,
};

/// Decodes all frames of a file whose header was found acceptable.
pub(super) fn all(
    bytes: &[u8],
    header: &Header,
    shape: ImageShape,
    options: DecodeOptions,
    limits: DecodeLimits,
    cancellation: &Cancellation<'_>,
) -> Result<Vec<Image>, MediaError> {
    let failed = |error| corrupt(header.format, error);
    let animated = |frames: image::Frames<'_>| {
        let frames = frames.take(header.frames as usize);
        let images: Result<Vec<Image>, MediaError> = frames
            .map(|frame| {
                cancellation.check()?;
                let pixels = frame.map_err(failed)?.into_buffer();
                let mut canvas = header.canvas(shape, options);
                canvas.draw_all(&pixels, (header.format, ColorType::Rgba8), cancellation)?;
                Ok(canvas.finish())
            })
            .collect();
        images.and_then(|images| {
            if images.is_empty() {
                return Err(corrupt(header.format, "it holds none of the frames that it declares"));
            }
            Ok(images)
        })
    };
    // Each page has a header of its own.
    let mut left = limits;
    let mut page = |bytes: &[u8]| {
        let first = DecodeOptions {
            frames: Frames::First,
            ..options
        };
        let header = Header::read(bytes, first)?;
        left.max_pixels -= header.check(shape, first, left)?.pixels;
        still::still(bytes, header, header.shape(shape, first)?, first, cancellation)
    };
    match header.format {
        ImageFormat::Gif => {
            let decoder = GifDecoder::new(Cancellable::new(bytes, cancellation)).map_err(failed)?;
            animated(decoder.into_frames())
        }
        ImageFormat::WebP => {
            let decoder = WebPDecoder::new(Cancellable::new(bytes, cancellation)).map_err(failed)?;
            animated(decoder.into_frames())
        }
        ImageFormat::Png => {
            let decoder = PngDecoder::new(Pieces::of_animation(bytes)).map_err(failed)?;
            animated(decoder.apng().map_err(failed)?.into_frames())
        }
        ImageFormat::Tiff => {
            // A reader begins at the page that the file's first bytes point to.
            let is_little = bytes.starts_with(b"II");
            let mut file = bytes.to_vec();
            container::tiff_pages(bytes)
                .map(|offset| {
                    let offset = if is_little {
                        offset.to_le_bytes()
                    } else {
                        offset.to_be_bytes()
                    };
                    file[4..8].copy_from_slice(&offset);
                    page(&file)
                })
                .collect()
        }
        _ => container::pnm_images(bytes)
            .map(|start| page(&bytes[start..]))
            .collect(),
    }
}
