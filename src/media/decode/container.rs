//! What lies around the pixels of a file: chunks, blocks and segments, walked by their lengths.
//!
//! It tells how many frames a file holds and which way up they are, without decoding anything and without allocating:
//! what a file says about itself is read in place. It never fails; what it cannot follow, a decoder will refuse.

use std::iter;

use image::{
    ImageDecoder,
    codecs::pnm::{PnmDecoder, PnmSubtype, SampleEncoding},
};

use super::orientation::Orientation;

/// The bytes that every PNG file begins with.
pub(super) const PNG_SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// One chunk of a PNG file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk<'a> {
    pub(super) kind: [u8; 4],
    pub(super) data: &'a [u8],
    /// The chunk with its length and its checksum; shorter than it claims to be if the file ends in it.
    pub(super) whole: &'a [u8],
}

impl Chunk<'_> {
    /// Whether an image can be decoded without it. `tRNS` is ancillary by its name, and yet it says which pixels are
    /// transparent.
    pub(super) fn is_ancillary(&self) -> bool {
        self.kind[0].is_ascii_lowercase() && &self.kind != b"tRNS"
    }
}

/// The chunks of a PNG file, the last of which may be cut short.
pub(super) fn png_chunks(bytes: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut rest = bytes.strip_prefix(PNG_SIGNATURE).unwrap_or_default();
    iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (length, kind) = match rest {
            [a, b, c, d, kind @ ..] if kind.len() >= 4 => (
                u32::from_be_bytes([*a, *b, *c, *d]) as usize,
                [kind[0], kind[1], kind[2], kind[3]],
            ),
            _ => (rest.len(), [0; 4]),
        };
        let size = length.saturating_add(12).min(rest.len());
        let (whole, after) = rest.split_at(size);
        rest = after;
        let data = whole.get(8..).unwrap_or_default();
        Some(Chunk {
            kind,
            data: &data[..length.min(data.len())],
            whole,
        })
    })
}

/// Frames of a PNG file: of an animation as many as its `acTL` chunk declares, and one more if the image that everyone
/// sees is not one of them.
pub(super) fn png_frames(bytes: &[u8]) -> u64 {
    let mut declared = None;
    let mut shows_default = true;
    for chunk in png_chunks(bytes).take_while(|chunk| &chunk.kind != b"IDAT") {
        match (&chunk.kind, chunk.data) {
            (b"acTL", [a, b, c, d, ..]) => {
                declared = Some(u64::from(u32::from_be_bytes([*a, *b, *c, *d])));
            }
            (b"fcTL", _) => shows_default = false,
            _ => {}
        }
    }
    declared.map_or(1, |frames| frames + u64::from(shows_default)).max(1)
}

/// Frames of a GIF file, as many as begin.
pub(super) fn gif_frames(bytes: &[u8]) -> u64 {
    let colours = |flags: u8| {
        if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
    };
    // Behind the signature stand width, height and flags, then two bytes more.
    let Some(&flags) = bytes.get(10) else {
        return 1;
    };
    let mut position = 13 + colours(flags);
    let mut frames = 0;
    loop {
        position += match bytes.get(position) {
            Some(0x21) => 2,
            Some(0x2C) => {
                let Some(&flags) = bytes.get(position + 9) else {
                    break;
                };
                frames += 1;
                // The descriptor, its colours, and a byte for the size of codes.
                10 + colours(flags) + 1
            }
            _ => break,
        };
        // Blocks, each behind its length, up to an empty one.
        while let Some(&length) = bytes.get(position) {
            position += 1 + usize::from(length);
            if length == 0 {
                break;
            }
        }
    }
    frames.max(1)
}

/// The chunks of a WebP file: kind and data.
fn webp_chunks(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = bytes.get(12..).unwrap_or_default();
    iter::from_fn(move || {
        let (head, after) = rest.split_at_checked(8)?;
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let data = &after[..length.min(after.len())];
        rest = after.get(length.saturating_add(length % 2)..).unwrap_or_default();
        Some((&head[..4], data))
    })
}

/// Frames of a WebP file.
pub(super) fn webp_frames(bytes: &[u8]) -> u64 {
    let frames = webp_chunks(bytes).filter(|(kind, _)| kind == b"ANMF").count();
    (frames as u64).max(1)
}

/// Where the directories of a TIFF file lie, one a page. A chain that runs in a circle ends where it is longer than a
/// file can hold.
pub(super) fn tiff_pages(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    let tiff = Tiff::new(bytes);
    let next = move |directory: &u32| {
        let at = *directory as usize;
        tiff.offset(at.checked_add(2 + 12 * tiff.short(at)? as usize)?)
    };
    iter::successors(tiff.offset(4), next).take(bytes.len() / 6 + 1)
}

/// Whether no entry of the first directory of a TIFF promises more values than the file has bytes. A decoder makes room
/// for what is promised before it reads it, and takes 32 bytes for each.
pub(super) fn tiff_values_fit(bytes: &[u8]) -> bool {
    let tiff = Tiff::new(bytes);
    let Some(directory) = tiff.offset(4).map(|at| at as usize) else {
        return true;
    };
    let entries = tiff.short(directory).unwrap_or(0) as usize;
    let mut counts = (0..entries).map_while(|entry| tiff.long(directory.checked_add(2 + 12 * entry + 4)?));
    counts.all(|count| count as usize <= bytes.len())
}

/// Numbers in a TIFF, in its order of bytes.
#[derive(Clone, Copy)]
struct Tiff<'a> {
    bytes: &'a [u8],
    is_little: bool,
}

impl<'a> Tiff<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            is_little: bytes.starts_with(b"II"),
        }
    }

    fn short(self, at: usize) -> Option<u32> {
        let pair: [u8; 2] = self.bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(u32::from(if self.is_little {
            u16::from_le_bytes(pair)
        } else {
            u16::from_be_bytes(pair)
        }))
    }

    fn long(self, at: usize) -> Option<u32> {
        let (first, second) = (self.short(at)?, self.short(at.checked_add(2)?)?);
        Some(if self.is_little {
            second << 16 | first
        } else {
            first << 16 | second
        })
    }

    /// Where a directory lies; 0 is nowhere.
    fn offset(self, at: usize) -> Option<u32> {
        self.long(at).filter(|&offset| offset != 0)
    }
}

/// Where the images of a PNM file begin. Only binary files have more than one.
pub(super) fn pnm_images(bytes: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let next = move |&start: &usize| {
        let image = bytes.get(start..)?;
        let mut reader = image;
        let decoder = PnmDecoder::new(&mut reader).ok()?;
        let is_binary = matches!(
            decoder.subtype(),
            PnmSubtype::ArbitraryMap
                | PnmSubtype::Bitmap(SampleEncoding::Binary)
                | PnmSubtype::Graymap(SampleEncoding::Binary)
                | PnmSubtype::Pixmap(SampleEncoding::Binary)
        );
        let (width, height) = decoder.dimensions();
        let samples = u64::from(width) * u64::from(decoder.color_type().channel_count());
        let row = match decoder.subtype() {
            PnmSubtype::Bitmap(_) => samples.div_ceil(8),
            _ if decoder.header().maximal_sample() > 255 => samples * 2,
            _ => samples,
        };
        drop(decoder);
        let pixels = usize::try_from(row.checked_mul(height.into())?).ok()?;
        let end = (image.len() - reader.len()).checked_add(pixels)?;
        let rest = image.get(end..)?.trim_ascii_start();
        let is_image = matches!(rest, [b'P', b'1'..=b'7', space, ..] if space.is_ascii_whitespace());
        (is_binary && is_image).then(|| bytes.len() - rest.len())
    };
    iter::successors(Some(0), next)
}

/// The way up that a PNG file asks for.
pub(super) fn png_orientation(bytes: &[u8]) -> Orientation {
    let exif = png_chunks(bytes).find(|chunk| &chunk.kind == b"eXIf");
    Orientation::of_exif(exif.map_or(&[], |chunk| chunk.data))
}

/// The way up that a WebP file asks for.
pub(super) fn webp_orientation(bytes: &[u8]) -> Orientation {
    let exif = webp_chunks(bytes).find(|(kind, _)| kind == b"EXIF");
    Orientation::of_exif(exif.map_or(&[], |(_, data)| data))
}

/// The way up that a JPEG file asks for, in a segment before its first scan.
pub(super) fn jpeg_orientation(bytes: &[u8]) -> Orientation {
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let [0xFF, marker, after @ ..] = rest {
        rest = match (marker, after) {
            (0xFF, _) => &rest[1..],
            (0xDA, _) => break,
            (0x01 | 0xD0..=0xD8, _) => after,
            (_, [high, low, ..]) => {
                let length = usize::from(u16::from_be_bytes([*high, *low])).max(2);
                let Some((segment, after)) = after.split_at_checked(length) else {
                    break;
                };
                if *marker == 0xE1 && segment[2..].starts_with(b"Exif\0\0") {
                    return Orientation::of_exif(&segment[2..]);
                }
                after
            }
            _ => break,
        };
    }
    Orientation::default()
}
