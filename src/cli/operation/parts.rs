//! Codes and streams of files, for the operations that take them.

use std::path::PathBuf;

use crate::{
    cli::{
        CliError,
        folder::Wanted,
        name::{ImageName, below, shown},
        stdin::read_file,
    },
    media,
};

/// Files of streams.
const STREAMS: Wanted = Wanted {
    what: "streams",
    endings: &[".dsi"],
};

/// Something of an input, or what is wrong with it.
pub(super) type Part<T> = (ImageName, Result<T, String>);

/// The codes of npy arrays, each of `size` numbers.
pub(super) fn read_codes(paths: &[PathBuf], size: usize) -> Result<Vec<Part<Vec<f32>>>, CliError> {
    let mut codes = Vec::new();
    for path in paths {
        let bytes =
            read_file(path).map_err(|error| CliError::io(format!("{} cannot be read", path.display()), error))?;
        let read = media::read_vectors(&bytes, size, usize::MAX)
            .map_err(|error| CliError::Usage(format!("{}: {error}", path.display())))?;
        codes.extend((0..).zip(read).map(|(index, code)| {
            let name = ImageName {
                input: shown(path),
                below: below(path, &[]),
                index: Some(index),
                label: None,
            };
            (name, Ok(code))
        }));
    }
    Ok(codes)
}

/// The streams of files and folders.
pub(super) fn read_streams(inputs: &[PathBuf]) -> Result<Vec<Part<Vec<u8>>>, CliError> {
    let part = |path: PathBuf| {
        let name = ImageName {
            input: shown(&path),
            below: below(&path, inputs),
            index: None,
            label: None,
        };
        (name, read_file(&path).map_err(|error| error.to_string()))
    };
    Ok(STREAMS.files(inputs)?.into_iter().map(part).collect())
}
