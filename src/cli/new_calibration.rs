//! `new-calibration`: a version that judges by its own statistic, calibrated with other images.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;

use super::{
    CliError, OfflineSettings, Outcome, calibrate,
    image_set::{self, Handling, ImageSet},
    model, pipeline,
};
use crate::{
    app::Registries,
    detection::calibrate::{call_without_deadline, unknown_training},
    families::recalibration::{self, Recipe},
    model::detect::Measures,
};

/// Give a density its own calibration, by which `detect` judges
///
/// Measures images that are as they should be by the model's own statistic: the log-likelihood, or the bound of a VAE
/// at the mean of the posterior. The next version of the model is written beside it in one step, the same in all but
/// its calibration; a running server takes it up on SIGHUP.
#[derive(Debug, Args)]
pub(super) struct NewCalibrationArgs {
    /// Name of a model in the repository, or path of a model's folder: a density
    model: String,

    /// Images that are as they should be and that the model was not trained on: files, npy arrays and folders
    #[arg(long, required = true, num_args = 1.., value_name = "INPUT")]
    data: Vec<PathBuf>,

    /// What the images are, for the manifest [default: the paths]
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    #[command(flatten)]
    handling: Handling,

    #[command(flatten)]
    settings: OfflineSettings,
}

pub(super) fn run(arguments: NewCalibrationArgs, registries: &Registries) -> Result<Outcome, CliError> {
    let NewCalibrationArgs {
        model,
        data,
        description,
        handling,
        settings,
    } = arguments;
    let loaded = model::load_any(&model, settings, registries)?;
    let (repository, _) = calibrate::place(&model::folder(&model, &loaded.settings.models.repository)?)?;
    let own = loaded.model;
    own.can::<dyn Measures>()
        .map_err(|reason| CliError::Usage(format!("{:?} cannot be calibrated: {reason}", own.name)))?;
    let gathered = ImageSet::read(&data, &own, handling)?;
    let images = gathered.images.len();
    let version = repository.join(&own.name).join(own.version.to_string());
    let recipe = Recipe {
        folder: &version,
        description: description.unwrap_or_else(|| calibrate::paths(&data)),
    };
    let bar = image_set::progress(images);
    let made = pipeline::runtime()?.block_on(recalibration::recalibrate(
        &own,
        &recipe,
        gathered.images,
        &registries.families,
        &call_without_deadline(loaded.app.repository.resources()),
        |measured| bar.set_position(measured as u64),
    ));
    bar.finish_and_clear();
    let made = made.inspect_err(|_| image_set::tell_missed(&gathered.failures))?;
    let mut text = format!(
        "{}\n\n{} images calibrate {}; false-alarm rates from {:.2e}",
        made.folder.display(),
        made.calibration.size(),
        made.statistic,
        made.calibration.smallest_p_value(),
    );
    if made.duplicates > 0 {
        text += &format!("\n{} came more than once and were taken once", made.duplicates);
    }
    text += "\n";
    text += &calibrate::notes_of(unknown_training(&own).into_iter(), &gathered.failures);
    io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|error| CliError::writing(None, error))?;
    Ok(image_set::outcome(gathered.failures.len(), images))
}
