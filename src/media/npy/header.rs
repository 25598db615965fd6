//! The header of an array file: a magic number, a version, a length and the text of a Python dictionary.

use std::io::{self, Read};

use crate::media::MediaError;

/// The bytes that every array file begins with.
pub const NPY_MAGIC: &[u8] = b"\x93NUMPY";

/// No header that describes a plain array is longer; one of a record type can be, and is of no use here.
const MAX_HEADER_BYTES: usize = 4096;

/// More axes than any array here has.
const MAX_AXES: usize = 8;

/// What a header declares.
#[derive(Debug, PartialEq)]
pub(super) struct Header {
    /// The type of one item in NumPy's notation.
    pub(super) descr: String,
    /// Length of each axis.
    pub(super) shape: Vec<u64>,
    fortran_order: bool,
    /// Where the items begin in a file that is read as a whole.
    start: usize,
}

impl Header {
    /// Reads the header of `bytes`.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, MediaError> {
        let mut rest = bytes;
        let header = Self::from_reader(&mut rest)?;
        Ok(Self {
            start: bytes.len() - rest.len(),
            ..header
        })
    }

    /// Reads a header and not a byte more.
    pub(super) fn from_reader(mut reader: impl Read) -> Result<Self, MediaError> {
        let malformed = |reason: &str| MediaError::Npy(reason.to_owned());
        let mut fill = |buffer: &mut [u8], otherwise: &str| {
            reader.read_exact(buffer).map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => malformed(otherwise),
                _ => MediaError::Npy(error.to_string()),
            })
        };
        const NO_MAGIC: &str = "it does not begin with the magic number \\x93NUMPY";
        const CUT_SHORT: &str = "it ends inside its header";
        let mut magic = [0; NPY_MAGIC.len()];
        fill(&mut magic, NO_MAGIC)?;
        if magic != NPY_MAGIC {
            return Err(malformed(NO_MAGIC));
        }
        let mut version = [0; 2];
        fill(&mut version, CUT_SHORT)?;
        let mut length = [0; 4];
        match version[0] {
            1 => fill(&mut length[..2], CUT_SHORT)?,
            2 | 3 => fill(&mut length, CUT_SHORT)?,
            major => {
                return Err(MediaError::Npy(format!(
                    "format version {major} is unknown; versions 1 to 3 are read"
                )));
            }
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_HEADER_BYTES {
            return Err(MediaError::Npy(format!(
                "its header claims {length} bytes; a plain array needs no more than {MAX_HEADER_BYTES}"
            )));
        }
        let mut text = vec![0; length];
        fill(&mut text, CUT_SHORT)?;
        let text = std::str::from_utf8(&text).map_err(|_| malformed("its header is not text"))?;
        Dictionary { rest: text }.read().ok_or_else(|| {
            malformed("its header is not of the form {'descr': '|u1', 'fortran_order': False, 'shape': (1, 2, 3)}")
        })
    }

    /// How many bytes the items take, `item` bytes each, if they are in C order.
    pub(super) fn declared(&self, item: usize, wanted: impl Fn() -> String) -> Result<u64, MediaError> {
        if self.fortran_order {
            return Err(MediaError::NpyArray {
                found: "is in Fortran order".to_owned(),
                wanted: wanted() + "; numpy.ascontiguousarray makes it so",
            });
        }
        self.shape
            .iter()
            .try_fold(item as u64, |product, &length| product.checked_mul(length))
            .ok_or_else(|| MediaError::Npy(format!("its shape {:?} declares more bytes than can exist", self.shape)))
    }

    /// The items, `item` bytes each, if there are exactly as many as declared and they are in C order.
    pub(super) fn data<'a>(
        &self,
        bytes: &'a [u8],
        item: usize,
        wanted: impl Fn() -> String,
    ) -> Result<&'a [u8], MediaError> {
        let declared = self.declared(item, wanted)?;
        let data = &bytes[self.start..];
        if declared != data.len() as u64 {
            return Err(MediaError::Npy(format!(
                "its shape {:?} declares {declared} bytes, but {} follow the header",
                self.shape,
                data.len()
            )));
        }
        Ok(data)
    }

    /// The error for an array of another type or shape.
    pub(super) fn unwanted(&self, wanted: String) -> MediaError {
        let name = match self.descr.as_str() {
            "|u1" => "uint8",
            "|i1" => "int8",
            "|b1" => "bool",
            "<f4" => "float32",
            "<f8" => "float64",
            _ => "dtype",
        };
        MediaError::NpyArray {
            found: format!("is {name} '{}' of shape {:?}", self.descr, self.shape),
            wanted,
        }
    }
}

/// The start of a version 1.0 file, padded so that the items begin at a multiple of 64 bytes.
pub(super) fn header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let mut axes: String = shape.iter().map(|length| format!("{length}, ")).collect();
    if shape.len() > 1 {
        axes.truncate(axes.len() - 2);
    }
    let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({axes}), }}");
    let prefix = NPY_MAGIC.len() + 4;
    let total = (prefix + text.len() + 1).next_multiple_of(64);
    let length = (total - prefix) as u16;
    let mut bytes = Vec::with_capacity(total);
    bytes.extend(NPY_MAGIC);
    bytes.extend([1, 0]);
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.resize(total - 1, b' ');
    bytes.push(b'\n');
    bytes
}

/// A reader of exactly the dictionaries that NumPy writes. Nothing nests, so nothing recurses.
struct Dictionary<'a> {
    rest: &'a str,
}

impl Dictionary<'_> {
    fn read(mut self) -> Option<Header> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.take("{")?;
        while self.take("}").is_none() {
            let key = self.string()?;
            self.take(":")?;
            let repeated = match key.as_str() {
                "descr" => descr.replace(self.string()?).is_some(),
                "fortran_order" => fortran_order.replace(self.boolean()?).is_some(),
                "shape" => shape.replace(self.tuple()?).is_some(),
                _ => true,
            };
            if repeated {
                return None;
            }
            if self.take(",").is_none() && !self.rest.trim_start().starts_with('}') {
                return None;
            }
        }
        self.rest.trim().is_empty().then_some(())?;
        Some(Header {
            descr: descr?,
            fortran_order: fortran_order?,
            shape: shape?,
            start: 0,
        })
    }

    fn take(&mut self, token: &str) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(token)?;
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        let text = self.rest.trim_start();
        let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (content, rest) = text[1..].split_once(quote)?;
        self.rest = rest;
        // A type or key is a short word; what else a string could say is not repeated in a message.
        (content.len() <= 16 && content.chars().all(|c| c.is_ascii_graphic())).then(|| content.to_owned())
    }

    fn boolean(&mut self) -> Option<bool> {
        if self.take("True").is_some() {
            return Some(true);
        }
        self.take("False").map(|()| false)
    }

    fn tuple(&mut self) -> Option<Vec<u64>> {
        let mut lengths = Vec::new();
        self.take("(")?;
        while self.take(")").is_none() {
            let text = self.rest.trim_start();
            let digits = text.bytes().take_while(u8::is_ascii_digit).count();
            lengths.push(text[..digits].parse().ok()?);
            self.rest = &text[digits..];
            if lengths.len() > MAX_AXES || (self.take(",").is_none() && !self.rest.trim_start().starts_with(')')) {
                return None;
            }
        }
        Some(lengths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Vec<u8> {
        let mut bytes = [NPY_MAGIC, &[1, 0]].concat();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes
    }

    #[test]
    fn headers_of_numpy_are_read() {
        for (text, shape) in [
            (
                "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 28, 28), }   \n",
                vec![2, 28, 28],
            ),
            ("{'descr': '|u1', 'fortran_order': False, 'shape': (7,), }", vec![7]),
            ("{'shape': (), 'fortran_order': False, 'descr': \"|u1\"}", vec![]),
        ] {
            let header = Header::read(&file(text)).unwrap();
            assert_eq!(header.shape, shape);
            assert_eq!(header.descr, "|u1");
            assert!(!header.fortran_order);
        }
        let written = header("<f4", &[3]);
        assert_eq!(written.len() % 64, 0);
        assert!(String::from_utf8_lossy(&written).contains("'shape': (3, ), }"));
        assert_eq!(Header::read(&written).unwrap().shape, [3]);
        let mut second = [NPY_MAGIC, &[2, 0]].concat();
        second.extend((written.len() as u32 - 10).to_le_bytes());
        second.extend(&written[10..]);
        assert_eq!(Header::read(&second).unwrap().shape, [3]);
    }

    #[test]
    fn hostile_headers_are_refused_without_allocating() {
        let enormous = "{'descr': '|u1', 'fortran_order': False, 'shape': (1152921504606846976, 28, 28), }";
        let huge = Header::read(&file(enormous)).unwrap();
        let error = huge.data(&file(enormous), 1, String::new).unwrap_err();
        assert!(error.to_string().contains("more bytes than can exist"), "{error}");
        let fortran = file("{'descr': '|u1', 'fortran_order': True, 'shape': (0,)}");
        let error = Header::read(&fortran)
            .unwrap()
            .data(&fortran, 1, String::new)
            .unwrap_err();
        assert!(error.to_string().contains("Fortran order"), "{error}");
        let deep = format!("{{'descr': {}", "[(".repeat(1000));
        for text in [
            "",
            "{",
            "{}",
            "{'descr': '|u1', 'fortran_order': False}",
            "{'descr': '|u1', 'fortran_order': 0, 'shape': ()}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,)}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (,)}",
            "{'descr': '|u1', 'descr': '|u1', 'fortran_order': False, 'shape': ()}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': (), 'x': 'y'}",
            "{'descr': '|u1', 'fortran_order': False, 'shape': ()} more",
            "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': ()}",
            "{'descr': 'é', 'fortran_order': False, 'shape': ()}",
            &deep,
        ] {
            let error = Header::read(&file(text)).unwrap_err();
            assert!(error.to_string().contains("'fortran_order': False"), "{text}: {error}");
        }
        let mut long = [NPY_MAGIC, &[2, 0]].concat();
        long.extend(u32::MAX.to_le_bytes());
        assert!(Header::read(&long).unwrap_err().to_string().contains("4294967295"));
        let whole = file(enormous);
        for length in 0..whole.len() {
            assert!(Header::read(&whole[..length]).is_err(), "cut to {length}");
        }
    }
}
