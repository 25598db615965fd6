//! Rows as one NumPy array.

use std::{
    fs::File,
    io::{self, BufWriter, Seek, Write},
};

use crate::{
    cli::npy::{Element, NpyWriter},
    operations::{Tensor, tensor::Values},
};

/// An array that begins with its first good row.
pub(super) struct NpyRows {
    file: Option<BufWriter<File>>,
    writer: Option<NpyWriter<BufWriter<File>>>,
    /// Failures before the first good row.
    waiting: usize,
    /// The same file, if it goes to standard output once its header is known.
    copied: Option<File>,
}

impl NpyRows {
    /// An array in a file; without one in a file of no name, until it is copied to standard output.
    pub(super) fn new(file: Option<File>) -> io::Result<Self> {
        let (file, copied) = match file {
            Some(file) => (file, None),
            None => {
                let file = tempfile::tempfile()?;
                (file.try_clone()?, Some(file))
            }
        };
        Ok(Self {
            file: Some(BufWriter::new(file)),
            writer: None,
            waiting: 0,
            copied,
        })
    }

    pub(super) fn push(&mut self, row: Option<&Tensor>) -> io::Result<()> {
        let Some(row) = row else {
            match &mut self.writer {
                Some(writer) => writer.push(None)?,
                None => self.waiting += 1,
            }
            return Ok(());
        };
        if self.writer.is_none()
            && let Some(file) = self.file.take()
        {
            let element = match row.values {
                Values::F32(_) => Element::F32,
                _ => Element::F64,
            };
            let shape = row.shape.get(1..).unwrap_or_default().to_vec();
            let mut writer = NpyWriter::new(file, element, shape)?;
            for _ in 0..self.waiting {
                writer.push(None)?;
            }
            self.writer = Some(writer);
        }
        let numbers: Vec<f64> = match &row.values {
            Values::F64(values) => values.clone(),
            Values::F32(values) => values.iter().copied().map(f64::from).collect(),
            Values::U8(values) => values.iter().copied().map(f64::from).collect(),
            Values::Bool(flags) => flags.iter().map(|&flag| f64::from(u8::from(flag))).collect(),
            Values::Bytes(_) => Vec::new(),
        };
        match &mut self.writer {
            Some(writer) => writer.push(Some(&numbers)),
            None => Ok(()),
        }
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let Some(file) = self.file.take() {
            // No image was good, so nobody knows the shape of a row.
            let mut writer = NpyWriter::new(file, Element::F64, Vec::new())?;
            for _ in 0..self.waiting {
                writer.push(None)?;
            }
            self.writer = Some(writer);
        }
        self.writer.take().map_or(Ok(()), NpyWriter::finish)?;
        if let Some(mut file) = self.copied.take() {
            file.seek(io::SeekFrom::Start(0))?;
            let mut output = io::stdout().lock();
            io::copy(&mut file, &mut output)?;
            output.flush()?;
        }
        Ok(())
    }
}
