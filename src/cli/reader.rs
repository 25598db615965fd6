//! Images of files, read one at a time in a fixed order.
//!
//! A file that cannot be read is an item with an error: it does not stop the files after it.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::{
    inputs::{Source, open},
    labels::Labels,
    name::{ImageName, below, shown},
    resume::Done,
};
use crate::{
    domain::image::{Image, ImageShape},
    media::{self, DecodeLimits, DecodeOptions, Decoded},
};

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
    /// The inputs that were named, below which the files lie.
    pub(super) roots: Vec<PathBuf>,
    pub(super) options: DecodeOptions,
    /// What a file may unpack to.
    pub(super) limits: DecodeLimits,
    /// Images a chunk.
    pub(super) chunk: usize,
    /// Told of arrays, which hold more images than one.
    pub(super) progress: ProgressBar,
    /// What the images are called.
    pub(super) labels: Labels,
    /// Images that are not wanted again.
    pub(super) done: Done,
}

/// The command has ended, and nobody wants more images.
struct Gone;

impl Reader {
    /// Sends every image of `files` in chunks, until all are sent or the receiver is gone.
    pub(super) fn read(&self, files: &[PathBuf], sender: &mpsc::Sender<Vec<Item>>) {
        let mut chunk = Vec::with_capacity(self.chunk);
        let mut send = |item| {
            chunk.push(item);
            if chunk.len() < self.chunk {
                return Ok(());
            }
            sender.blocking_send(std::mem::take(&mut chunk)).map_err(|_| Gone)
        };
        let (mut position, mut turned) = (0, 0);
        let sent = files
            .iter()
            .try_for_each(|file| self.file(file, (&mut position, &mut turned), &mut send));
        if turned > 0 {
            super::say(&format!(
                "{turned} files ask to be shown another way up and are judged as they are stored: --orient turns them"
            ));
        }
        if sent.is_ok() && !chunk.is_empty() {
            // The receiver may have gone after the last full chunk; then nobody wants this one either.
            let _ = sender.blocking_send(chunk);
        }
    }

    /// Sends the images of one file, the first of which is at `position` among all; counts files that were to be
    /// `turned` and are not.
    fn file(
        &self,
        path: &Path,
        (position, turned): (&mut u64, &mut u64),
        send: &mut impl FnMut(Item) -> Result<(), Gone>,
    ) -> Result<(), Gone> {
        let first = *position;
        let input = shown(path);
        let named = |index: Option<u64>, image| Item {
            name: ImageName {
                input: input.clone(),
                below: below(path, &self.roots),
                index,
                label: self.labels.of(path, first + index.unwrap_or_default()),
            },
            image,
        };
        *position += 1;
        if self.done.has(&input, None) {
            return Ok(());
        }
        let mut array = match open(path, self.shape, self.options.any_size) {
            Ok(Source::Array(array)) => array,
            Ok(Source::Picture(bytes)) => match self.picture(&bytes) {
                Ok(decoded) => {
                    *turned += u64::from(!decoded.notes.is_empty());
                    let several = decoded.images.len() > 1;
                    *position = first.saturating_add(decoded.images.len() as u64);
                    for (index, image) in (0..).zip(decoded.images) {
                        let index = several.then_some(index);
                        if !self.done.has(&input, index) {
                            send(named(index, Ok(image)))?;
                        }
                    }
                    return Ok(());
                }
                Err(error) => return send(named(None, Err(error))),
            },
            Err(error) => return send(named(None, Err(error))),
        };
        *position = first.saturating_add(array.images());
        self.progress.inc_length(array.images().saturating_sub(1));
        for index in 0..array.images() {
            let image = array.next(self.shape);
            let ended = image.is_err() && array.is_cut_short();
            if self.done.has(&input, Some(index)) {
                continue;
            }
            send(named(Some(index), image))?;
            if ended {
                // Nothing after the place where the file ends can be read, and one row says so.
                return Ok(());
            }
        }
        match array.finish() {
            Ok(()) => Ok(()),
            Err(error) => send(Item {
                name: ImageName {
                    input: input.clone(),
                    below: below(path, &self.roots),
                    index: None,
                    label: None,
                },
                image: Err(error),
            }),
        }
    }

    fn picture(&self, bytes: &[u8]) -> Result<Decoded, String> {
        media::decode_file(bytes, self.shape, self.options, self.limits, &|| false)
            .map_err(|error| error.for_command_line())
    }
}

#[cfg(test)]
mod tests;
