//! What lies beside the pixels: further frames, and which way up they are.

use image::{Delay, Frame, codecs::gif::GifEncoder};

use super::*;

fn gif(frames: &[RgbaImage]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = GifEncoder::new(&mut bytes);
    for frame in frames {
        let delay = Delay::from_numer_denom_ms(10, 1);
        let frame = Frame::from_parts(frame.clone(), 0, 0, delay);
        encoder.encode_frame(frame).unwrap();
    }
    drop(encoder);
    bytes
}

/// A PNG animation of grey images.
fn apng(frames: &[GrayImage], shows_default: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (width, height) = frames[0].dimensions();
    let mut encoder = ::png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(::png::ColorType::Grayscale);
    encoder
        .set_animated(frames.len() as u32 - u32::from(shows_default), 0)
        .unwrap();
    encoder.set_sep_def_img(shows_default).unwrap();
    let mut writer = encoder.write_header().unwrap();
    for frame in frames {
        writer.write_image_data(frame).unwrap();
    }
    writer.finish().unwrap();
    bytes
}

/// A TIFF file whose two pages are the same grey image.
fn two_pages() -> Vec<u8> {
    let mut bytes = file(grey(), ImageFormat::Tiff);
    let at = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
    let entries = usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let directory = bytes[at..at + 2 + 12 * entries].to_vec();
    let second = bytes.len() as u32;
    bytes[at + 2 + 12 * entries..][..4].copy_from_slice(&second.to_le_bytes());
    bytes.extend(directory);
    bytes.extend([0; 4]);
    bytes
}

#[test]
fn frames_are_never_dropped_without_a_word() {
    let shade = |level| GrayImage::from_pixel(5, 4, Luma([level]));
    let colour = |level| DynamicImage::from(shade(level)).into_rgba8();
    let shades = [shade(10), shade(20), shade(30)];
    let pnm: Vec<u8> = shades
        .iter()
        .flat_map(|frame| file(frame.clone(), ImageFormat::Pnm))
        .collect();
    for (bytes, count, seen) in [
        (
            gif(&[colour(10), colour(20), colour(30)]),
            "3 frames",
            &[10, 20, 30][..],
        ),
        (apng(&shades, false), "3 frames", &[10, 20, 30]),
        (apng(&shades, true), "3 frames", &[20, 30]),
        (pnm, "3 frames", &[10, 20, 30]),
        (two_pages(), "2 frames", &[0, 0]),
    ] {
        refused(&bytes, grey_shape(), CONVERT, &[count, "frames=first", "frames=all"]);
        let of = |frames| {
            let options = DecodeOptions { frames, ..CONVERT };
            let limits = DecodeLimits::default();
            decode_file(&bytes, grey_shape(), options, limits, &|| false)
                .unwrap()
                .images
        };
        let levels = |images: &[Image]| -> Vec<u8> { images.iter().map(|image| image.levels()[0]).collect() };
        assert_eq!(levels(&of(Frames::All)), seen);
        let first = of(Frames::First);
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].levels()[0], if seen[0] == 0 { 0 } else { 10 });
        let few = DecodeLimits {
            max_frames: 1,
            ..DecodeLimits::default()
        };
        let all = DecodeOptions {
            frames: Frames::All,
            ..CONVERT
        };
        let error = decode_file(&bytes, grey_shape(), all, few, &|| false).unwrap_err();
        assert!(
            error.is_too_large() && error.to_string().contains("at most 1 frames"),
            "{error}"
        );
        let few = DecodeLimits { max_pixels: 30, ..few };
        assert!(
            decode_file(&bytes, grey_shape(), all, few, &|| false)
                .unwrap_err()
                .is_too_large()
        );
    }
    for format in FORMATS_WRITTEN {
        let options = DecodeOptions {
            frames: Frames::All,
            ..CONVERT
        };
        let bytes = file(RgbImage::new(5, 4), format);
        assert!(read(&bytes, grey_shape(), CONVERT).is_ok());
        assert!(read(&bytes, grey_shape(), options).is_ok(), "{format:?}");
    }
}

/// EXIF data that hold an orientation and nothing else.
fn exif(tag: u8) -> Vec<u8> {
    let mut block = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    block.extend([tag, 0, 0, 0, 0, 0, 0, 0]);
    block
}

/// The file with EXIF data.
fn tagged(image: &GrayImage, format: ImageFormat, tag: u8) -> Vec<u8> {
    let mut bytes = file(image.clone(), format);
    let block = exif(tag);
    match format {
        ImageFormat::Png => {
            let mut chunk = b"eXIf".to_vec();
            chunk.extend(&block);
            let mut whole = (block.len() as u32).to_be_bytes().to_vec();
            whole.extend(&chunk);
            whole.extend(crc32(&chunk).to_be_bytes());
            bytes.splice(33..33, whole);
        }
        ImageFormat::Jpeg => {
            let mut segment = vec![0xFF, 0xE1];
            segment.extend((block.len() as u16 + 8).to_be_bytes());
            segment.extend(b"Exif\0\0");
            segment.extend(block);
            bytes.splice(2..2, segment);
        }
        _ => {
            bytes.extend(b"EXIF");
            bytes.extend((block.len() as u32).to_le_bytes());
            bytes.extend(block);
        }
    }
    bytes
}

#[test]
fn an_image_that_is_not_upright_is_told_or_turned() {
    let image = GrayImage::from_fn(5, 4, |x, y| Luma([(x * 40 + y * 13) as u8]));
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        for tag in 1..=8 {
            let bytes = tagged(&image, format, tag);
            let of = |shape, orient| {
                let options = DecodeOptions {
                    orient,
                    convert: true,
                    ..DecodeOptions::default()
                };
                decode_file(&bytes, shape, options, DecodeLimits::default(), &|| false)
            };
            let plain = read(&file(image.clone(), format), grey_shape(), CONVERT).unwrap();
            let stored = of(grey_shape(), false).unwrap();
            assert_eq!(stored.images, std::slice::from_ref(&plain));
            assert_eq!(stored.notes.is_empty(), tag == 1, "{format:?} {tag}");
            let mut wanted: DynamicImage = GrayImage::from_raw(5, 4, plain.levels().to_vec()).unwrap().into();
            wanted.apply_orientation(image::metadata::Orientation::from_exif(tag).unwrap());
            let (width, height) = (wanted.width() as usize, wanted.height() as usize);
            let shape = ImageShape::new(1, height, width, 256).unwrap();
            let turned = of(shape, true).unwrap();
            assert_eq!(turned.images[0].levels(), wanted.as_bytes(), "{format:?} {tag}");
            assert!(turned.notes.is_empty());
            // Turning and resizing can be exchanged.
            let small = ImageShape::new(1, 3, 2, 256).unwrap();
            let options = DecodeOptions {
                resize: Some(BILINEAR),
                convert: true,
                orient: true,
                ..DecodeOptions::default()
            };
            let upright = file(wanted, ImageFormat::Png);
            assert_eq!(read(&bytes, small, options), read(&upright, small, options));
        }
    }
}
