//! NumPy's array files (format versions 1.0 to 3.0): images and vectors in, arrays out.
//!
//! The header is text from a stranger. It is read by hand, in one pass without recursion, and the shape that it
//! declares is held against the bytes that came before anything is allocated.

use crate::domain::image::{Image, ImageShape};

use super::{MediaError, convert};

mod header;
mod reader;

use self::header::{Header, header};
pub use self::{header::NPY_MAGIC, reader::NpyImages};

/// Reads uint8 levels [N, H, W, C], [N, H, W] of a model with one channel, or one image [H, W, C] or [H, W] alone.
/// `limit` is the number of images allowed.
pub fn read_images(bytes: &[u8], shape: ImageShape, limit: usize) -> Result<Vec<Image>, MediaError> {
    images_of(bytes, &Header::read(bytes)?, shape, limit)
}

/// The same, the images as large as the array says, from the shape's size on.
pub fn read_images_of_any_size(bytes: &[u8], shape: ImageShape, limit: usize) -> Result<Vec<Image>, MediaError> {
    let header = Header::read(bytes)?;
    let shape = reader::size(&header, shape)?;
    images_of(bytes, &header, shape, limit)
}

fn images_of(bytes: &[u8], header: &Header, shape: ImageShape, limit: usize) -> Result<Vec<Image>, MediaError> {
    let count = reader::images(header, shape)?;
    let wanted = || reader::wanted(shape);
    let data = header.data(bytes, 1, wanted)?;
    check_count(count, limit)?;
    data.chunks_exact(shape.dimensions())
        .enumerate()
        .map(|(index, levels)| {
            let planes = convert::to_planes(levels.to_vec(), shape.channels());
            Image::new(shape, planes).map_err(|error| MediaError::NpyArray {
                found: format!("is not one of images: image {index}: {error}"),
                wanted: wanted(),
            })
        })
        .collect()
}

/// Reads float32 or float64 vectors of shape (N, `size`), or one vector (`size`) alone. `limit` is the number of
/// vectors allowed.
pub fn read_vectors(bytes: &[u8], size: usize, limit: usize) -> Result<Vec<Vec<f32>>, MediaError> {
    let header = Header::read(bytes)?;
    let wanted = || format!("float32 or float64 of shape [N, {size}] in C order, little-endian");
    let item = match header.descr.as_str() {
        "<f4" => 4,
        "<f8" => 8,
        _ => return Err(header.unwanted(wanted())),
    };
    let count = match header.shape[..] {
        [n, length] if length == size as u64 => n,
        [length] if length == size as u64 => 1,
        _ => return Err(header.unwanted(wanted())),
    };
    let data = header.data(bytes, item, wanted)?;
    check_count(count, limit)?;
    if size == 0 {
        return Ok(vec![Vec::new(); count as usize]);
    }
    Ok(data
        .chunks_exact(size * item)
        .map(|vector| match item {
            4 => numbers(vector, f32::from_le_bytes),
            _ => numbers(vector, |bytes| f64::from_le_bytes(bytes) as f32),
        })
        .collect())
}

/// Reads float64 numbers of shape (N).
pub fn read_f64(bytes: &[u8]) -> Result<Vec<f64>, MediaError> {
    read_f64_table(bytes, &[])
}

/// Reads rows of double-precision numbers, float64 of shape [N, sizes…], row by row.
pub fn read_f64_table(bytes: &[u8], sizes: &[usize]) -> Result<Vec<f64>, MediaError> {
    let header = Header::read(bytes)?;
    let wanted = || {
        let sizes: String = sizes.iter().map(|size| format!(", {size}")).collect();
        format!("float64 of shape [N{sizes}] in C order, little-endian")
    };
    let fits = |(&found, &size): (&u64, &usize)| usize::try_from(found) == Ok(size);
    let is_wanted = header.shape.len() == 1 + sizes.len() && header.shape[1..].iter().zip(sizes).all(fits);
    if header.descr != "<f8" || !is_wanted {
        return Err(header.unwanted(wanted()));
    }
    let data = header.data(bytes, 8, wanted)?;
    let (numbers, _) = data.as_chunks::<8>();
    Ok(numbers.iter().map(|&number| f64::from_le_bytes(number)).collect())
}

/// Reads integers of shape (N): signed or unsigned, of 1 to 8 bytes, little-endian.
pub fn read_integers(bytes: &[u8]) -> Result<Vec<i64>, MediaError> {
    let header = Header::read(bytes)?;
    let wanted = || "integers of shape [N], little-endian".to_owned();
    let (kind, item) = match header.descr.as_str() {
        "|u1" => ("u", 1),
        "|i1" => ("i", 1),
        "<u2" | "<u4" | "<u8" => ("u", usize::from(header.descr.as_bytes()[2] - b'0')),
        "<i2" | "<i4" | "<i8" => ("i", usize::from(header.descr.as_bytes()[2] - b'0')),
        _ => return Err(header.unwanted(wanted())),
    };
    if header.shape.len() != 1 {
        return Err(header.unwanted(wanted()));
    }
    let data = header.data(bytes, item, wanted)?;
    data.chunks_exact(item)
        .map(|number| {
            let negative = kind == "i" && number[item - 1] >= 0x80;
            let mut wide = [if negative { 0xff } else { 0 }; 8];
            wide[..item].copy_from_slice(number);
            let value = i64::from_le_bytes(wide);
            if kind == "u" && value < 0 {
                return Err(MediaError::NpyArray {
                    found: format!("holds {}", u64::from_le_bytes(wide)),
                    wanted: format!("integers up to {}", i64::MAX),
                });
            }
            Ok(value)
        })
        .collect()
}

/// Reads float32, float64 or int64 numbers of shape [N, `columns`…], row after row.
pub fn read_numbers(bytes: &[u8], columns: &[usize]) -> Result<Vec<f64>, MediaError> {
    let header = Header::read(bytes)?;
    let wanted = || {
        let columns: String = columns.iter().map(|c| format!(", {c}")).collect();
        format!("float32, float64 or int64 of shape [N{columns}]")
    };
    let is_wanted = match header.shape.as_slice() {
        [_, rest @ ..] => rest.iter().copied().eq(columns.iter().map(|&c| c as u64)),
        [] => false,
    };
    if !is_wanted {
        return Err(header.unwanted(wanted()));
    }
    let double = |data: &[u8], read: fn([u8; 8]) -> f64| -> Vec<f64> {
        let (chunks, _) = data.as_chunks::<8>();
        chunks.iter().map(|&chunk| read(chunk)).collect()
    };
    Ok(match header.descr.as_str() {
        "<f4" => {
            let (chunks, _) = header.data(bytes, 4, wanted)?.as_chunks::<4>();
            let single = |&chunk: &[u8; 4]| f64::from(f32::from_le_bytes(chunk));
            chunks.iter().map(single).collect()
        }
        "<f8" => double(header.data(bytes, 8, wanted)?, f64::from_le_bytes),
        "<i8" => double(header.data(bytes, 8, wanted)?, |chunk| i64::from_le_bytes(chunk) as f64),
        _ => return Err(header.unwanted(wanted())),
    })
}

/// Writes images of one shape as uint8 levels: [N, H, W] for one channel, else [N, H, W, C].
pub fn write_images(images: &[Image], shape: ImageShape) -> Vec<u8> {
    let mut lengths = vec![images.len(), shape.height(), shape.width()];
    if shape.channels() > 1 {
        lengths.push(shape.channels());
    }
    let mut bytes = header("|u1", &lengths);
    for image in images {
        bytes.extend(convert::to_interleaved(image.levels(), shape.channels()));
    }
    bytes
}

/// Writes levels of images of shape [N, C, H, W] as [`write_images`] does.
///
/// # Panics
/// If `shape` has not four axes.
pub fn write_levels(shape: &[usize], levels: &[u8]) -> Vec<u8> {
    let &[count, channels, height, width] = shape else {
        panic!("levels of images have four axes, not {}", shape.len());
    };
    let mut lengths = vec![count, height, width];
    if channels > 1 {
        lengths.push(channels);
    }
    let mut bytes = header("|u1", &lengths);
    for image in levels.chunks((channels * height * width).max(1)) {
        bytes.extend(convert::to_interleaved(image, channels));
    }
    bytes
}

/// Writes float32 numbers in C order.
///
/// # Panics
/// If the number of values is not the product of `shape`.
pub fn write_f32(shape: &[usize], values: impl Iterator<Item = f32>) -> Vec<u8> {
    let mut bytes = header("<f4", shape);
    let total = bytes.len() + 4 * shape.iter().product::<usize>();
    bytes.reserve_exact(total - bytes.len());
    values.for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    assert_eq!(bytes.len(), total);
    bytes
}

/// Writes float64 numbers in C order.
///
/// # Panics
/// If the number of values is not the product of `shape`.
pub fn write_f64(shape: &[usize], values: impl Iterator<Item = f64>) -> Vec<u8> {
    let mut bytes = header("<f8", shape);
    let total = bytes.len() + 8 * shape.iter().product::<usize>();
    bytes.reserve_exact(total - bytes.len());
    values.for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
    assert_eq!(bytes.len(), total);
    bytes
}

fn numbers<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| read(chunk)).collect()
}

fn check_count(count: u64, limit: usize) -> Result<(), MediaError> {
    if count > limit as u64 {
        return Err(MediaError::TooManyItems { count, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey() -> ImageShape {
        ImageShape::new(1, 2, 3, 256).unwrap()
    }

    fn array(descr: &str, shape: &[usize], data: &[u8]) -> Vec<u8> {
        [header(descr, shape), data.to_vec()].concat()
    }

    fn refused(bytes: &[u8], parts: &[&str]) {
        let message = read_images(bytes, grey(), 4).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{message:?} lacks {part:?}");
        }
    }

    #[test]
    fn images_come_back_as_they_went() {
        for channels in [1, 3] {
            let shape = ImageShape::new(channels, 2, 3, 256).unwrap();
            let images: Vec<_> = (0..2u8)
                .map(|i| {
                    let levels: Vec<u8> = (0..shape.dimensions() as u8).map(|v| v * 3 + i).collect();
                    Image::new(shape, levels).unwrap()
                })
                .collect();
            let bytes = write_images(&images, shape);
            assert_eq!(read_images(&bytes, shape, 2), Ok(images));
        }
    }

    #[test]
    fn one_image_needs_no_first_axis() {
        for shape in [&[2, 3][..], &[2, 3, 1], &[1, 2, 3], &[1, 2, 3, 1]] {
            let images = read_images(&array("|u1", shape, &[1, 2, 3, 4, 5, 6]), grey(), 4);
            assert_eq!(images.unwrap()[0].levels(), [1, 2, 3, 4, 5, 6]);
        }
        assert_eq!(read_images(&array("|u1", &[0, 2, 3], &[]), grey(), 4), Ok(vec![]));
    }

    #[test]
    fn wrong_arrays_are_told_what_would_be_right() {
        refused(
            &array("<f4", &[1, 2, 3], &[0; 24]),
            &["float32", "uint8 of shape [N, 2, 3, 1]"],
        );
        refused(&array("<i8", &[1, 2, 3], &[0; 48]), &["'<i8'", "uint8"]);
        refused(&array("|u1", &[1, 3, 2], &[0; 6]), &["[1, 3, 2]", "[N, 2, 3]"]);
        refused(&array("|u1", &[1, 2, 3, 3], &[0; 18]), &["[1, 2, 3, 3]", "[N, 2, 3]"]);
        refused(&array("|u1", &[5, 2, 3], &[0; 30]), &["5 items", "at most 4"]);
        refused(&array("|u1", &[2, 2, 3], &[0; 11]), &["12 bytes", "11"]);
        refused(&array("|u1", &[2, 2, 3], &[0; 13]), &["12 bytes", "13"]);
        let few = ImageShape::new(1, 2, 3, 4).unwrap();
        let error = read_images(&array("|u1", &[2, 3], &[0, 1, 2, 3, 4, 0]), few, 1).unwrap_err();
        assert!(error.to_string().contains("value 4 at index 4"), "{error}");
    }

    #[test]
    fn integers_of_every_width_are_read() {
        for (descr, data) in [
            ("|u1", &[200, 3][..]),
            ("<u2", &[200, 0, 3, 0]),
            ("<i4", &[200, 0, 0, 0, 3, 0, 0, 0]),
            ("<i8", &[200, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            assert_eq!(read_integers(&array(descr, &[2], data)), Ok(vec![200, 3]));
        }
        assert_eq!(read_integers(&array("<i2", &[1], &[0xfe, 0xff])), Ok(vec![-2]));
        for (descr, shape, data, wrong) in [
            ("<f4", &[1][..], &[0; 4][..], "float32"),
            ("|u1", &[1, 1], &[0], "[1, 1]"),
            ("|u1", &[2], &[0], "2 bytes"),
            ("<u8", &[1], &[255; 8], "18446744073709551615"),
        ] {
            let error = read_integers(&array(descr, shape, data)).unwrap_err();
            assert!(error.to_string().contains(wrong), "{error}");
        }
    }

    #[test]
    fn numbers_of_each_type_are_read() {
        let wanted = vec![1.0, -2.0];
        let single = write_f32(&[1, 2], [1.0, -2.0].into_iter());
        let double = write_f64(&[1, 2], [1.0, -2.0].into_iter());
        let whole = [1i64.to_le_bytes(), (-2i64).to_le_bytes()].concat();
        assert_eq!(read_numbers(&single, &[2]), Ok(wanted.clone()));
        assert_eq!(read_numbers(&double, &[2]), Ok(wanted.clone()));
        assert_eq!(read_numbers(&array("<i8", &[2], &whole), &[]), Ok(wanted));
        for wrong in [
            array("<i8", &[], &whole),
            array("<i4", &[2], &whole[..8]),
            array("<i8", &[2], &whole[..8]),
            single,
        ] {
            assert!(read_numbers(&wrong, &[]).is_err());
        }
    }

    #[test]
    fn vectors_of_both_precisions_are_read() {
        let single = write_f32(&[2, 2], [1.0, 2.0, 3.0, 4.5].into_iter());
        let double = write_f64(&[2, 2], [1.0, 2.0, 3.0, 4.5].into_iter());
        let wanted = vec![vec![1.0, 2.0], vec![3.0, 4.5]];
        assert_eq!(read_vectors(&single, 2, 2), Ok(wanted.clone()));
        assert_eq!(read_vectors(&double, 2, 2), Ok(wanted));
        let alone = write_f32(&[2], [1.0, 2.0].into_iter());
        assert_eq!(read_vectors(&alone, 2, 2), Ok(vec![vec![1.0, 2.0]]));
        assert!(read_vectors(&single, 3, 2).unwrap_err().to_string().contains("[N, 3]"));
        assert!(read_vectors(&single, 2, 1).unwrap_err().is_too_large());
        let big = array(">f4", &[1, 2], &[0; 8]);
        assert!(
            read_vectors(&big, 2, 1)
                .unwrap_err()
                .to_string()
                .contains("little-endian")
        );
    }
}
