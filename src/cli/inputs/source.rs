//! What a file of images turns out to be: a picture, or an array of images.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;

use super::array::Array;
use crate::{
    cli::{
        folder::ends_in,
        stdin::{is_standard, standard_input},
    },
    domain::image::ImageShape,
    media,
};

/// How the names of IDX files of images end.
const IDX_ENDINGS: [&str; 4] = ["idx3-ubyte", "idx3-ubyte.gz", "idx4-ubyte", "idx4-ubyte.gz"];

/// The first bytes of a gzip file.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What a file turned out to be.
pub(in crate::cli) enum Source {
    /// An image file, as bytes.
    Picture(Vec<u8>),
    /// An array of images, of which the header has been read.
    Array(Array),
}

/// Opens a file and tells by its name and its first bytes what it is.
pub(in crate::cli) fn open(path: &Path, shape: ImageShape, any_size: bool) -> Result<Source, String> {
    let failed = |error: io::Error| error.to_string();
    let mut file: Box<dyn BufRead> = if is_standard(path) {
        Box::new(Cursor::new(standard_input().map_err(failed)?))
    } else {
        Box::new(BufReader::new(File::open(path).map_err(failed)?))
    };
    let start = file.fill_buf().map_err(failed)?;
    if start.starts_with(media::NPY_MAGIC) || ends_in(path, &[".npy"]) {
        return Array::npy(file, shape, any_size).map(Source::Array);
    }
    if start.starts_with(&GZIP_MAGIC) {
        let mut inside = BufReader::new(MultiGzDecoder::new(file));
        let start = inside.fill_buf().map_err(failed)?;
        if !media::is_idx(start) && !ends_in(path, &IDX_ENDINGS) {
            return Err("the gzip file holds no IDX array of images".to_owned());
        }
        return Array::idx(Box::new(inside), shape).map(Source::Array);
    }
    if media::is_idx(start) || ends_in(path, &IDX_ENDINGS) {
        return Array::idx(file, shape).map(Source::Array);
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(Source::Picture(bytes))
}
