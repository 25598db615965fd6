//! The system's word that something in the folder of models has changed.

use std::{fmt, path::Path};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};

use super::place::Place;

/// What is told of a folder.
#[derive(Debug)]
pub enum Sight {
    /// Something in it is not as it was.
    Changed,
    /// From now on changes may go unseen, for this reason.
    Blind(String),
}

/// Tells of changes in a folder for as long as it lives.
pub struct Watch {
    _watcher: RecommendedWatcher,
    place: Place,
}

impl Watch {
    /// Begins to tell; or says why the system cannot.
    pub fn start(folder: &Path, tell: impl Fn(Sight) + Send + 'static) -> Result<Self, String> {
        let start = || {
            // Events have the real path, and a link is not followed twice.
            let place = Place::of(folder).map_err(notify::Error::io)?;
            let seen = place.path.clone();
            let handler = move |event: notify::Result<Event>| match event {
                Ok(event) if is_change(&event, &seen) => tell(Sight::Changed),
                Ok(_) => {}
                Err(error) => tell(Sight::Blind(error.to_string())),
            };
            let mut watcher = notify::recommended_watcher(handler)?;
            watcher.watch(&place.path, RecursiveMode::Recursive)?;
            Ok(Self {
                _watcher: watcher,
                place,
            })
        };
        start().map_err(|error: notify::Error| error.to_string())
    }

    /// Whether `folder` leads elsewhere now, of which nothing is told: a link that was changed, a folder that was
    /// exchanged, a file system that was mounted.
    pub fn is_outdated(&self, folder: &Path) -> bool {
        Place::of(folder).is_ok_and(|place| place != self.place)
    }
}

/// Whether an event says that versions may have changed. Reading does not change them, and what is hidden is no
/// version: the server itself writes there.
fn is_change(event: &Event, root: &Path) -> bool {
    if event.need_rescan() {
        return true;
    }
    let writes = match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    };
    let is_hidden = |path: &Path| {
        let inner = path.strip_prefix(root).unwrap_or(path);
        inner.iter().any(|part| part.as_encoded_bytes().starts_with(b"."))
    };
    writes && event.paths.iter().any(|path| !is_hidden(path))
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, ModifyKind, RenameMode};

    use super::*;

    #[test]
    fn reading_and_what_is_hidden_are_no_changes() {
        let is_change = |kind, paths: &[&str]| {
            let event = paths
                .iter()
                .fold(Event::new(kind), |event, path| event.add_path(path.into()));
            is_change(&event, Path::new("/models"))
        };
        let created = EventKind::Create(CreateKind::File);
        assert!(is_change(created, &["/models/a/1/model.toml"]));
        assert!(is_change(
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            &["/models/a/1/x"]
        ));
        assert!(!is_change(
            EventKind::Access(AccessKind::Open(AccessMode::Any)),
            &["/models/a/1/x"]
        ));
        assert!(!is_change(created, &["/models/.proofs/a-1.json"]));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::Both));
        assert!(is_change(renamed, &["/models/a/.2", "/models/a/2"]));
    }
}
