//! Arrays read item by item, from anything that can be read: a file larger than memory, a pipe, a decompressor.
//!
//! Nothing is allocated by what a header claims, and every number in it is multiplied with care.

use std::io::{self, Read};

use crate::{
    domain::image::{Image, ImageShape},
    media::{MediaError, convert, error::of_size},
};

use super::header::Header;

/// An array of a model's images, uint8 levels as [`super::read_images`] takes them, read image by image.
#[derive(Debug)]
pub struct NpyImages<R> {
    reader: R,
    header: Header,
    /// Bytes that the header declares.
    declared: u64,
    shape: ImageShape,
    count: u64,
    next: u64,
    is_cut_short: bool,
}

impl<R: Read> NpyImages<R> {
    /// Reads the header, and refuses arrays that do not hold images of the shape; with `any_size` the images may be
    /// larger.
    pub fn new(mut reader: R, shape: ImageShape, any_size: bool) -> Result<Self, MediaError> {
        let header = Header::from_reader(&mut reader)?;
        let declared = header.declared(1, || wanted(shape))?;
        let shape = if any_size { size(&header, shape)? } else { shape };
        let count = images(&header, shape)?;
        Ok(Self {
            reader,
            header,
            declared,
            shape,
            count,
            next: 0,
            is_cut_short: false,
        })
    }

    /// Images that the header declares.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether the file turned out to end before its array. Nothing more can be read then.
    pub fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// The next image.
    ///
    /// # Errors
    /// If the file or its array ends, or a value is no level of the model: the images after it can still be read then.
    pub fn next_image(&mut self) -> Result<Image, MediaError> {
        let index = self.next;
        if index == self.count {
            return Err(MediaError::Npy(format!(
                "its shape {:?} declares no more values",
                self.header.shape
            )));
        }
        let mut levels = vec![0; self.shape.dimensions()];
        if let Err(error) = self.reader.read_exact(&mut levels) {
            self.is_cut_short = true;
            return Err(match error.kind() {
                io::ErrorKind::UnexpectedEof => MediaError::Npy(format!(
                    "it ends before the {} bytes that its shape {:?} declares",
                    self.declared, self.header.shape
                )),
                _ => MediaError::Npy(error.to_string()),
            });
        }
        self.next += 1;
        let planes = convert::to_planes(levels, self.shape.channels());
        Image::new(self.shape, planes).map_err(|error| MediaError::NpyArray {
            found: format!("is not one of images: image {index}: {error}"),
            wanted: wanted(self.shape),
        })
    }

    /// Checks that nothing follows the images, all of which have been read.
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
    fn arrays_that_are_none_of_images_are_refused() {
        let error = |bytes: &[u8]| NpyImages::new(bytes, shape(), false).unwrap_err().to_string();
        let huge = usize::MAX / 2;
        assert!(error(&super::super::header("|u1", &[huge, 3])).contains("more bytes than can exist"));
        assert!(error(b"").contains("magic number"));
        let floats = error(&write_f32(&[1, 2, 2, 3], [0.0; 12].into_iter()));
        assert!(floats.contains("float32") && floats.contains("uint8"), "{floats}");
    }
}
