//! A composite of Bayes' rule from a classifier, a density and inliers.

use std::{path::Path, sync::Arc};

use super::{Request, name_of, notes_of, paths, print};
use crate::{
    app::App,
    cli::{
        CliError, Outcome,
        image_set::{self, ImageSet},
        pipeline,
    },
    detection::{calibrate, learners::BANK},
    domain::bayes::Role,
    families::bayes::{self, Composed, Recipe},
    model::{Model, classify::Classifies},
};

/// Whether the members are those of a composite. Without them a classifier is asked for its features, as a detector's
/// member.
pub(super) fn is_meant(members: &[String]) -> bool {
    members.iter().any(|text| member(text).is_ok())
}

pub(super) fn run(request: Request, app: &App, classifier: Arc<Model>, repository: &Path) -> Result<Outcome, CliError> {
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
                    classifier.name
                )));
            }
        };
        if place.replace(app.service.catalogue().model(&name, None)?).is_some() {
            return Err(CliError::Usage(format!("--member {text}: there is a {role} already")));
        }
    }
    let golden = ImageSet::read(&request.golden, &classifier, request.handling.strictly())?.images;
    let gathered = ImageSet::read(&request.data, &classifier, request.handling)?;
    let default = format!("{}-bayes", classifier.name);
    let name = name_of(request.name, &default, app, |other| {
        let classifies = other.can::<dyn Classifies>();
        classifies.is_ok_and(|classifies| classifies.has_doubts())
    })?;
    let members: String = request
        .members
        .iter()
        .map(|member| format!(" --member {member}"))
        .collect();
    let recipe = Recipe {
        command: format!("density-server calibrate {}{members} --name {name}", classifier.name),
        name,
        classifier,
        density,
        novelty,
        golden,
        data: request.description.unwrap_or_else(|| paths(&request.data)),
        licence: request.licence,
    };
    let ImageSet { images, failures, .. } = gathered;
    let count = images.len();
    let bar = image_set::progress(count);
    let made = pipeline::runtime()?.block_on(bayes::compose(
        app.repository.resources(),
        &recipe,
        images,
        repository,
        |images| bar.set_position(images as u64),
    ));
    bar.finish_and_clear();
    let made = made.inspect_err(|_| image_set::tell_missed(&failures))?;
    let members = [&recipe.classifier].into_iter().chain(&recipe.density);
    let notes = members.filter_map(|model| calibrate::unknown_training(model));
    print(&[report(&made), notes_of(notes, &failures)].concat())?;
    Ok(image_set::outcome(failures.len(), count))
}

/// Options that only mean something to a detector.
fn no_detector_options(request: &Request) -> Result<(), CliError> {
    let given = [
        ("--fit", !request.fit.is_empty()),
        ("--stir", request.stir),
        ("--samples", request.samples),
        ("--tiles", request.tiles.is_some()),
        ("--per-label", request.per_label),
        ("--by", request.by == "neighbours"),
        ("--bank", request.bank != BANK),
    ];
    match given.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((option, _)) => Err(CliError::Usage(format!(
            "{option} is for detectors; a composite of a classifier takes --member density=NAME, --member \
             novelty=DETECTOR or both"
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

fn report(made: &Composed) -> String {
    format!(
        "{}: {} images calibrate how ambiguous an image is{}\n",
        made.folder.display(),
        made.calibrate,
        match made.duplicates {
            0 => String::new(),
            count => format!("; {count} came more than once and were counted once"),
        }
    )
}
