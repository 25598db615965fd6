//! What decoding costs, measured: the bytes that are allocated at once for files that claim much, and that no bytes
//! make it panic.
//!
//! The allocator counts for each thread apart, so that tests do not see each other.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io::{Cursor, Write},
    time::Instant,
};

use density_server::{
    domain::image::ImageShape,
    media::{
        DecodeLimits, DecodeOptions, Filter, Frames, MediaError, NpyImages, Resize, cost, decode_base64, decode_file,
        decode_mask, read_images,
    },
};
use flate2::{Compression, write::ZlibEncoder};
use image::{
    Delay, DynamicImage, Frame, GrayImage, ImageBuffer, ImageFormat, Rgb, RgbImage, RgbaImage, codecs::gif::GifEncoder,
};
use proptest::prelude::*;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, with an eye on how much is held.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(change: isize) {
    // A thread that is ending has no counters any more, and nothing to measure.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: every call goes to the system's allocator unchanged; counting touches thread-locals that need no allocation.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// What a function gives, and the most bytes that it held at once beyond what was held before.
fn measured<T>(function: impl FnOnce() -> T) -> (T, u64) {
    let before = HELD.get();
    MOST.set(before);
    let result = function();
    (result, (MOST.get() - before) as u64)
}

const MIB: u64 = 1 << 20;

const EVERYTHING: DecodeOptions = DecodeOptions {
    any_size: false,
    resize: Some(Resize {
        filter: Filter::Bilinear,
        short_side: None,
    }),
    convert: true,
    frames: Frames::First,
    orient: true,
};

fn model() -> ImageShape {
    ImageShape::new(1, 28, 28, 256).unwrap()
}

/// A PNG file of zeros, with a chunk before its pixels.
fn png(width: u32, height: u32, colour: png::ColorType, deep: bool, chunk: Option<Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(colour);
    encoder.set_compression(png::Compression::High);
    let (samples, depth) = (colour.samples(), if deep { 2 } else { 1 });
    encoder.set_depth(if deep {
        png::BitDepth::Sixteen
    } else {
        png::BitDepth::Eight
    });
    let mut writer = encoder.write_header().unwrap();
    if let Some(profile) = chunk {
        let kind = png::chunk::ChunkType(*b"iCCP");
        writer.write_chunk(kind, &profile).unwrap();
    }
    let row = vec![0; width as usize * samples * depth];
    let mut stream = writer.stream_writer().unwrap();
    for _ in 0..height {
        stream.write_all(&row).unwrap();
    }
    stream.finish().unwrap();
    drop(writer);
    bytes
}

/// A colour profile that unpacks to this many bytes.
fn profile(size: usize) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(b"bomb\0\0".to_vec(), Compression::new(3));
    let block = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        encoder.write_all(&block).unwrap();
    }
    encoder.finish().unwrap()
}

/// Decodes within the bytes that the header told, and tells how long it took with `--nocapture`.
fn within_cost(name: &str, bytes: &[u8], options: DecodeOptions) -> u64 {
    let limits = DecodeLimits::default();
    let told = cost(bytes, model(), options, limits).unwrap();
    let begun = Instant::now();
    let (result, most) = measured(|| decode_file(bytes, model(), options, limits, &|| false));
    let took = begun.elapsed();
    result.unwrap_or_else(|error| panic!("{name}: {error}"));
    eprintln!(
        "{name}: {} bytes, {} pixels, {most} bytes held of {} told, {took:?}",
        bytes.len(),
        told.pixels,
        told.bytes
    );
    assert!(most <= told.bytes + MIB, "{name}: {most} bytes of {}", told.bytes);
    assert!(most <= limits.max_bytes(), "{name}: {most} bytes");
    most
}

#[test]
fn long_rows_cost_rows_and_not_pictures() {
    use png::ColorType::{Grayscale, Rgb};
    for (width, height, colour, most) in [
        (16_777_216, 1, Grayscale, 50 * MIB),
        (1_000_000, 1, Grayscale, 4 * MIB),
        (16_777_216, 1, Rgb, 150 * MIB),
        (1, 16_777_216, Grayscale, MIB),
        (4096, 4096, Rgb, MIB),
    ] {
        let bytes = png(width, height, colour, false, None);
        let held = within_cost(&format!("PNG {width}×{height} {colour:?}"), &bytes, EVERYTHING);
        assert!(held <= most, "{width}×{height}: {held}");
    }
    let deep = png(4096, 4096, png::ColorType::Rgba, true, None);
    assert!(within_cost("PNG 4096×4096 RGBA16", &deep, EVERYTHING) <= 2 * MIB);
    let longest = png(16_777_216, 1, png::ColorType::Rgba, true, None);
    let error = cost(&longest, model(), EVERYTHING, DecodeLimits::default()).unwrap_err();
    assert!(matches!(error, MediaError::TooMuchMemory { .. }), "{error}");
}

#[test]
fn profiles_that_nobody_looks_at_cost_nothing() {
    let bytes = png(28, 28, png::ColorType::Grayscale, false, Some(profile(500 << 20)));
    assert!(within_cost("PNG with a profile of 500 MiB", &bytes, EVERYTHING) <= MIB);
}

#[test]
fn every_format_stays_within_what_its_header_tells() {
    let rgb = DynamicImage::from(RgbImage::from_fn(4096, 4096, |x, y| {
        Rgb([(x / 16) as u8, (y / 16) as u8, (x * y / 65_536) as u8])
    }));
    for format in [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Bmp,
        ImageFormat::Pnm,
        ImageFormat::Tiff,
    ] {
        let mut file = Cursor::new(Vec::new());
        rgb.write_to(&mut file, format).unwrap();
        within_cost(&format!("{format:?} 4096×4096"), file.get_ref(), EVERYTHING);
    }
    let mut file = Vec::new();
    let grey = DynamicImage::from(GrayImage::new(4096, 4096));
    let mut encoder = GifEncoder::new_with_speed(&mut file, 30);
    encoder.encode_frame(Frame::new(grey.to_rgba8())).unwrap();
    drop(encoder);
    within_cost("Gif 4096×4096", &file, EVERYTHING);
    let deep: DynamicImage = ImageBuffer::<Rgb<u16>, _>::new(2048, 2048).into();
    let mut file = Cursor::new(Vec::new());
    deep.write_to(&mut file, ImageFormat::Tiff).unwrap();
    within_cost("Tiff 2048×2048 RGB16", file.get_ref(), EVERYTHING);
}

#[test]
fn frames_that_take_few_bytes_each_are_counted_before_any_is_decoded() {
    let mut file = Vec::new();
    let mut encoder = GifEncoder::new_with_speed(&mut file, 30);
    for _ in 0..1000 {
        let frame = Frame::from_parts(RgbaImage::new(1, 1), 0, 0, Delay::from_numer_denom_ms(1, 1));
        encoder.encode_frame(frame).unwrap();
    }
    drop(encoder);
    let all = DecodeOptions {
        frames: Frames::All,
        ..EVERYTHING
    };
    let limits = DecodeLimits::default();
    let (result, most) = measured(|| decode_file(&file, model(), all, limits, &|| false));
    assert!(result.unwrap_err().is_too_large());
    assert!(most < MIB);
    let limits = DecodeLimits {
        max_frames: 1000,
        ..limits
    };
    let images = decode_file(&file, model(), all, limits, &|| false).unwrap().images;
    assert_eq!(images.len(), 1000);
}

#[test]
fn a_stream_of_arrays_costs_an_image() {
    let shape = ImageShape::new(1, 100, 100, 256).unwrap();
    let header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (100000, 100, 100), }";
    let mut start = b"\x93NUMPY\x01\x00".to_vec();
    start.extend((header.len() as u16).to_le_bytes());
    start.extend(header);
    let (read, most) = measured(|| {
        let file = std::io::Read::chain(&start[..], std::io::repeat(7));
        let mut array = NpyImages::new(file, shape, false).unwrap();
        (0..1000).filter(|_| array.next_image().is_ok()).count()
    });
    assert_eq!(read, 1000);
    assert!(most < 100_000, "{most}");
}

/// Everything that reads bytes of a stranger reads these.
fn read_everything(bytes: &[u8]) {
    let limits = DecodeLimits {
        max_pixels: 1 << 16,
        max_frames: 8,
    };
    for frames in [Frames::Only, Frames::First, Frames::All] {
        for shape in [model(), ImageShape::new(4, 5, 3, 7).unwrap()] {
            let options = DecodeOptions { frames, ..EVERYTHING };
            let told = cost(bytes, shape, options, limits);
            let (result, most) = measured(|| decode_file(bytes, shape, options, limits, &|| false));
            match (told, result) {
                (Err(told), result) => assert_eq!(Err(told), result),
                (Ok(_), Err(error)) => assert!(error.to_string().len() < 1000, "{error}"),
                (Ok(_), Ok(decoded)) => assert!(!decoded.images.is_empty()),
            }
            assert!(most < limits.max_bytes() + 4 * MIB, "{most}");
        }
    }
    let _ = decode_mask(bytes, model(), None, limits);
    let _ = read_images(bytes, model(), 4);
    if let Ok(mut array) = NpyImages::new(bytes, model(), false) {
        let _ = array.next_image();
        let _ = array.finish();
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = decode_base64(text);
    }
}

/// Small files of every format.
fn files() -> Vec<Vec<u8>> {
    let picture = DynamicImage::from(RgbImage::from_fn(9, 7, |x, y| Rgb([(x * 20) as u8, (y * 30) as u8, 9])));
    let mut files: Vec<Vec<u8>> = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Bmp,
        ImageFormat::Pnm,
        ImageFormat::Tiff,
    ]
    .into_iter()
    .map(|format| {
        let mut file = Cursor::new(Vec::new());
        picture.write_to(&mut file, format).unwrap();
        file.into_inner()
    })
    .collect();
    let mut animation = Vec::new();
    let mut encoder = png::Encoder::new(&mut animation, 3, 2);
    encoder.set_animated(2, 0).unwrap();
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&[1; 6]).unwrap();
    writer.write_image_data(&[2; 6]).unwrap();
    writer.finish().unwrap();
    files.push(animation);
    files.push(b"P5 2 1 255\nabP5 2 1 255\ncd".to_vec());
    files
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        read_everything(&bytes);
    }

    #[test]
    fn no_damage_to_a_file_makes_a_reader_panic(
        file in prop::sample::select(files()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = file;
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if is_cut {
            bytes.truncate(end.index(bytes.len()));
        }
        read_everything(&bytes);
    }
}
