//! Known formats that are not supported, so that whoever sends one is told what it is and what to do.

/// Bytes at a place of a file, and the format that they tell.
const SIGNATURES: &[(usize, &[u8], &str)] = &[
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"%PDF-", "PDF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\0\0\x01\0", "ICO"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"qoif", "QOI"),
    (0, b"DDS ", "DDS"),
    (0, b"<svg", "SVG"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5"),
    (128, b"DICM", "DICOM"),
];

/// Brands of files made of ISO boxes, and the formats that they tell. What is more particular comes first.
const BRANDS: &[(&[u8; 4], &str)] = &[
    (b"avif", "AVIF"),
    (b"avis", "AVIF"),
    (b"heic", "HEIC"),
    (b"heix", "HEIC"),
    (b"hevc", "HEIC"),
    (b"mif1", "HEIF"),
    (b"msf1", "HEIF"),
];

/// Most brands that are looked at.
const MOST_BRANDS: usize = 32;

/// The format of a file that is not read, if it is one that people send.
pub(super) fn format(bytes: &[u8]) -> Option<&'static str> {
    let is_there = |(place, signature, _): &&(usize, &[u8], &str)| {
        let found = bytes.get(*place..).unwrap_or_default();
        found.starts_with(signature)
    };
    let told = SIGNATURES.iter().find(is_there).map(|(.., format)| *format);
    told.or_else(|| of_boxes(bytes))
}

/// The first box names the file's own brand and those that it is compatible with, a version between them.
fn of_boxes(bytes: &[u8]) -> Option<&'static str> {
    let (size, rest) = bytes.split_first_chunk::<4>()?;
    let brands = rest.strip_prefix(b"ftyp")?;
    let size = (u32::from_be_bytes(*size) as usize).saturating_sub(8);
    let brands = &brands[..size.min(brands.len())];
    let has = |brand: &[u8; 4]| brands.chunks_exact(4).take(MOST_BRANDS).any(|own| own == brand);
    let told = BRANDS.iter().find(|(brand, _)| has(brand));
    told.map(|(_, format)| *format)
}
