//! Arrays of images in npy and IDX files, whose images are read as they are asked for.

use std::{
    fs::File,
    io::{BufRead, BufReader},
};

use npyz::{NpyFile, Order};

use crate::{
    domain::image::{Image, ImageShape},
    media::{IdxError, IdxReader},
};

/// An array file of which the header has been read.
pub(super) struct Array {
    images: u64,
    levels: Levels,
    is_cut_short: bool,
}

/// Levels in the order of the file.
enum Levels {
    Npy(npyz::NpyReader<u8, BufReader<File>>),
    Idx(IdxReader<Box<dyn BufRead>>),
}

impl Array {
    /// uint8 levels in C order.
    pub(super) fn npy(file: BufReader<File>, shape: ImageShape) -> Result<Self, String> {
        let array = NpyFile::new(file)
            .map_err(|error| format!("the npy header cannot be read: {error}"))?;
        let images = images(array.shape(), shape);
        let found = array.shape().to_vec();
        let is_c_order = array.order() == Order::C;
        let levels = array.data::<u8>();
        match (images, levels) {
            (Some(images), Ok(levels)) if is_c_order => Ok(Self {
                images,
                levels: Levels::Npy(levels),
                is_cut_short: false,
            }),
            (_, levels) => Err(format!(
                "the array is {}{} of shape {found:?}; the model takes uint8 levels in C order of shape {}",
                if levels.is_ok() { "uint8" } else { "not uint8" },
                if is_c_order { "" } else { " in Fortran order" },
                wanted(shape)
            )),
        }
    }

    /// Unsigned bytes; the format has C order only.
    pub(super) fn idx(file: Box<dyn BufRead>, shape: ImageShape) -> Result<Self, String> {
        let levels = IdxReader::new(file).map_err(|error| idx_error(&error))?;
        let images = images(levels.shape(), shape).ok_or_else(|| {
            format!(
                "the IDX array is of shape {:?}; the model takes unsigned bytes of shape {}",
                levels.shape(),
                wanted(shape)
            )
        })?;
        Ok(Self {
            images,
            levels: Levels::Idx(levels),
            is_cut_short: false,
        })
    }

    /// Images that the header declares.
    pub(super) fn images(&self) -> u64 {
        self.images
    }

    /// Whether the file turned out to end before its array.
    pub(super) fn is_cut_short(&self) -> bool {
        self.is_cut_short
    }

    /// The next image, whose channels come last in the file and first in memory.
    pub(super) fn next(&mut self, shape: ImageShape) -> Result<Image, String> {
        let mut interleaved = vec![0; shape.dimensions()];
        let read = match &mut self.levels {
            Levels::Npy(levels) => interleaved.iter_mut().try_for_each(|place| {
                *place = match levels.next() {
                    Some(Ok(level)) => level,
                    Some(Err(error)) => return Err(npy_cut_short(&error.to_string())),
                    None => return Err(npy_cut_short("there are no more levels")),
                };
                Ok(())
            }),
            Levels::Idx(levels) => levels
                .next_into(&mut interleaved)
                .map_err(|error| idx_error(&error)),
        };
        if let Err(error) = read {
            self.is_cut_short = true;
            return Err(error);
        }
        let mut planes = vec![0; shape.dimensions()];
        for (place, level) in interleaved.into_iter().enumerate() {
            planes[shape.index_of(place)] = level;
        }
        Image::new(shape, planes).map_err(|error| error.to_string())
    }

    /// What is wrong with the file behind its last image. Only IDX files, which may be compressed, are looked at.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        match &mut self.levels {
            Levels::Npy(_) => Ok(()),
            Levels::Idx(levels) => levels.finish().map_err(|error| idx_error(&error)),
        }
    }
}

/// How many images an array of a shape holds, if it holds images of the model's.
fn images(found: &[u64], shape: ImageShape) -> Option<u64> {
    let (height, width, channels) = (
        shape.height() as u64,
        shape.width() as u64,
        shape.channels() as u64,
    );
    match *found {
        [n, h, w, c] if (h, w, c) == (height, width, channels) => Some(n),
        [h, w, c] if (h, w, c) == (height, width, channels) => Some(1),
        [n, h, w] if channels == 1 && (h, w) == (height, width) => Some(n),
        [h, w] if channels == 1 && (h, w) == (height, width) => Some(1),
        _ => None,
    }
}

fn wanted(shape: ImageShape) -> String {
    let (height, width) = (shape.height(), shape.width());
    match shape.channels() {
        1 => format!("[N, {height}, {width}]"),
        channels => format!("[N, {height}, {width}, {channels}]"),
    }
}

fn npy_cut_short(reason: &str) -> String {
    format!("the file ends before its array: {reason}")
}

fn idx_error(error: &IdxError) -> String {
    format!("the IDX file cannot be read: {error}")
}
