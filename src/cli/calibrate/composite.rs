//! A composite of Bayes' rule from a classifier, a density and inliers.

use std::{
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use super::{Request, name_of, paths};
use crate::{
    app::App,
    cli::{CliError, Outcome, gather, pipeline},
    domain::{bayes::Role, family::Family},
    service::{
        ServedModel,
        compose::{Composed, Recipe},
    },
};

pub(super) fn run(
    request: Request,
    app: &App,
    classifier: Arc<ServedModel>,
    repository: &Path,
) -> Result<Outcome, CliError> {
    no_detector_options(&request)?;
    let (mut density, mut novelty) = (None, None);
    for text in &request.members {
        let (role, name) = member(text)?;
        let place = match role {
            Role::Density => &mut density,
            Role::Novelty => &mut novelty,
            Role::Classifier => {
                return Err(CliError::Usage(format!(
                    "--member {text}: the classifier is the model itself, {:?}",
                    classifier.name()
                )));
            }
        };
        if place.replace(app.service.model(&name, None)?).is_some() {
            return Err(CliError::Usage(format!(
                "--member {text}: there is a {role} already"
            )));
        }
    }
    let density = density.ok_or_else(|| {
        CliError::Usage(
            "a composite of a classifier needs a density: add --member density=NAME".to_owned(),
        )
    })?;
    let images = gather::images(
        &request.data,
        classifier.shape(),
        request.resize,
        request.convert,
    )?;
    let name = name_of(
        request.name,
        &format!("{}-bayes", classifier.name()),
        (app, Family::Bayes),
    )?;
    let members: String = request
        .members
        .iter()
        .map(|member| format!(" --member {member}"))
        .collect();
    let recipe = Recipe {
        command: format!(
            "density-server calibrate {}{members} --name {name}",
            classifier.name()
        ),
        name,
        classifier,
        density,
        novelty,
        data: request.description.unwrap_or_else(|| paths(&request.data)),
        licence: request.licence,
    };
    let bar = gather::progress(images.len());
    let made =
        pipeline::runtime()?.block_on(app.service.compose(&recipe, images, repository, |images| {
            bar.set_position(images as u64)
        }));
    bar.finish_and_clear();
    report(&made?)?;
    Ok(Outcome::Done)
}

/// Options that only mean something to a detector.
fn no_detector_options(request: &Request) -> Result<(), CliError> {
    let given = [
        ("--fit", !request.fit.is_empty()),
        ("--stir", request.stir),
        ("--samples", request.samples),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(CliError::Usage(format!(
            "{option} is for detectors; a composite of a classifier takes --member density=NAME and --member novelty=DETECTOR"
        ))),
    }
}

fn member(text: &str) -> Result<(Role, String), CliError> {
    let wrong = |reason: String| CliError::Usage(format!("--member {text}: {reason}"));
    let (role, name) = text
        .split_once('=')
        .ok_or_else(|| wrong("it must be ROLE=NAME".to_owned()))?;
    Ok((role.parse().map_err(wrong)?, name.to_owned()))
}

fn report(made: &Composed) -> Result<(), CliError> {
    let text = format!(
        "{}: {} images calibrate how ambiguous an image is{}\n",
        made.folder.display(),
        made.calibrate,
        match made.duplicates {
            0 => String::new(),
            count => format!("; {count} came more than once and were counted once"),
        }
    );
    io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .map_err(|error| CliError::writing(None, error))
}
