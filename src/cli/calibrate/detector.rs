//! A detector from a model, its helpers and inliers.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Request, name_of, notes_of, paths, print};
use crate::{
    app::App,
    cli::{
        CliError, Outcome,
        image_set::{self, ImageSet},
        pipeline,
    },
    detection::{
        calibrate::{self, By, Guarantee, Inliers},
        detector::is_detector,
        evidence::{GivesFeatures, Latents, Predicts, SquaredErrors, Surprises},
        learners::BANK,
        statistics::Requirement,
    },
    domain::image::Image,
    families::detector::{self, Made, Recipe, Tiles},
    media::DecodeOptions,
    model::Model,
};

/// Members with their roles; the first is the model itself.
type Members = Vec<(Requirement, Arc<Model>)>;

pub(super) fn run(request: Request, app: &App, main: Arc<Model>, repository: &Path) -> Result<Outcome, CliError> {
    let members = members(&request, app, Arc::clone(&main))?;
    let tiles = request.tiles.as_deref().map(tiles).transpose()?;
    let sizes = DecodeOptions {
        any_size: tiles.is_some(),
        ..main.preprocessing
    };
    let options = sizes.or(request.handling.decoding.options());
    let read = |inputs: &[PathBuf], handling| ImageSet::read_as(inputs, (main.shape, options), handling);
    let handling = request.handling;
    let (data, fit) = (read(&request.data, handling)?, read(&request.fit, handling)?);
    let failures = [data.failures, fit.failures].concat();
    let inliers = Inliers {
        data: data.images,
        fit: fit.images,
    };
    let images = inliers.data.len() + inliers.fit.len();
    let default = format!("{}-gate", main.name);
    let name = name_of(request.name.clone(), &default, app, is_detector)?;
    let golden = read(&request.golden, handling.strictly())?.images;
    let recipe = recipe(request, name, (members, tiles), golden);
    let bar = image_set::progress(images);
    let made = pipeline::runtime()?.block_on(detector::calibrate(
        app.repository.resources(),
        &recipe,
        inliers,
        repository,
        |images| bar.set_position(images as u64),
    ));
    bar.finish_and_clear();
    let made = made.inspect_err(|_| image_set::tell_missed(&failures))?;
    let notes = recipe
        .members
        .iter()
        .filter_map(|(_, model)| calibrate::unknown_training(model));
    print(&[report(&made), notes_of(notes, &failures)].concat())?;
    Ok(image_set::outcome(failures.len(), images))
}

/// The model and its helpers, each with a role of its own, if they give what is asked of them.
fn members(request: &Request, app: &App, main: Arc<Model>) -> Result<Members, CliError> {
    let role = own_role(&main)?;
    let mut members = vec![(role, main)];
    for text in &request.members {
        let (role, name) = member(text)?;
        if members.iter().any(|(other, _)| *other == role) {
            return Err(CliError::Usage(format!(
                "--member {text}: there is a {} already",
                role.name()
            )));
        }
        members.push((role, app.service.catalogue().model(&name, None)?));
    }
    if request.stir && role != Requirement::Density {
        return Err(CliError::Usage(
            "--stir compares exact likelihoods, which this model does not have".to_owned(),
        ));
    }
    if request.samples && members.iter().all(|(role, _)| *role != Requirement::Latent) {
        return Err(CliError::Usage(
            "--samples decodes codes of a member with the role latent: add --member latent=NAME".to_owned(),
        ));
    }
    Ok(members)
}

fn recipe(request: Request, name: String, (members, tiles): (Members, Option<Tiles>), golden: Vec<Image>) -> Recipe {
    let names: Vec<&str> = members.iter().map(|(_, member)| member.name.as_str()).collect();
    Recipe {
        description: format!(
            "Detector of images unlike those it was calibrated with, over {}",
            names.join(", ")
        ),
        command: command(&request, names[0], &name),
        data: request.description.unwrap_or_else(|| paths(&request.data)),
        licence: request.licence,
        name,
        members,
        stir: request.stir,
        samples: request.samples,
        by: match request.by.as_str() {
            "neighbours" => By::Neighbours,
            _ => By::Everything,
        },
        bank: request.bank,
        tiles,
        per_label: request.per_label,
        golden,
        seed: request.seed,
    }
}

/// What the model itself is to the detector, by what it has for one.
fn own_role(model: &Model) -> Result<Requirement, CliError> {
    if model.can::<dyn Surprises>().is_ok() {
        return Ok(Requirement::Density);
    }
    if model.can::<dyn Latents>().is_ok() {
        return Ok(Requirement::Latent);
    }
    if model.can::<dyn SquaredErrors>().is_ok() {
        return Ok(Requirement::Autoencoder);
    }
    if model.can::<dyn GivesFeatures>().is_ok() {
        return Ok(Requirement::Features);
    }
    match model.can::<dyn Predicts>() {
        Ok(_) => Ok(Requirement::Classifier),
        Err(_) => Err(CliError::Usage(format!(
            "{:?} is of the family {}: a detector is made from a model with an exact density that is conditioned on \
             nothing, with a code and a way back from it, with features, or with labels",
            model.name, model.card.family
        ))),
    }
}

/// How images are cut, from `stride=16,smoothing=4,share=0.01` or a part of that.
fn tiles(text: &str) -> Result<Tiles, CliError> {
    let wrong = |part: &str| {
        CliError::Usage(format!(
            "--tiles {part}: it must be stride=PIXELS, smoothing=PIXELS or share=SHARE, with commas between them"
        ))
    };
    let mut tiles = Tiles::default();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let is_known = match part.split_once('=') {
            Some(("stride", value)) => value.parse().map(|value| tiles.stride = Some(value)).is_ok(),
            Some(("smoothing", value)) => value.parse().map(|value| tiles.smoothing = Some(value)).is_ok(),
            Some(("share", value)) => value.parse().map(|value| tiles.share = Some(value)).is_ok(),
            _ => false,
        };
        if !is_known {
            return Err(wrong(part));
        }
    }
    Ok(tiles)
}

fn member(text: &str) -> Result<(Requirement, String), CliError> {
    let wrong = |reason: String| CliError::Usage(format!("--member {text}: {reason}"));
    let (role, name) = text
        .split_once('=')
        .ok_or_else(|| wrong("it must be ROLE=NAME".to_owned()))?;
    let found = Requirement::ALL.into_iter().find(|own| own.name() == role);
    match found {
        Some(found) if !found.is_derived() => Ok((found, name.to_owned())),
        Some(Requirement::Stirring | Requirement::Samples) => Err(wrong(
            "it asks another member and has none of its own: give --stir or --samples".to_owned(),
        )),
        _ => {
            let members = Requirement::ALL.iter().filter(|own| !own.is_derived());
            let known: Vec<&str> = members.map(|own| own.name()).collect();
            let known = known.join(", ");
            Err(wrong(format!(
                "unknown role {role:?}: one of {known}; of a composite density and novelty"
            )))
        }
    }
}

/// The command for the manifest, without paths: these are of one machine.
fn command(request: &Request, model: &str, name: &str) -> String {
    let mut command = format!("density-server calibrate {model}");
    for member in &request.members {
        command += &format!(" --member {member}");
    }
    let flags = [
        (" --stir", request.stir),
        (" --samples", request.samples),
        (" --per-label", request.per_label),
        (" --by neighbours", request.by == "neighbours"),
    ];
    command.extend(flags.into_iter().filter(|(_, is_set)| *is_set).map(|(flag, _)| flag));
    if request.bank != BANK {
        command += &format!(" --bank {}", request.bank);
    }
    match request.tiles.as_deref() {
        None => {}
        Some("") => command += " --tiles",
        Some(text) => command += &format!(" --tiles {text}"),
    }
    command + &format!(" --name {name} --seed {}", request.seed)
}

fn report(made: &Made) -> String {
    let mut text = format!(
        "{}\n\nimages\n  {} fit the densities, {} rank, {} calibrate",
        made.folder.display(),
        made.fit,
        made.rank,
        made.calibrate
    );
    if made.duplicates > 0 {
        text += &format!("; {} came more than once and were taken once", made.duplicates);
    }
    if let Some(least) = made.least_of_a_label {
        text += &format!("; label by label, with at least {least} each, and each keeps what is promised");
    }
    text += "\n\nfalse-alarm rate  on average  with 95 % confidence\n";
    for guarantee in &made.guarantees {
        let Guarantee {
            rate,
            on_average,
            certified_threshold,
        } = guarantee;
        text += &format!(
            "  {:<14}  {:<10}  {}\n",
            format!("{} %", rate * 100.0),
            if *on_average { "p ≤ rate" } else { "too few" },
            certified_threshold.map_or("too few".to_owned(), |threshold| format!("p ≤ {threshold:.5}")),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_roles_and_names() {
        assert_eq!(member("local=m").unwrap(), (Requirement::Local, "m".to_owned()));
        for wrong in ["local", "lokal=m", "stirring=m"] {
            assert!(member(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn tiles_are_keys_and_values() {
        let parsed = tiles("stride=16,share=0.05").unwrap();
        assert_eq!(
            (parsed.stride, parsed.smoothing, parsed.share),
            (Some(16), None, Some(0.05))
        );
        assert_eq!(tiles("").unwrap(), Tiles::default());
        for wrong in ["stride", "stride=x", "step=3"] {
            assert!(tiles(wrong).is_err(), "{wrong}");
        }
    }
}
