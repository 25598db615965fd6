//! `sample`: new images, as one grid, as an animation, as an array, or as a file each.

use std::{
    fs, io,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use clap::{ArgMatches, Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::{
    CliError, OfflineSettings, Outcome,
    model::{self, Loaded},
    pipeline, say,
};
use crate::{
    domain::{family::Capability, image::Image},
    media::{self, Appearance, MediaError},
    service::{
        error::ServiceError,
        info::{ModelState, SamplerInfo},
        progress::Board,
        requests::{Observation, SampleAnswer, SampleOptions},
    },
};

/// Draw new images
#[derive(Debug, Args)]
pub(super) struct SampleArgs {
    /// Name of a model in the repository, or path of a model's folder
    model: String,

    /// How many images
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 16)]
    n: u32,

    /// Seed: the same seed gives the same images
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// 1 draws from the model's own distribution; lower is more typical, higher more adventurous
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,

    /// What to show of a decoder's distribution over images; autoregressive models always draw
    #[arg(long, value_enum, default_value_t = ObservationName::Mean)]
    observation: ObservationName,

    /// The label to draw, by name or number; only for models that are conditioned on labels [default: each image's is drawn from the
    /// prior, and told]
    #[arg(long)]
    label: Option<String>,

    /// A grid in one file (ends in .png), an animation of how they appear (ends in .gif), a uint8 array (ends in .npy), or a
    /// folder, which gets a PNG file for every image
    #[arg(long, short, value_name = "PATH")]
    output: PathBuf,

    #[command(flatten)]
    settings: OfflineSettings,
}

/// The names of observations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ObservationName {
    /// A draw from it: a true sample, with its pixel noise.
    Sample,
    /// Its mean: smooth, easier on the eye.
    Mean,
}

pub(super) fn run(arguments: SampleArgs, matches: &ArgMatches) -> Result<Outcome, CliError> {
    let form = Form::of(&arguments.output)?;
    let loaded = model::load(
        &arguments.model,
        Capability::Sample,
        arguments.settings,
        matches,
    )?;
    let options = SampleOptions {
        n: arguments.n,
        seed: arguments.seed,
        temperature: arguments.temperature,
        observation: match arguments.observation {
            ObservationName::Sample => Observation::Sample,
            ObservationName::Mean => Observation::Mean,
        },
        label: arguments.label,
    };
    let sampler = sampler(&loaded)?;
    let progress = progress(&options, &loaded, sampler.is_some());
    let drawn = pipeline::runtime()?.block_on(draw(&loaded, &options, &progress));
    progress.finish_and_clear();
    let drawn = drawn?;
    if options.label.is_none() && !drawn.labels.is_empty() {
        say(&format!("labels: {}", drawn.labels.join(", ")));
    }
    form.write(
        &arguments.output,
        &drawn.images,
        appearance(sampler.as_ref()),
    )?;
    Ok(Outcome::Done)
}

/// Draws, and moves the bar on as rows are settled.
async fn draw(
    loaded: &Loaded,
    options: &SampleOptions,
    progress: &ProgressBar,
) -> Result<SampleAnswer, ServiceError> {
    let board = Board::new(options.n as usize, loaded.model.shape().dimensions());
    let deadline = pipeline::no_deadline();
    let service = &loaded.app.service;
    let mut drawn = pin!(service.sample(&loaded.model, options, Some(&board), deadline));
    let mut settled = vec![0; options.n as usize];
    loop {
        tokio::select! {
            biased;
            answer = drawn.as_mut() => return answer,
            updates = board.changes() => for update in updates {
                let more = update.rows - settled[update.index];
                settled[update.index] = update.rows;
                progress.inc(more as u64);
            },
        }
    }
}

/// A bar of rows where images are drawn pixel by pixel, else a sign of life. Drawn on standard error if that is a terminal.
fn progress(options: &SampleOptions, loaded: &Loaded, is_by_pixel: bool) -> ProgressBar {
    if !is_by_pixel {
        let message = format!("drawing {} images", options.n);
        let spinner = ProgressBar::new_spinner().with_message(message);
        spinner.enable_steady_tick(Duration::from_millis(100));
        return spinner;
    }
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} rows, {eta} left");
    let rows = u64::from(options.n) * loaded.model.shape().height() as u64;
    ProgressBar::new(rows).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// How the model's images are drawn, if it is pixel by pixel.
fn sampler(loaded: &Loaded) -> Result<Option<SamplerInfo>, CliError> {
    let model = &loaded.model;
    let info = loaded
        .app
        .service
        .model_info(model.name(), Some(model.version()))?;
    Ok(match info.state {
        ModelState::Ready(ready) => ready.sampler,
        ModelState::Failed { .. } => None,
    })
}

fn appearance(sampler: Option<&SamplerInfo>) -> Appearance {
    match sampler {
        Some(SamplerInfo::Wavefront(cost)) => Appearance::Wavefront {
            lag: cost.lag as usize,
        },
        Some(SamplerInfo::FixedPoint { .. }) => Appearance::Rows,
        None => Appearance::AtOnce,
    }
}

/// What the output's name asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Grid,
    Animation,
    Array,
    Folder,
}

impl Form {
    /// Told before anything is drawn, because drawing may take minutes.
    fn of(output: &Path) -> Result<Self, CliError> {
        let ending = output.extension().unwrap_or_default().to_string_lossy();
        match ending.to_lowercase().as_str() {
            _ if output.is_dir() => Ok(Self::Folder),
            "png" => Ok(Self::Grid),
            "gif" => Ok(Self::Animation),
            "npy" => Ok(Self::Array),
            "" => Ok(Self::Folder),
            _ => Err(CliError::Usage(format!(
                "images cannot be written as {}: wanted is a name that ends in .png (one grid), .gif (an animation), .npy (one array), or a folder",
                output.display()
            ))),
        }
    }

    fn write(
        self,
        output: &Path,
        images: &[Image],
        appearance: Appearance,
    ) -> Result<(), CliError> {
        let Some(shape) = images.first().map(Image::shape) else {
            return Err(CliError::Usage("no images were asked for".to_owned()));
        };
        match self {
            Self::Grid => save(output, media::png_grid(images, shape)),
            Self::Animation => save(output, media::animation(images, shape, &[], appearance)),
            Self::Array => save(output, Ok(media::write_images(images, shape))),
            Self::Folder => {
                fs::create_dir_all(output)
                    .map_err(|error| CliError::writing(Some(output), error))?;
                images.iter().enumerate().try_for_each(|(index, image)| {
                    save(&output.join(format!("{index:05}.png")), media::png(image))
                })
            }
        }
    }
}

fn save(path: &Path, file: Result<Vec<u8>, MediaError>) -> Result<(), CliError> {
    file.map_err(io::Error::other)
        .and_then(|bytes| fs::write(path, bytes))
        .map_err(|error| CliError::writing(Some(path), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::image::ImageShape;

    #[test]
    fn the_ending_of_the_output_tells_its_form() {
        let folder = tempfile::tempdir().unwrap();
        let shape = ImageShape::new(1, 2, 3, 256).unwrap();
        let images = vec![Image::new(shape, vec![0, 50, 100, 150, 200, 250]).unwrap(); 5];
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str| {
            let form = Form::of(&path(name)).unwrap();
            form.write(&path(name), &images, Appearance::Rows).unwrap();
        };
        write("grid.png");
        assert!(
            fs::read(path("grid.png"))
                .unwrap()
                .starts_with(b"\x89PNG\r\n")
        );
        write("film.gif");
        assert!(fs::read(path("film.gif")).unwrap().starts_with(b"GIF89a"));
        write("array.npy");
        assert!(
            fs::read(path("array.npy"))
                .unwrap()
                .starts_with(media::NPY_MAGIC)
        );
        write("each/of/them");
        assert!(path("each/of/them/00004.png").is_file());
        assert!(Form::of(&path("movie.mp4")).is_err());
    }
}
