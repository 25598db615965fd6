//! An npy array written row by row, when nobody knows yet how many rows there will be.
//!
//! The header is written with room to spare and filled in at the end, so that the rows never gather in memory.

use std::io::{self, Seek, SeekFrom, Write};

/// Bytes of the header: enough for the largest row count and shape, and a multiple of 64 as the format asks.
const HEADER_BYTES: usize = 192;

/// The format's first ten bytes: magic, version 1.0, and the length of the description that follows.
const PREFIX_BYTES: usize = 10;

/// The type of one element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    /// Little-endian single precision.
    F32,
    /// Little-endian double precision.
    F64,
}

/// An array of [rows, …row_shape] that grows.
#[derive(Debug)]
pub(super) struct NpyWriter<W> {
    writer: W,
    element: Element,
    row_shape: Vec<usize>,
    rows: u64,
}

impl Element {
    fn description(self) -> &'static str {
        match self {
            Self::F32 => "<f4",
            Self::F64 => "<f8",
        }
    }
}

impl<W: Write + Seek> NpyWriter<W> {
    /// Starts an array in `writer`.
    pub(super) fn new(mut writer: W, element: Element, row_shape: Vec<usize>) -> io::Result<Self> {
        writer.write_all(&header(element, 0, &row_shape))?;
        Ok(Self {
            writer,
            element,
            row_shape,
            rows: 0,
        })
    }

    /// Adds one row; `None` stands for an image that failed and is written as NaN.
    ///
    /// # Panics
    /// If the row does not have as many numbers as its shape.
    pub(super) fn push(&mut self, row: Option<&[f64]>) -> io::Result<()> {
        let length = self.row_shape.iter().product();
        let missing;
        let row = match row {
            Some(row) => row,
            None => {
                missing = vec![f64::NAN; length];
                &missing
            }
        };
        assert_eq!(row.len(), length, "the row has the shape of the array");
        for &number in row {
            match self.element {
                Element::F32 => self.writer.write_all(&(number as f32).to_le_bytes())?,
                Element::F64 => self.writer.write_all(&number.to_le_bytes())?,
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Writes the number of rows into the header.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.writer.seek(SeekFrom::Start(0))?;
        let header = header(self.element, self.rows, &self.row_shape);
        self.writer.write_all(&header)?;
        self.writer.flush()
    }
}

fn header(element: Element, rows: u64, row_shape: &[usize]) -> Vec<u8> {
    let sides: String = row_shape.iter().map(|side| format!(" {side},")).collect();
    let text = format!(
        "{{'descr': '{}', 'fortran_order': False, 'shape': ({rows},{sides}), }}",
        element.description()
    );
    let length = HEADER_BYTES - PREFIX_BYTES;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{text:<width$}\n", width = length - 1).as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn rows_come_back_with_their_shape() {
        let mut bytes = Vec::new();
        let mut writer = NpyWriter::new(Cursor::new(&mut bytes), Element::F32, vec![2, 1]).unwrap();
        writer.push(Some(&[1.0, 2.5])).unwrap();
        writer.push(None).unwrap();
        writer.finish().unwrap();
        let array = npyz::NpyFile::new(&bytes[..]).unwrap();
        assert_eq!(array.shape(), [2, 2, 1]);
        let values = array.into_vec::<f32>().unwrap();
        assert_eq!(values[..2], [1.0, 2.5]);
        assert!(values[2].is_nan() && values[3].is_nan());
    }

    #[test]
    fn a_row_of_no_sides_is_a_number() {
        let mut bytes = Vec::new();
        let mut writer = NpyWriter::new(Cursor::new(&mut bytes), Element::F64, vec![]).unwrap();
        writer.push(Some(&[-1.5])).unwrap();
        writer.finish().unwrap();
        assert_eq!(bytes.len() % 8, 0);
        let array = npyz::NpyFile::new(&bytes[..]).unwrap();
        assert_eq!(array.shape(), [1]);
        assert_eq!(array.into_vec::<f64>().unwrap(), [-1.5]);
    }

    #[test]
    fn the_header_has_room_for_the_largest_array() {
        let sides = vec![4, 1 << 24, 1 << 24];
        assert_eq!(header(Element::F32, u64::MAX, &sides).len(), HEADER_BYTES);
    }
}
