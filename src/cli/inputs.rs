//! Images from files, folders and npy arrays, read one at a time in a fixed order.
//!
//! A file that cannot be read is an item with an error: it does not stop the files after it.

use std::{
    fs::{self, File},
    io::{self, BufReader},
    path::{Path, PathBuf},
};

use clap::Args;
use indicatif::ProgressBar;
use npyz::{NpyFile, Order};
use tokio::sync::mpsc;

use super::{CliError, table::ImageName};
use crate::{
    domain::image::{Image, ImageShape},
    media::{self, DecodeLimits, DecodeOptions},
};

/// Endings of the files that are taken from a folder. A file that is named itself may be called anything.
const ENDINGS: [&str; 13] = [
    "bmp", "gif", "jpeg", "jpg", "npy", "pam", "pbm", "pgm", "png", "pnm", "ppm", "webp", "jfif",
];

/// Which images, and what may be done to them.
#[derive(Debug, Args)]
pub(super) struct InputArgs {
    /// Image files (PNG, JPEG, WebP, GIF, BMP, PNM), npy arrays of levels (uint8 [N, H, W] or [N, H, W, C]), and folders
    /// of these, which are searched to the bottom in order of name
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,

    /// Resize images of another size than the model's, which changes their likelihood
    #[arg(long)]
    resize: bool,

    /// Convert between grey and colour and reduce 16 bits to 8, which changes the likelihood
    #[arg(long)]
    convert: bool,
}

/// One image, or why there is none.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) name: ImageName,
    pub(super) image: Result<Image, String>,
}

/// Reads files into chunks of images.
pub(super) struct Reader {
    /// What the model takes.
    pub(super) shape: ImageShape,
    pub(super) options: DecodeOptions,
    /// Images a chunk.
    pub(super) chunk: usize,
    /// Told of arrays, which hold more images than one.
    pub(super) progress: ProgressBar,
}

/// The command has ended, and nobody wants more images.
struct Gone;

impl InputArgs {
    /// Inputs that came by another way than as arguments.
    pub(super) fn of(inputs: Vec<PathBuf>, resize: bool, convert: bool) -> Self {
        Self {
            inputs,
            resize,
            convert,
        }
    }

    /// Every file that was named or lies in a folder that was. Only names are held, not images.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>, CliError> {
        let mut files = Vec::new();
        for input in &self.inputs {
            let unreadable =
                |error| CliError::io(format!("{} cannot be read", input.display()), error);
            if !fs::metadata(input).map_err(unreadable)?.is_dir() {
                files.push(input.clone());
                continue;
            }
            let before = files.len();
            collect(input, &mut files).map_err(unreadable)?;
            if files.len() == before {
                return Err(CliError::Usage(format!(
                    "the folder {} holds no images: wanted are files that end in {}",
                    input.display(),
                    ENDINGS.join(", ")
                )));
            }
        }
        Ok(files)
    }

    /// What may be done to an image that does not fit.
    pub(super) fn decode_options(&self) -> DecodeOptions {
        DecodeOptions {
            resize: self.resize,
            convert: self.convert,
        }
    }
}

/// Files below `folder` in order of name. Links to folders are not followed, because they can lead in circles.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut entries = folder.read_dir()?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            collect(&path, files)?;
        } else if is_wanted(&path) && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn is_wanted(path: &Path) -> bool {
    let ending = path.extension().unwrap_or_default();
    ENDINGS
        .iter()
        .any(|known| ending.eq_ignore_ascii_case(known))
}

impl Reader {
    /// Sends every image of `files` in chunks, until all are sent or the receiver is gone.
    pub(super) fn read(&self, files: &[PathBuf], sender: &mpsc::Sender<Vec<Item>>) {
        let mut chunk = Vec::with_capacity(self.chunk);
        let mut send = |item| {
            chunk.push(item);
            if chunk.len() < self.chunk {
                return Ok(());
            }
            sender
                .blocking_send(std::mem::take(&mut chunk))
                .map_err(|_| Gone)
        };
        let sent = files.iter().try_for_each(|file| self.file(file, &mut send));
        if sent.is_ok() && !chunk.is_empty() {
            // The receiver may have gone after the last full chunk; then nobody wants this one either.
            let _ = sender.blocking_send(chunk);
        }
    }

    fn file(
        &self,
        path: &Path,
        send: &mut impl FnMut(Item) -> Result<(), Gone>,
    ) -> Result<(), Gone> {
        let named = |index, image| Item {
            name: ImageName {
                input: path.display().to_string(),
                index,
            },
            image,
        };
        let is_array = path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("npy"));
        if !is_array {
            return send(named(None, self.picture(path)));
        }
        let mut array = match self.array(path) {
            Ok(array) => array,
            Err(error) => return send(named(None, Err(error))),
        };
        self.progress.inc_length(array.images.saturating_sub(1));
        for index in 0..array.images {
            let image = array.next(self.shape);
            let ended = image.is_err() && array.is_cut_short;
            send(named(Some(index), image))?;
            if ended {
                // Nothing after the place where the file ends can be read, and one row says so.
                break;
            }
        }
        Ok(())
    }

    fn picture(&self, path: &Path) -> Result<Image, String> {
        let bytes = fs::read(path).map_err(|error| error.to_string())?;
        media::decode(&bytes, self.shape, self.options, DecodeLimits::default())
            .map_err(|error| error.to_string())
    }

    fn array(&self, path: &Path) -> Result<Array, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let array = NpyFile::new(BufReader::new(file))
            .map_err(|error| format!("the npy header cannot be read: {error}"))?;
        let (height, width, channels) = (
            self.shape.height() as u64,
            self.shape.width() as u64,
            self.shape.channels() as u64,
        );
        let images = match *array.shape() {
            [n, h, w, c] if (h, w, c) == (height, width, channels) => Some(n),
            [h, w, c] if (h, w, c) == (height, width, channels) => Some(1),
            [n, h, w] if channels == 1 && (h, w) == (height, width) => Some(n),
            [h, w] if channels == 1 && (h, w) == (height, width) => Some(1),
            _ => None,
        };
        let shape = array.shape().to_vec();
        let is_c_order = array.order() == Order::C;
        let levels = array.data::<u8>();
        match (images, levels) {
            (Some(images), Ok(levels)) if is_c_order => Ok(Array {
                images,
                levels,
                is_cut_short: false,
            }),
            (_, levels) => Err(format!(
                "the array is {}{} of shape {shape:?}; the model takes uint8 levels in C order of shape [N, {height}, {width}{}]",
                if levels.is_ok() { "uint8" } else { "not uint8" },
                if is_c_order { "" } else { " in Fortran order" },
                if channels == 1 {
                    String::new()
                } else {
                    format!(", {channels}")
                },
            )),
        }
    }
}

/// An npy file whose images are read as they are asked for.
struct Array {
    images: u64,
    levels: npyz::NpyReader<u8, BufReader<File>>,
    is_cut_short: bool,
}

impl Array {
    /// The next image, whose channels come last in the file and first in memory.
    fn next(&mut self, shape: ImageShape) -> Result<Image, String> {
        let mut planes = vec![0; shape.dimensions()];
        for place in 0..shape.dimensions() {
            match self.levels.next() {
                Some(Ok(level)) => planes[shape.index_of(place)] = level,
                Some(Err(error)) => return Err(self.cut_short(&error.to_string())),
                None => return Err(self.cut_short("there are no more levels")),
            }
        }
        Image::new(shape, planes).map_err(|error| error.to_string())
    }

    fn cut_short(&mut self, reason: &str) -> String {
        self.is_cut_short = true;
        format!("the file ends before its array: {reason}")
    }
}

#[cfg(test)]
mod tests;
