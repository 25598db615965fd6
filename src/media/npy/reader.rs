//! Arrays read item by item, from anything that can be read: a file larger than memory, a pipe, a decompressor.
//!
//! Nothing is allocated by what a header claims, and every number in it is multiplied with care.

use std::io::{self, Read};

use crate::{
    domain::image::{Image, ImageShape},
    media::{MediaError, convert, error::of_size},
};

use super::header::Header;

/// An array whose header has been read.
#[derive(Debug)]
pub struct NpyReader<R> {
    reader: R,
    header: Header,
    /// Bytes of one value.
    item: usize,
    declared: u64,
    read: u64,
    is_cut_short: bool,
}

impl<R: Read> NpyReader<R> {
    /// Reads the header of an array of numbers in C order: integers of 1 to 8 bytes, float32 or float64, little-endian.
    pub fn new(mut reader: R) -> Result<Self, MediaError> {
        let header = Header::from_reader(&mut reader)?;
        let wanted = || "integers, float32 or float64 in C order, little-endian".to_owned();
        let Some(item) = item(&header.descr) else {
            return Err(header.unwanted(wanted()));
        };
        let declared = header.declared(item, wanted)?;
        Ok(Self {
            reader,
            header,
            item,
            declared,
            read: 0,
            is_cut_short: false,
        })
    }

    /// Length of each axis.
    pub fn shape(&self) -> &[u64] {
        &self.header.shape
    }

    /// The type of a value in NumPy's notation, such as `<f4`.
    pub fn descr(&self) -> &str {
        &self.header.descr
    }

    /// Whether the file turned out to end before its array. Nothing more can be read then.
    pub fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// Reads the next values as they are stored, as many bytes as there is room for.
    ///
    /// # Errors
    /// If the file ends before, or its array does.
    pub fn next_bytes(&mut self, bytes: &mut [u8]) -> Result<(), MediaError> {
        let left = self.declared - self.read;
        if bytes.len() as u64 > left {
            return Err(MediaError::Npy(format!(
                "its shape {:?} declares no more values",
                self.header.shape
            )));
        }
        match self.reader.read_exact(bytes) {
            Ok(()) => {
                self.read += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                self.is_cut_short = true;
                Err(match error.kind() {
                    io::ErrorKind::UnexpectedEof => MediaError::Npy(format!(
                        "it ends before the {} bytes that its shape {:?} declares",
                        self.declared, self.header.shape
                    )),
                    _ => MediaError::Npy(error.to_string()),
                })
            }
        }
    }

    /// Reads the next values as numbers, as many as there is room for. Integers beyond 2⁵³ are rounded.
    pub fn next_numbers(&mut self, numbers: &mut [f64]) -> Result<(), MediaError> {
        let mut value = [0; 8];
        for number in numbers {
            self.next_bytes(&mut value[..self.item])?;
            *number = to_number(&self.header.descr, value);
        }
        Ok(())
    }

    /// Checks that nothing follows the values, all of which have been read.
    pub fn finish(&mut self) -> Result<(), MediaError> {
        let mut more = Vec::new();
        let follows = self.reader.by_ref().take(1).read_to_end(&mut more);
        match follows {
            Ok(0) => Ok(()),
            Ok(_) => Err(MediaError::Npy(format!(
                "more follows than the {} bytes that its shape {:?} declares",
                self.declared, self.header.shape
            ))),
            Err(error) => Err(MediaError::Npy(error.to_string())),
        }
    }
}

/// Bytes of a value of a type that is read.
fn item(descr: &str) -> Option<usize> {
    match descr {
        "|u1" | "<u1" | ">u1" | "=u1" | "u1" | "|i1" => Some(1),
        "<u2" | "<i2" => Some(2),
        "<u4" | "<i4" | "<f4" => Some(4),
        "<u8" | "<i8" | "<f8" => Some(8),
        _ => None,
    }
}

/// A little-endian value, the bytes behind which may be anything.
fn to_number(descr: &str, value: [u8; 8]) -> f64 {
    let [a, b, c, d, ..] = value;
    match descr {
        "|i1" => f64::from(i8::from_le_bytes([a])),
        "<u2" => f64::from(u16::from_le_bytes([a, b])),
        "<i2" => f64::from(i16::from_le_bytes([a, b])),
        "<u4" => f64::from(u32::from_le_bytes([a, b, c, d])),
        "<i4" => f64::from(i32::from_le_bytes([a, b, c, d])),
        "<f4" => f64::from(f32::from_le_bytes([a, b, c, d])),
        "<u8" => u64::from_le_bytes(value) as f64,
        "<i8" => i64::from_le_bytes(value) as f64,
        "<f8" => f64::from_le_bytes(value),
        _ => f64::from(a),
    }
}

/// An array of a model's images, uint8 levels as [`super::read_images`] takes them, read image by image.
#[derive(Debug)]
pub struct NpyImages<R> {
    array: NpyReader<R>,
    shape: ImageShape,
    count: u64,
    next: u64,
}

impl<R: Read> NpyImages<R> {
    /// Reads the header, and refuses arrays that do not hold images of the shape; with `any_size` the images may be
    /// larger.
    pub fn new(reader: R, shape: ImageShape, any_size: bool) -> Result<Self, MediaError> {
        let array = NpyReader::new(reader).map_err(|error| match error {
            MediaError::NpyArray { found, .. } => MediaError::NpyArray {
                found,
                wanted: wanted(shape),
            },
            other => other,
        })?;
        let shape = if any_size { size(&array.header, shape)? } else { shape };
        let count = images(&array.header, shape)?;
        Ok(Self {
            array,
            shape,
            count,
            next: 0,
        })
    }

    /// Images that the header declares.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether the file turned out to end before its array. Nothing more can be read then.
    pub fn is_cut_short(&self) -> bool {
        self.array.is_cut_short()
    }

    /// The next image.
    ///
    /// # Errors
    /// If the file ends, or a value is no level of the model: the images after it can still be read then.
    pub fn next_image(&mut self) -> Result<Image, MediaError> {
        let mut levels = vec![0; self.shape.dimensions()];
        self.array.next_bytes(&mut levels)?;
        let index = self.next;
        self.next += 1;
        let planes = convert::to_planes(levels, self.shape.channels());
        Image::new(self.shape, planes).map_err(|error| MediaError::NpyArray {
            found: format!("is not one of images: image {index}: {error}"),
            wanted: wanted(self.shape),
        })
    }

    /// Checks that nothing follows the images, all of which have been read.
    pub fn finish(&mut self) -> Result<(), MediaError> {
        self.array.finish()
    }
}

/// The shape of the images of an array that may be larger than `least`, by its header.
pub(super) fn size(header: &Header, least: ImageShape) -> Result<ImageShape, MediaError> {
    let (height, width) = match (header.shape.as_slice(), least.channels()) {
        ([.., height, width], 1) if header.shape.len() < 4 => (*height, *width),
        ([.., height, width, _], _) => (*height, *width),
        _ => return Err(header.unwanted(wanted(least))),
    };
    let length = |length: u64| usize::try_from(length).unwrap_or(usize::MAX);
    of_size(least, length(width), length(height))
}

/// How many images of a shape an array holds, by its header.
pub(super) fn images(header: &Header, shape: ImageShape) -> Result<u64, MediaError> {
    let unwanted = || header.unwanted(wanted(shape));
    if !matches!(header.descr.as_str(), "|u1" | "<u1" | ">u1" | "=u1" | "u1") {
        return Err(unwanted());
    }
    let [h, w, c] = [shape.height(), shape.width(), shape.channels()].map(|length| length as u64);
    match header.shape[..] {
        [n, rows, columns, planes] if (rows, columns, planes) == (h, w, c) => Ok(n),
        [n, rows, columns] if c == 1 && (rows, columns) == (h, w) => Ok(n),
        [rows, columns, planes] if (rows, columns, planes) == (h, w, c) => Ok(1),
        [rows, columns] if c == 1 && (rows, columns) == (h, w) => Ok(1),
        _ => Err(unwanted()),
    }
}

/// What an array of images of a shape would be.
pub(super) fn wanted(shape: ImageShape) -> String {
    let (height, width, channels) = (shape.height(), shape.width(), shape.channels());
    let mut wanted = format!("uint8 of shape [N, {height}, {width}, {channels}]");
    if channels == 1 {
        wanted += &format!(" or [N, {height}, {width}]");
    }
    wanted + " in C order, one level a value (resize=true and convert=true apply to image files only)"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{read_images, write_f32, write_images};

    fn shape() -> ImageShape {
        ImageShape::new(3, 2, 2, 16).unwrap()
    }

    fn file(count: u8) -> Vec<u8> {
        let image = |i| Image::new(shape(), vec![i % 16; 12]).unwrap();
        write_images(&(0..count).map(image).collect::<Vec<_>>(), shape())
    }

    #[test]
    fn one_by_one_or_all_at_once_images_are_the_same() {
        let bytes = file(5);
        let mut array = NpyImages::new(&bytes[..], shape(), false).unwrap();
        assert_eq!(array.count(), 5);
        let one_by_one: Vec<_> = (0..5).map(|_| array.next_image().unwrap()).collect();
        assert_eq!(Ok(one_by_one), read_images(&bytes, shape(), 5));
        array.finish().unwrap();
        assert!(array.next_image().unwrap_err().to_string().contains("no more values"));
        assert!(!array.is_cut_short());
    }

    #[test]
    fn a_bad_value_spoils_one_image_and_a_cut_file_the_rest() {
        let mut bytes = file(3);
        let start = bytes.len() - 36;
        bytes[start + 12] = 16;
        bytes.truncate(bytes.len() - 1);
        let mut array = NpyImages::new(&bytes[..], shape(), false).unwrap();
        assert!(array.next_image().is_ok());
        let error = array.next_image().unwrap_err().to_string();
        assert!(error.contains("image 1") && error.contains("16"), "{error}");
        assert!(!array.is_cut_short());
        let error = array.next_image().unwrap_err().to_string();
        assert!(error.contains("ends before the 36 bytes"), "{error}");
        assert!(array.is_cut_short());
        let long = [file(1), vec![0]].concat();
        let mut array = NpyImages::new(&long[..], shape(), false).unwrap();
        array.next_image().unwrap();
        assert!(array.finish().unwrap_err().to_string().contains("more follows"));
    }

    #[test]
    fn numbers_of_every_type_are_read() {
        for (descr, value, wanted) in [
            ("|u1", &[200][..], 200.0),
            ("|i1", &[0xFE], -2.0),
            ("<u2", &[1, 2], 513.0),
            ("<i2", &[0xFE, 0xFF], -2.0),
            ("<u4", &[0xFF; 4], 4_294_967_295.0),
            ("<i4", &[0xFE, 0xFF, 0xFF, 0xFF], -2.0),
            ("<i8", &[0xFF; 8], -1.0),
            ("<u8", &[1, 0, 0, 0, 0, 0, 0, 0], 1.0),
            ("<f4", &1.5_f32.to_le_bytes(), 1.5),
            ("<f8", &(-0.25_f64).to_le_bytes(), -0.25),
        ] {
            let bytes = [super::super::header(descr, &[2, 1]), value.repeat(2)].concat();
            let mut array = NpyReader::new(&bytes[..]).unwrap();
            assert_eq!((array.descr(), array.shape()), (descr, &[2, 1][..]));
            let mut numbers = [0.0; 2];
            array.next_numbers(&mut numbers).unwrap();
            assert_eq!(numbers, [wanted; 2], "{descr}");
            array.finish().unwrap();
        }
    }

    #[test]
    fn headers_that_cannot_be_are_refused() {
        let error = |bytes: &[u8]| NpyReader::new(bytes).unwrap_err().to_string();
        let huge = usize::MAX / 2;
        assert!(error(&super::super::header("<f8", &[huge, 3])).contains("more bytes than can exist"));
        assert!(error(&super::super::header(">f8", &[1])).contains("little-endian"));
        assert!(error(b"").contains("magic number"));
        let floats = write_f32(&[1, 2, 2, 3], [0.0; 12].into_iter());
        let error = NpyImages::new(&floats[..], shape(), false).unwrap_err().to_string();
        assert!(error.contains("float32") && error.contains("uint8"), "{error}");
    }
}
