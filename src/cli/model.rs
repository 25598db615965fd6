//! Which model a command means: a name in the repository, or the path of a model's folder.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{CliError, OfflineSettings};
use crate::{
    app::{App, Registries},
    model::{Model, Refusal, refusal::clip_list},
    settings::Settings,
};

/// A model that is loaded and can do what the command needs.
pub(super) struct Loaded {
    pub(super) app: App,
    pub(super) model: Arc<Model>,
    pub(super) settings: Settings,
}

/// Loads the model that `model` means and nothing else; refuses it at once if it cannot do `operation`.
pub(super) fn load(
    model: &str,
    operation: &str,
    settings: OfflineSettings,
    registries: &Registries,
) -> Result<Loaded, CliError> {
    let loaded = load_any(model, settings, registries)?;
    let known = loaded
        .app
        .service
        .operations()
        .find(|own| own.about().name == operation);
    if let Some(known) = known {
        known
            .available(&loaded.model)
            .map_err(|reason| Refusal::unsupported(&loaded.model.name, operation, &reason))?;
    }
    Ok(loaded)
}

/// Loads the model that `model` means and nothing else, whatever it can do.
pub(super) fn load_any(model: &str, settings: OfflineSettings, registries: &Registries) -> Result<Loaded, CliError> {
    let settings = settings.start()?;
    let folder = folder(model, &settings.models.repository)?;
    let (app, name) = App::load_one(&settings, registries, &folder)?;
    let model = app.service.catalogue().model(&name, None)?;
    Ok(Loaded { app, model, settings })
}

/// The folder of a model, by name or by path. A name wins, so that what lies in the working folder cannot change what a
/// name means; write `./name` for the folder.
pub(super) fn folder(model: &str, repository: &Path) -> Result<PathBuf, CliError> {
    let path = Path::new(model);
    let is_name = path.components().count() == 1 && !model.starts_with('.');
    let named = repository.join(model);
    if is_name && named.is_dir() {
        return Ok(named);
    }
    if path.is_dir() {
        return Ok(path.to_owned());
    }
    let names = names(repository);
    Err(CliError::Usage(format!(
        "there is no model {model:?}: neither a folder of that path nor a name in {}, which has: {}",
        repository.display(),
        clip_list(&names)
    )))
}

fn names(repository: &Path) -> Vec<String> {
    let Ok(entries) = repository.read_dir() else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_name_means_the_repositorys_model_and_a_path_means_itself() {
        let repository = tempfile::tempdir().unwrap();
        let model = repository.path().join("tiny");
        fs::create_dir(&model).unwrap();
        assert_eq!(folder("tiny", repository.path()).unwrap(), model);
        let path = model.to_string_lossy();
        assert_eq!(folder(&path, Path::new("nowhere")).unwrap(), model);
    }

    #[test]
    fn an_unknown_name_is_answered_with_those_there_are() {
        let repository = tempfile::tempdir().unwrap();
        fs::create_dir(repository.path().join("tiny")).unwrap();
        let message = folder("tinny", repository.path()).unwrap_err().to_string();
        assert!(message.ends_with("which has: tiny"), "{message}");
    }
}
