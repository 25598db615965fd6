//! Every format, option and refusal.

use std::{cell::Cell, io::Cursor};

use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage, imageops};

use super::*;
use crate::media::Filter;

mod beside;

const FORMATS_WRITTEN: [ImageFormat; 7] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::WebP,
    ImageFormat::Gif,
    ImageFormat::Bmp,
    ImageFormat::Pnm,
    ImageFormat::Tiff,
];
const BILINEAR: Resize = Resize {
    filter: Filter::Bilinear,
    short_side: None,
};
const RESIZE: DecodeOptions = DecodeOptions {
    any_size: false,
    resize: Some(BILINEAR),
    convert: false,
    frames: Frames::Only,
    orient: false,
};
const CONVERT: DecodeOptions = DecodeOptions {
    any_size: false,
    resize: None,
    convert: true,
    frames: Frames::Only,
    orient: false,
};

fn file(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn grey() -> GrayImage {
    GrayImage::from_fn(5, 4, |x, y| Luma([(x * 50 + y) as u8]))
}

fn grey_shape() -> ImageShape {
    ImageShape::new(1, 4, 5, 256).unwrap()
}

fn rgb_shape() -> ImageShape {
    ImageShape::new(3, 4, 5, 256).unwrap()
}

fn read(bytes: &[u8], shape: ImageShape, options: DecodeOptions) -> Result<Image, MediaError> {
    decode(bytes, shape, options, DecodeLimits::default())
}

/// The message of a refusal must name each of `parts`.
fn refused(bytes: &[u8], shape: ImageShape, options: DecodeOptions, parts: &[&str]) {
    let message = read(bytes, shape, options).unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
}

#[test]
fn grey_levels_arrive_as_they_are() {
    let image = read(&file(grey(), ImageFormat::Png), grey_shape(), DecodeOptions::default());
    assert_eq!(image.unwrap().levels(), grey().as_raw().as_slice());
}

#[test]
fn colour_arrives_in_planes() {
    let rgb = RgbImage::from_fn(5, 4, |x, y| Rgb([x as u8, y as u8, 9]));
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Pnm, ImageFormat::WebP] {
        let image = read(&file(rgb.clone(), format), rgb_shape(), DecodeOptions::default()).unwrap();
        assert_eq!(&image.levels()[..6], [0, 1, 2, 3, 4, 0], "{format:?}");
        assert_eq!(&image.levels()[20..26], [0, 0, 0, 0, 0, 1]);
        assert!(image.levels()[40..].iter().all(|&level| level == 9));
    }
}

#[test]
fn every_format_is_read_and_refused_when_cut_short() {
    let rgb = RgbImage::from_fn(5, 4, |x, y| Rgb([(x * 50) as u8, (y * 60) as u8, 9]));
    for format in FORMATS_WRITTEN {
        let bytes = file(rgb.clone(), format);
        read(&bytes, rgb_shape(), DecodeOptions::default()).unwrap_or_else(|error| panic!("{format:?}: {error}"));
        for keep in [bytes.len() / 2, bytes.len() - bytes.len() / 8 - 2, 20] {
            let result = read(&bytes[..keep.min(bytes.len() - 1)], rgb_shape(), CONVERT);
            assert!(
                matches!(result, Err(MediaError::Corrupt { .. })),
                "{format:?} cut to {keep}: {result:?}"
            );
        }
    }
}

#[test]
fn bytes_that_are_no_image_are_refused() {
    for bytes in [&b"hello, this is no image"[..], b"\x93NUMPY\x01\x00"] {
        refused(bytes, grey_shape(), CONVERT, &["PNG, JPEG, WebP"]);
    }
    // Formats that can be told but are not read.
    for (bytes, format) in [
        (&b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf"[..], "AVIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\xff\x0a\x00", "JPEG XL"),
        (b"%PDF-1.7", "PDF"),
        (&[&[0; 128][..], b"DICM"].concat(), "DICOM"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "known format"),
        (b"\xff\xff\xff\xffftyp", "known format"),
    ] {
        refused(bytes, grey_shape(), CONVERT, &[format, "TIFF"]);
    }
    refused(b"", grey_shape(), CONVERT, &["empty"]);
    refused(b"\x89PNG", grey_shape(), CONVERT, &["PNG", "ends inside"]);
}

#[test]
fn a_wrong_size_names_both_sizes_and_the_way_out() {
    let shape = ImageShape::new(1, 8, 10, 256).unwrap();
    let bytes = file(grey(), ImageFormat::Png);
    refused(&bytes, shape, CONVERT, &["5×4", "10×8", "resize=true"]);
    let image = read(&bytes, shape, RESIZE).unwrap();
    assert_eq!(image.shape(), shape);
    assert!(image.levels().windows(2).take(9).all(|w| w[0] <= w[1]));
}

#[test]
fn colour_for_a_grey_model_needs_convert_even_if_every_pixel_is_grey() {
    let rgb = RgbImage::from_pixel(5, 4, Rgb([7, 7, 7]));
    let bytes = file(rgb, ImageFormat::Png);
    refused(
        &bytes,
        grey_shape(),
        RESIZE,
        &["3 channels (RGB)", "1 channel (grey)", "convert=true"],
    );
    let image = read(&bytes, grey_shape(), CONVERT).unwrap();
    assert!(image.levels().iter().all(|&level| level == 7));
    let red = file(RgbImage::from_pixel(5, 4, Rgb([255, 0, 0])), ImageFormat::Png);
    assert_eq!(read(&red, grey_shape(), CONVERT).unwrap().levels()[0], 76);
}

#[test]
fn grey_for_a_colour_model_needs_convert() {
    let bytes = file(grey(), ImageFormat::Png);
    refused(&bytes, rgb_shape(), RESIZE, &["1 channel (grey)", "convert=true"]);
    let image = read(&bytes, rgb_shape(), CONVERT).unwrap();
    assert_eq!(image.levels()[..20], image.levels()[40..]);
}

#[test]
fn only_transparency_that_says_something_is_refused() {
    let opaque = RgbaImage::from_pixel(5, 4, Rgba([10, 20, 30, 255]));
    let image = read(
        &file(opaque.clone(), ImageFormat::Png),
        rgb_shape(),
        DecodeOptions::default(),
    )
    .unwrap();
    assert_eq!(image.levels()[20], 20);
    let mut clear = opaque;
    clear.put_pixel(2, 1, Rgba([255, 255, 255, 0]));
    let bytes = file(clear, ImageFormat::Png);
    refused(&bytes, rgb_shape(), RESIZE, &["transparent", "convert=true"]);
    let image = read(&bytes, rgb_shape(), CONVERT).unwrap();
    assert_eq!(image.levels()[7], 0);
    assert_eq!(image.levels()[8], 10);
}

#[test]
fn sixteen_bits_are_not_reduced_silently() {
    let deep = ImageBuffer::<Luma<u16>, _>::from_pixel(5, 4, Luma([0x8080]));
    let bytes = file(deep, ImageFormat::Png);
    refused(&bytes, grey_shape(), RESIZE, &["16 bits", "convert=true"]);
    let image = read(&bytes, grey_shape(), CONVERT).unwrap();
    assert!(image.levels().iter().all(|&level| level == 0x80));
}

#[test]
fn fewer_levels_divide_the_bytes_evenly() {
    let shape = ImageShape::new(1, 1, 4, 4).unwrap();
    let row = GrayImage::from_raw(4, 1, vec![0, 63, 64, 255]).unwrap();
    let image = read(&file(row, ImageFormat::Png), shape, DecodeOptions::default());
    assert_eq!(image.unwrap().levels(), [0, 0, 1, 3]);
}

#[test]
fn a_bomb_is_refused_from_its_header() {
    // The signature and a header that claims 60,000 × 60,000 pixels, in its checksum too; then a start of data.
    let mut bomb = file(grey(), ImageFormat::Png);
    bomb[16..20].copy_from_slice(&60_000u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&60_000u32.to_be_bytes());
    let checksum = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&checksum.to_be_bytes());
    let error = read(&bomb, grey_shape(), RESIZE).unwrap_err();
    assert!(error.is_too_large(), "{error}");
    assert!(error.to_string().contains("60000×60000"), "{error}");
    assert!(error.to_string().contains("26214400"), "{error}");
    let error = decode(b"P5 60000 60000 255\n", grey_shape(), RESIZE, DecodeLimits::default()).unwrap_err();
    assert!(error.is_too_large(), "{error}");
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

#[test]
fn rows_that_arrive_make_the_image_that_a_whole_picture_makes() {
    let noise = |x: u32, y: u32, c: u32| (x * 37 + y * 91 + c * 53 + x * y * 7) as u8;
    for (width, height) in [(61, 47), (5, 4), (1, 300), (300, 1), (28, 28), (3, 90)] {
        let rgb = RgbImage::from_fn(width, height, |x, y| {
            Rgb([noise(x, y, 0), noise(x, y, 1), noise(x, y, 2)])
        });
        for (rows, columns) in [(28, 28), (1, 1), (7, 50), (47, 61)] {
            let shape = ImageShape::new(3, rows, columns, 256).unwrap();
            let by_rows = read(&file(rgb.clone(), ImageFormat::Png), shape, RESIZE).unwrap();
            let whole = read(&file(rgb.clone(), ImageFormat::Bmp), shape, RESIZE).unwrap();
            assert_eq!(by_rows, whole);
            // And it is the bilinear filter, up to the rounding of others.
            let filter = imageops::FilterType::Triangle;
            let wanted = imageops::resize(&rgb, columns as u32, rows as u32, filter);
            for (index, pixel) in wanted.pixels().enumerate() {
                for channel in 0..3 {
                    let level = whole.levels()[channel * rows * columns + index];
                    assert!(
                        level.abs_diff(pixel.0[channel]) <= 1,
                        "{width}×{height} to {columns}×{rows}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_decoding_costs_is_known_before_it() {
    let bytes = file(grey(), ImageFormat::Png);
    let limits = DecodeLimits::default();
    let cost = |shape, options| cost(&bytes, shape, options, limits);
    assert_eq!(cost(grey_shape(), CONVERT).unwrap().pixels, 20);
    let other = ImageShape::new(1, 8, 8, 256).unwrap();
    assert_eq!(cost(other, RESIZE).unwrap().pixels, 20);
    assert_eq!(cost(other, CONVERT), Err(read(&bytes, other, CONVERT).unwrap_err()));
}

#[test]
fn decoding_stops_when_nobody_wants_the_image() {
    let image = GrayImage::from_fn(700, 700, |x, y| Luma([(x * y) as u8]));
    for format in FORMATS_WRITTEN {
        let bytes = file(DynamicImage::from(image.clone()).into_rgb8(), format);
        let options = DecodeOptions {
            resize: Some(BILINEAR),
            ..CONVERT
        };
        let asked = Cell::new(0);
        let after = |limit: usize| {
            asked.set(0);
            let stop = || {
                asked.set(asked.get() + 1);
                asked.get() > limit
            };
            decode_file(&bytes, grey_shape(), options, DecodeLimits::default(), &stop)
        };
        assert!(after(usize::MAX).is_ok());
        let all = asked.get();
        assert!(all > 10, "{format:?} asks {all} times");
        for limit in [0, 1, all / 2, all - 1] {
            assert_eq!(after(limit), Err(MediaError::Cancelled), "{format:?} {limit} of {all}");
            assert_eq!(asked.get(), limit + 1, "{format:?} goes on");
        }
    }
}

#[test]
fn floating_point_files_are_refused_whatever_they_hold() {
    let image = ImageBuffer::<Rgb<f32>, _>::from_pixel(5, 4, Rgb([f32::NAN, 0.5, f32::INFINITY]));
    let bytes = file(image, ImageFormat::Tiff);
    refused(&bytes, rgb_shape(), CONVERT, &["floating-point"]);
    refused(&bytes, rgb_shape(), RESIZE, &["floating-point"]);
}

#[test]
fn interlaced_files_are_read() {
    // 8 × 8 grey pixels in seven passes, compressed without compression.
    let value = |x: usize, y: usize| (x * 20 + y * 3) as u8;
    let mut raw = Vec::new();
    for (x, y, dx, dy) in [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ] {
        for row in (y..8).step_by(dy) {
            raw.push(0);
            raw.extend((x..8).step_by(dx).map(|column| value(column, row)));
        }
    }
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let body = [&kind[..], data].concat();
        [
            &(data.len() as u32).to_be_bytes()[..],
            &body,
            &crc32(&body).to_be_bytes(),
        ]
        .concat()
    };
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::none());
    std::io::Write::write_all(&mut encoder, &raw).unwrap();
    let bytes = [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &[0, 0, 0, 8, 0, 0, 0, 8, 8, 0, 0, 0, 1]),
        chunk(b"IDAT", &encoder.finish().unwrap()),
        chunk(b"IEND", &[]),
    ]
    .concat();
    let same = GrayImage::from_fn(8, 8, |x, y| Luma([value(x as usize, y as usize)]));
    let plain = file(same, ImageFormat::Png);
    for side in [8, 3, 20] {
        let shape = ImageShape::new(1, side, side, 256).unwrap();
        assert_eq!(
            read(&bytes, shape, RESIZE).unwrap(),
            read(&plain, shape, RESIZE).unwrap()
        );
    }
}
