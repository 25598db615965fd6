//! Whole sets of images in memory, for commands that need to see them all before they can say anything.

use std::{path::PathBuf, thread};

use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::{
    CliError,
    inputs::{InputArgs, Reader},
    labels::Labels,
};
use crate::domain::image::{Image, ImageShape};

/// Images read at a time.
const CHUNK: usize = 256;

/// Every image of files and folders, in order. The first that cannot be read ends the command: a set with holes is another set.
pub(super) fn images(
    inputs: &[PathBuf],
    shape: ImageShape,
    resize: bool,
    convert: bool,
) -> Result<Vec<Image>, CliError> {
    if inputs.is_empty() {
        return Ok(Vec::new());
    }
    let inputs = InputArgs::of(inputs.to_vec(), resize, convert);
    let files = inputs.files()?;
    let (sender, mut receiver) = mpsc::channel(2);
    let reader = Reader {
        shape,
        roots: inputs.roots(),
        options: inputs.decode_options(),
        chunk: CHUNK,
        progress: ProgressBar::hidden(),
        labels: Labels::None,
    };
    let reading = thread::spawn(move || reader.read(&files, &sender));
    let mut images = Vec::new();
    while let Some(chunk) = receiver.blocking_recv() {
        for item in chunk {
            match item.image {
                Ok(image) => images.push(image),
                Err(reason) => {
                    return Err(CliError::Usage(format!("{}: {reason}", item.name.input)));
                }
            }
        }
    }
    if reading.join().is_err() {
        return Err(CliError::Usage(
            "the thread that reads files panicked".to_owned(),
        ));
    }
    Ok(images)
}

/// A bar on standard error, if that is a terminal.
pub(super) fn progress(images: usize) -> ProgressBar {
    let template = "{bar:40} {human_pos}/{human_len} images, {per_sec}, {eta} left";
    let style = indicatif::ProgressStyle::with_template(template);
    ProgressBar::new(images as u64)
        .with_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()))
}
