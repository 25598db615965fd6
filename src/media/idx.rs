//! IDX arrays, the format of MNIST and Fashion-MNIST, read item by item.
//!
//! A file begins with two zero bytes, a byte for the type of its values, a byte for the number of its axes, and the
//! length of each axis in four bytes, the most significant first. The values follow in C order. Nothing is allocated by
//! what a header claims.

use std::io::{self, Read};

/// More axes than any array of images or labels has.
const MAX_AXES: u8 = 8;

/// The type of values that are read.
const UNSIGNED_BYTES: u8 = 0x08;

/// What is wrong with an IDX file.
#[derive(Debug, thiserror::Error)]
pub enum IdxError {
    /// The first four bytes are others.
    #[error("it does not begin as an IDX file does, with two zero bytes, a type and 1 to {MAX_AXES} axes")]
    Magic,
    /// The values are of another type.
    #[error("its values are {found}; wanted are unsigned bytes (type 0x08)")]
    Type {
        /// The type by name.
        found: String,
    },
    /// The file ends before the lengths of its axes do.
    #[error("it ends inside its header")]
    Header,
    /// The product of the lengths does not fit into 64 bits.
    #[error("its shape {0:?} declares more values than can exist")]
    Absurd(Vec<u64>),
    /// The file ends before its values do.
    #[error("it ends after {found} of the {declared} values that its shape {shape:?} declares")]
    CutShort {
        /// Values that are there.
        found: u64,
        /// Values that should be.
        declared: u64,
        /// Length of each axis.
        shape: Vec<u64>,
    },
    /// Values are followed by something else.
    #[error("more bytes follow than the {declared} values that its shape {shape:?} declares")]
    TooLong {
        /// Values that should be.
        declared: u64,
        /// Length of each axis.
        shape: Vec<u64>,
    },
    /// The file cannot be read, or its compression is damaged.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// An array of unsigned bytes whose header has been read.
#[derive(Debug)]
pub struct IdxReader<R> {
    reader: R,
    shape: Vec<u64>,
    declared: u64,
    read: u64,
}

/// Whether a file that begins so is an IDX array of any type. No image format begins with two zero bytes and one of the
/// types.
pub fn is_idx(start: &[u8]) -> bool {
    matches!(start, [0, 0, 0x08 | 0x09 | 0x0B..=0x0E, 1..=MAX_AXES, ..])
}

impl<R: Read> IdxReader<R> {
    /// Reads the header.
    pub fn new(mut reader: R) -> Result<Self, IdxError> {
        let mut magic = [0; 4];
        if fill(&mut reader, &mut magic)? < magic.len() || !is_idx(&magic) {
            return Err(IdxError::Magic);
        }
        let [_, _, kind, axes] = magic;
        if kind != UNSIGNED_BYTES {
            let found = match kind {
                0x09 => "signed bytes",
                0x0B => "16-bit integers",
                0x0C => "32-bit integers",
                0x0D => "float32",
                _ => "float64",
            };
            return Err(IdxError::Type {
                found: format!("{found} (type {kind:#04x})"),
            });
        }
        let mut shape = Vec::new();
        for _ in 0..axes {
            let mut length = [0; 4];
            if fill(&mut reader, &mut length)? < length.len() {
                return Err(IdxError::Header);
            }
            shape.push(u64::from(u32::from_be_bytes(length)));
        }
        let declared = shape
            .iter()
            .try_fold(1_u64, |product, &length| product.checked_mul(length))
            .ok_or_else(|| IdxError::Absurd(shape.clone()))?;
        Ok(Self {
            reader,
            shape,
            declared,
            read: 0,
        })
    }

    /// Length of each axis.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }

    /// Reads the next values, as many as `item` has room for.
    pub fn next_into(&mut self, item: &mut [u8]) -> Result<(), IdxError> {
        let found = fill(&mut self.reader, item)?;
        self.read += found as u64;
        if found < item.len() {
            return Err(IdxError::CutShort {
                found: self.read,
                declared: self.declared,
                shape: self.shape.clone(),
            });
        }
        Ok(())
    }

    /// Checks that nothing follows the values, all of which have been read. A compressed file is only known to be sound
    /// at its end.
    pub fn finish(&mut self) -> Result<(), IdxError> {
        if fill(&mut self.reader, &mut [0])? > 0 {
            return Err(IdxError::TooLong {
                declared: self.declared,
                shape: self.shape.clone(),
            });
        }
        Ok(())
    }

    /// Every value of an array of one axis, and nothing after them. Memory grows with what is there, not with what is
    /// declared.
    pub fn into_values(mut self) -> Result<Vec<u8>, IdxError> {
        let mut values = Vec::new();
        self.reader.by_ref().take(self.declared).read_to_end(&mut values)?;
        self.read = values.len() as u64;
        if self.read < self.declared {
            return Err(IdxError::CutShort {
                found: self.read,
                declared: self.declared,
                shape: self.shape,
            });
        }
        self.finish()?;
        Ok(values)
    }
}

/// Reads until `buffer` is full or there is nothing more, and tells how much there was.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(kind: u8, shape: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, kind, shape.len() as u8];
        for length in shape {
            bytes.extend(length.to_be_bytes());
        }
        bytes.extend(values);
        bytes
    }

    #[test]
    fn values_come_back_with_their_shape() {
        let bytes = file(8, &[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        let mut array = IdxReader::new(&bytes[..]).unwrap();
        assert_eq!(array.shape(), [2, 1, 3]);
        let mut item = [0; 3];
        array.next_into(&mut item).unwrap();
        array.next_into(&mut item).unwrap();
        assert_eq!(item, [4, 5, 6]);
        array.finish().unwrap();
    }

    #[test]
    fn every_way_of_being_wrong_is_told() {
        let error = |bytes: &[u8]| {
            let array = IdxReader::new(bytes);
            let values = array.and_then(IdxReader::into_values);
            values.unwrap_err().to_string()
        };
        let whole = file(8, &[3], &[1, 2, 3]);
        for length in 0..4 {
            assert!(error(&whole[..length]).contains("does not begin"));
        }
        for length in 4..8 {
            assert!(error(&whole[..length]).contains("ends inside its header"));
        }
        assert!(error(&whole[..10]).contains("after 2 of the 3 values"));
        assert!(error(&file(8, &[3], &[0; 4])).contains("more bytes follow than the 3"));
        assert!(error(&file(13, &[1], &[0; 4])).contains("float32 (type 0x0d)"));
        assert!(error(&file(8, &[u32::MAX; 3], &[])).contains("more values than can exist"));
        assert!(error(&file(8, &[u32::MAX], &[7])).contains("after 1 of the 4294967295"));
        assert!(error(&file(8, &[1; 9], &[7])).contains("1 to 8 axes"));
        assert!(error(b"\x89PNG").contains("does not begin"));
    }
}
