//! Images in, rows out: a thread reads files while the model works, a few chunks at a time, never a whole folder in
//! memory.

use std::{future::Future, path::PathBuf, sync::Arc, thread, time::Instant};

use futures_util::{StreamExt, stream};
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::{
    CliError, Outcome, UNLIMITED, image_set,
    labels::Labels,
    model::Loaded,
    name::ImageName,
    reader::{Item, Reader},
    resume::Done,
    say,
};
use crate::{
    domain::image::Image,
    media::{DecodeLimits, DecodeOptions},
    model::{Kind, PerImage, Refusal},
};

/// A deadline that no work here is meant to meet: a person at a terminal can stop it at any time.
pub(super) fn no_deadline() -> Instant {
    Instant::now() + UNLIMITED
}

/// A runtime for one caller: workers have threads of their own.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::io("the command cannot be started", error))
}

/// Which images a command works on.
pub(super) struct Images {
    pub(super) files: Vec<PathBuf>,
    /// The inputs that were named, below which the files lie.
    pub(super) roots: Vec<PathBuf>,
    pub(super) options: DecodeOptions,
    pub(super) limits: DecodeLimits,
    pub(super) labels: Labels,
    /// Those that have been worked on before.
    pub(super) done: Done,
}

/// Applies `operation` to every image of some files and calls `write` for each, in order, which tells whether all went
/// well; answers how many were worked on, and how many of them failed.
pub(super) fn each<A, F, Work>(
    loaded: &Loaded,
    images: Images,
    rows_on_terminal: bool,
    operation: F,
    mut write: impl FnMut(&ImageName, Result<A, Arc<str>>) -> Result<bool, CliError>,
) -> Result<Counts, CliError>
where
    F: Fn(Vec<Image>) -> Work,
    Work: Future<Output = Result<PerImage<A>, Refusal>>,
{
    let Images {
        files,
        roots,
        options,
        limits,
        labels,
        done,
    } = images;
    let mut counts = Counts {
        images: done.len(),
        failed: done.failed,
    };
    let work = &loaded.settings.work;
    let progress = progress(files.len(), rows_on_terminal);
    // One chunk more than there are workers, so that none of them waits for files.
    let chunks_in_flight = work.workers + 1;
    let (sender, receiver) = mpsc::channel(chunks_in_flight);
    let reader = Reader {
        shape: loaded.model.shape,
        roots,
        options,
        limits,
        chunk: work.max_batch_rows,
        progress: progress.clone(),
        labels,
        done,
    };
    let reading = thread::Builder::new().spawn(move || reader.read(&files, &sender));
    let reading = reading.map_err(CliError::threads)?;
    let written: Result<(), CliError> = runtime()?.block_on(async {
        let chunks = stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|chunk| (chunk, receiver))
        });
        let answers = chunks.map(|chunk| answer(chunk, &operation));
        let mut answers = Box::pin(answers.buffered(chunks_in_flight));
        while let Some(chunk) = answers.next().await {
            for (name, answer) in chunk? {
                counts.add(write(&name, answer)?);
                progress.inc(1);
            }
        }
        Ok(())
    });
    progress.finish_and_clear();
    written?;
    if reading.join().is_err() {
        return Err(CliError::Usage(
            "the thread that reads files panicked: the output is not complete".to_owned(),
        ));
    }
    Ok(counts)
}

/// How many images there were.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    images: u64,
    failed: u64,
}

impl Counts {
    fn add(&mut self, succeeded: bool) {
        self.images += 1;
        self.failed += u64::from(!succeeded);
    }

    /// One that was taken for good has failed after all.
    pub(super) fn fail_one(&mut self) {
        self.failed += 1;
    }

    /// Says how many failed; `where_told` is where the reasons stand.
    pub(super) fn outcome(self, where_told: &str) -> Outcome {
        if self.failed == 0 {
            return Outcome::Done;
        }
        say(&format!("{} of {} images failed{where_told}", self.failed, self.images));
        Outcome::Refused
    }
}

/// The answers of one chunk in the order of its images. An error that every image would meet ends the command.
async fn answer<A, F, Work>(chunk: Vec<Item>, operation: &F) -> Result<Vec<(ImageName, Result<A, Arc<str>>)>, CliError>
where
    F: Fn(Vec<Image>) -> Work,
    Work: Future<Output = Result<PerImage<A>, Refusal>>,
{
    let images: Vec<Image> = chunk
        .iter()
        .filter_map(|item| item.image.as_ref().ok())
        .cloned()
        .collect();
    let expected = images.len();
    let answers = if images.is_empty() {
        Ok(Vec::new())
    } else {
        operation(images).await
    };
    let answers = match answers {
        Ok(answers) => answers,
        Err(error) if is_everyones(&error) => return Err(error.into()),
        Err(error) => (0..expected).map(|_| Err(error.clone())).collect(),
    };
    let mut answers = answers.into_iter();
    Ok(chunk
        .into_iter()
        .map(|item| {
            let answer = item.image.map_err(Arc::from).and_then(|_| {
                let answer = answers
                    .next()
                    .unwrap_or_else(|| Err(Refusal::internal("no answer came back")));
                answer.map_err(|refusal| Arc::from(super::told(&refusal)))
            });
            (item.name, answer)
        })
        .collect())
}

/// Whether an error lies in the options or in the model and not in the images at hand.
pub(super) fn is_everyones(refusal: &Refusal) -> bool {
    !matches!(
        refusal.kind(),
        Kind::InvalidImage | Kind::InvalidStream | Kind::DeadlineExceeded | Kind::Internal
    )
}

/// A bar on standard error if that is a terminal and rows do not go to the same one.
fn progress(files: usize, rows_on_terminal: bool) -> ProgressBar {
    if rows_on_terminal {
        return ProgressBar::hidden();
    }
    image_set::progress(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::ImageShape;

    struct Level(u8);

    fn chunk() -> Vec<Item> {
        let shape = ImageShape::new(1, 1, 1, 256).unwrap();
        let image = |level: u8| Ok(Image::new(shape, vec![level]).unwrap());
        [image(1), Err("not an image".to_owned()), image(3)]
            .into_iter()
            .map(|image| Item {
                name: ImageName {
                    input: "x".to_owned(),
                    below: "x".into(),
                    index: None,
                    label: None,
                },
                image,
            })
            .collect()
    }

    async fn run(
        result: impl Fn(Vec<Image>) -> Result<PerImage<Level>, Refusal>,
    ) -> Result<Vec<Result<u8, String>>, CliError> {
        let answers = answer(chunk(), &|images| std::future::ready(result(images))).await?;
        Ok(answers
            .into_iter()
            .map(|(_, answer)| answer.map(|l| l.0).map_err(|error| error.to_string()))
            .collect())
    }

    #[tokio::test]
    async fn a_file_that_failed_keeps_its_place_among_the_answers() {
        let levels = |images: Vec<Image>| Ok(images.iter().map(|image| Ok(Level(image.levels()[0]))).collect());
        let answers = run(levels).await.unwrap();
        assert_eq!(answers, [Ok(1), Err("not an image".to_owned()), Ok(3)]);
    }

    #[tokio::test]
    async fn a_failed_batch_is_an_error_of_each_of_its_images() {
        let answers = run(|_| Err(Refusal::internal("broken"))).await;
        let answers = answers.unwrap();
        assert_eq!(answers[0], Err("broken".to_owned()));
        assert_eq!(answers[1], Err("not an image".to_owned()));
    }

    #[tokio::test]
    async fn a_bad_option_ends_the_command() {
        let refused = run(|_| Err(Refusal::option("k", "too many"))).await;
        assert!(matches!(refused, Err(CliError::Refused(_))));
    }
}
