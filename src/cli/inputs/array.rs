//! Arrays of images in npy and IDX files, whose images are read as they are asked for.

use std::io::BufRead;

use crate::{
    domain::image::{Image, ImageShape},
    media::{IdxError, IdxReader, NpyImages},
};

/// An array file of which the header has been read.
pub(in crate::cli) enum Array {
    Npy(NpyImages<Box<dyn BufRead>>),
    Idx {
        images: u64,
        levels: IdxReader<Box<dyn BufRead>>,
        is_cut_short: bool,
    },
}

impl Array {
    /// uint8 levels in C order.
    pub(in crate::cli) fn npy(file: Box<dyn BufRead>, shape: ImageShape, any_size: bool) -> Result<Self, String> {
        let images = NpyImages::new(file, shape, any_size);
        images.map(Self::Npy).map_err(|error| error.for_command_line())
    }

    /// Unsigned bytes; the format has C order only.
    pub(in crate::cli) fn idx(file: Box<dyn BufRead>, shape: ImageShape) -> Result<Self, String> {
        let levels = IdxReader::new(file).map_err(|error| idx_error(&error))?;
        let images = images(levels.shape(), shape).ok_or_else(|| {
            format!(
                "the IDX array is of shape {:?}; the model takes unsigned bytes of shape {}",
                levels.shape(),
                wanted(shape)
            )
        })?;
        Ok(Self::Idx {
            images,
            levels,
            is_cut_short: false,
        })
    }

    /// Images that the header declares.
    pub(in crate::cli) fn images(&self) -> u64 {
        match self {
            Self::Npy(array) => array.count(),
            Self::Idx { images, .. } => *images,
        }
    }

    /// Whether the file turned out to end before its array.
    pub(in crate::cli) fn is_cut_short(&self) -> bool {
        match self {
            Self::Npy(array) => array.is_cut_short(),
            Self::Idx { is_cut_short, .. } => *is_cut_short,
        }
    }

    /// The next image, whose channels come last in the file and first in memory.
    pub(in crate::cli) fn next(&mut self, shape: ImageShape) -> Result<Image, String> {
        let (levels, is_cut_short) = match self {
            Self::Npy(array) => {
                return array.next_image().map_err(|error| error.for_command_line());
            }
            Self::Idx {
                levels, is_cut_short, ..
            } => (levels, is_cut_short),
        };
        let mut interleaved = vec![0; shape.dimensions()];
        levels.next_into(&mut interleaved).map_err(|error| {
            *is_cut_short = true;
            idx_error(&error)
        })?;
        let mut planes = vec![0; shape.dimensions()];
        for (place, level) in interleaved.into_iter().enumerate() {
            planes[shape.index_of(place)] = level;
        }
        Image::new(shape, planes).map_err(|error| error.to_string())
    }

    /// What is wrong with the file behind its last image.
    pub(in crate::cli) fn finish(&mut self) -> Result<(), String> {
        match self {
            Self::Npy(array) => array.finish().map_err(|error| error.for_command_line()),
            Self::Idx { levels, .. } => levels.finish().map_err(|error| idx_error(&error)),
        }
    }
}

/// How many images an array of a shape holds, if it holds images of the model's.
fn images(found: &[u64], shape: ImageShape) -> Option<u64> {
    let (height, width, channels) = (shape.height() as u64, shape.width() as u64, shape.channels() as u64);
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

fn idx_error(error: &IdxError) -> String {
    format!("the IDX file cannot be read: {error}")
}
