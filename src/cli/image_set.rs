//! Whole sets of images in memory, for commands that need to see them all before they can say anything.

use std::{
    path::{Path, PathBuf},
    thread,
};

use clap::Args;
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::{
    CliError, Outcome,
    inputs::{self, DecodeArgs, InputArgs},
    labels::Labels,
    reader::Reader,
    resume::Done,
    say,
};
use crate::{
    detection::evaluation::Failure,
    domain::image::{Image, ImageShape},
    media::DecodeOptions,
    model::{Model, PerImage},
};

/// Images read at a time.
const CHUNK: usize = 256;

/// What may be done to images, and what if that does not help.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Handling {
    #[command(flatten)]
    pub(super) decoding: DecodeArgs,

    /// Stop at the first image that cannot be read or measured, instead of leaving it out and saying so
    #[arg(long)]
    pub(super) strict: bool,
}

/// Images, the answer to each, and what failed.
pub(super) type Answered<T> = (Vec<Image>, Vec<T>, Vec<Failure>);

/// Images, where each came from, and those that could not be read.
#[derive(Debug, Default)]
pub(super) struct ImageSet {
    pub(super) images: Vec<Image>,
    places: Vec<(String, Option<u64>)>,
    pub(super) failures: Vec<Failure>,
}

impl ImageSet {
    /// Every image of files and folders, as `model` takes it, in order.
    pub(super) fn read(inputs: &[PathBuf], model: &Model, handling: Handling) -> Result<Self, CliError> {
        let options = model.preprocessing.or(handling.decoding.options());
        Self::read_as(inputs, (model.shape, options), handling)
    }

    /// The same of a model that is not there yet: images of that size, by these means.
    pub(super) fn read_as(
        inputs: &[PathBuf],
        (shape, options): (ImageShape, DecodeOptions),
        handling: Handling,
    ) -> Result<Self, CliError> {
        let mut gathered = Self::default();
        if inputs.is_empty() {
            return Ok(gathered);
        }
        let files = inputs::files(inputs)?;
        let (sender, mut receiver) = mpsc::channel(2);
        let reader = Reader {
            shape,
            roots: inputs.to_vec(),
            options,
            limits: handling.decoding.limits(),
            chunk: CHUNK,
            progress: ProgressBar::hidden(),
            labels: Labels::None,
            done: Done::default(),
        };
        let reading = thread::Builder::new().spawn(move || reader.read(&files, &sender));
        let reading = reading.map_err(CliError::threads)?;
        while let Some(chunk) = receiver.blocking_recv() {
            for item in chunk {
                let place = (item.name.input, item.name.index);
                match item.image {
                    Ok(image) => {
                        gathered.images.push(image);
                        gathered.places.push(place);
                    }
                    Err(error) => gathered.failures.push(handling.failure(place, error)?),
                }
            }
        }
        if reading.join().is_err() {
            return Err(CliError::Usage("the thread that reads files panicked".to_owned()));
        }
        Ok(gathered)
    }

    /// The file of each image.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.places.iter().map(|(input, _)| Path::new(input))
    }

    /// Keeps the images that have an answer; the others join the failures.
    pub(super) fn answered<T>(self, answers: PerImage<T>, handling: Handling) -> Result<Answered<T>, CliError> {
        let (mut images, mut good, mut failures) = (Vec::new(), Vec::new(), self.failures);
        let all = self.images.into_iter().zip(self.places).zip(answers);
        for ((image, place), answer) in all {
            match answer {
                Ok(answer) => {
                    images.push(image);
                    good.push(answer);
                }
                Err(refusal) => failures.push(handling.failure(place, super::told(&refusal))?),
            }
        }
        Ok((images, good, failures))
    }
}

impl Handling {
    /// The same, and every image is needed.
    pub(super) fn strictly(self) -> Self {
        Self { strict: true, ..self }
    }

    /// An image that could not be measured; an error if the command is to stop at it.
    pub(super) fn failure(self, (input, index): (String, Option<u64>), error: String) -> Result<Failure, CliError> {
        let failure = Failure { input, index, error };
        if self.strict {
            return Err(CliError::Usage(failure.to_string()));
        }
        Ok(failure)
    }
}

/// Every image of the inputs, for commands that need them all. The first that cannot be read ends the command.
pub(super) fn read_all(inputs: &InputArgs, model: &Model) -> Result<Vec<Image>, CliError> {
    let handling = Handling {
        decoding: inputs.decoding,
        strict: true,
    };
    Ok(ImageSet::read(&inputs.inputs, model, handling)?.images)
}

/// Says of a command that failed which images it had to do without: they may be why.
pub(super) fn tell_missed(failures: &[Failure]) {
    let Some(first) = failures.first() else { return };
    let count = failures.len();
    say(&format!(
        "images that could not be read: {count}, the first of them {first}"
    ));
}

/// Says how many images of how many failed.
pub(super) fn outcome(failed: usize, images: usize) -> Outcome {
    if failed == 0 {
        return Outcome::Done;
    }
    say(&format!(
        "{failed} of {} images failed and are left out",
        failed + images
    ));
    Outcome::Refused
}

/// A bar on standard error, if that is a terminal.
pub(super) fn progress(images: usize) -> ProgressBar {
    let template = "{bar:40} {human_pos}/{human_len} images, {per_sec}, {eta} left";
    let style = indicatif::ProgressStyle::with_template(template);
    ProgressBar::new(images as u64).with_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()))
}
