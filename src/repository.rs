//! Model versions on disk: which there are, in which order they are loaded, and which of them serve.
//!
//! A repository is a folder `<name>/<version>/model.toml`. A version is discovered, then verified (its files are
//! complete and have the stated hashes; they are read once, and what was hashed is what is loaded), then proved (it has
//! passed its load gate), and only then ready. One that stays behind is listed with the reason, and the versions beside
//! it keep serving.
//!
//! Architecture invariant: nothing here knows of requests or queues, nor of families but through their registry. What
//! is loaded is immutable.

mod catalogue;
mod control;
mod disk;
mod loading;
mod order;
mod overrides;
mod parallel;
mod place;
mod records;
mod room;
mod scan;
mod source;
pub mod watch;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;

pub use self::loading::Loading;
use self::{
    catalogue::{Entry, Shown, Versions},
    disk::Disk,
    order::Ordered,
    overrides::Overrides,
    records::Records,
    scan::{Scan, tell_refused, tell_removed, unread},
    source::{Candidate, Looks, Sight, Source},
};
/// Finds a version of a model that serves already, or says why there is none.
pub use crate::families::gate::Lookup;
use crate::{
    families::{Declared, Findings, GateError, GateSettings, Registry, Resources, gate::Found, prove, prove_apart},
    model::{Model, info::State},
};

/// Loads the version in `folder` of the model `name` over `members`, or says which check it failed.
pub fn load(
    folder: &Path,
    (name, number): (&str, u32),
    registry: &Registry,
    members: Lookup<'_>,
    resources: &Resources,
    gate: GateSettings,
) -> Result<Model, GateError> {
    let snapshot = Declared::read(folder, name, registry)?.verify(folder)?;
    let mut findings = Findings::default();
    prove(&snapshot, number, members, resources, gate, &mut findings)
}

/// A folder of models, or a single model, and the versions of it that serve.
#[derive(Debug)]
pub struct Repository {
    source: Source,
    registry: Registry,
    resources: Resources,
    loading: Loading,
    records: Option<Records>,
    /// Held while models are loaded, so that two scans do not load the same version twice.
    known: Mutex<Known>,
    /// What was seen when the folder was looked at.
    looks: Mutex<Looks>,
    /// What operators have asked for. Whoever changes what requests see holds it, so that nothing is shown against it.
    overrides: Mutex<Overrides>,
    /// What requests see.
    shown: ArcSwap<Shown>,
    /// Whether the first scan is over.
    has_looked: AtomicBool,
    /// Why the folder could not be read when it was last looked at.
    unread: Mutex<Option<String>>,
    /// Why what operators ask for could not be kept when that was last tried.
    unkept: Mutex<Option<String>>,
    /// Where calls look into the folder: one that stands still keeps no caller.
    disk: Disk,
}

/// What earlier scans came to.
#[derive(Debug, Default)]
struct Known {
    /// Fingerprints of what versions were proved with that are ready, or failed their proof with complete files, by
    /// name and number.
    settled: BTreeMap<(String, u32), [u8; 32]>,
}

impl Repository {
    /// All models in the folder `root`, which is read at the first [`Self::scan`].
    pub fn new(root: impl Into<PathBuf>, registry: Registry, resources: Resources) -> Self {
        Self::of(Source::Root(root.into()), registry, resources)
    }

    /// The model in `folder`, which is that of a model, `…/<name>`, or of one version of it, `…/<name>/<version>`.
    /// Answers the model's name too; `None` if the folder is neither.
    pub fn of_model(folder: &Path, registry: Registry, resources: Resources) -> Option<(Self, String)> {
        let (source, name) = Source::of_model(folder)?;
        Some((Self::of(source, registry, resources), name))
    }

    fn of(source: Source, registry: Registry, resources: Resources) -> Self {
        Self {
            source,
            registry,
            resources,
            loading: Loading::default(),
            records: None,
            known: Mutex::default(),
            looks: Mutex::default(),
            overrides: Mutex::default(),
            shown: ArcSwap::default(),
            has_looked: AtomicBool::new(false),
            unread: Mutex::default(),
            unkept: Mutex::default(),
            disk: Disk::default(),
        }
    }

    /// The same, loading in this way.
    #[must_use]
    pub fn loading(mut self, loading: Loading) -> Self {
        let folder = loading.records.as_deref();
        self.records = folder.and_then(|folder| Records::new(folder, self.resources.engine.identity()));
        self.loading = loading;
        self
    }

    /// The same, with what operators ask for kept in a file of that folder. What it holds already is wished from the
    /// start; an error if that cannot be read. That it cannot be written is told, and only calls suffer from it.
    pub fn keeping_overrides_in(mut self, folder: &Path) -> io::Result<Self> {
        let overrides = Overrides::kept_in(folder)?;
        self.shown = ArcSwap::from_pointee(Shown {
            pinned: overrides.pins(),
            shadows: overrides.shadows(),
            ..Shown::default()
        });
        self.note_kept(&overrides.try_to_keep());
        self.overrides = Mutex::new(overrides);
        Ok(self)
    }

    /// What its models are made with.
    pub fn resources(&self) -> &Resources {
        &self.resources
    }

    /// Reads the folder: loads what is new, drops what is gone. Requests go on meanwhile; those that hold a model keep
    /// it. Takes as long as the load gates of new versions, so call it on a thread that may block.
    ///
    /// A version that is ready, or that failed its proof with complete files, is kept as it is while its manifest and
    /// those of its members stay the same: a manifest carries the hashes of its files. Whatever was missing or did not
    /// fit is looked at again. A version that is replaced by one that fails its gate serves on as it was loaded, and
    /// says so: publish a change as a new version. What operators have unloaded stays unloaded.
    pub fn scan(&self) -> io::Result<()> {
        self.scan_locked(&mut lock(&self.known))
    }

    fn scan_locked(&self, known: &mut Known) -> io::Result<()> {
        // A folder that does not answer must hold nobody else up.
        let mut looks = lock(&self.looks).clone();
        let sight = self.source.look(&mut looks);
        *lock(&self.looks) = looks;
        *lock(&self.unread) = sight.as_ref().err().map(ToString::to_string);
        let Sight { candidates, unreadable } = sight?;
        self.try_again_to_keep();
        let before = self.shown.load_full();
        if candidates.is_empty() && unreadable.is_empty() && !(self.has_looked() && before.versions.is_empty()) {
            tracing::warn!("there are no models: a model is a folder <name>/<version> with a model.toml");
        }
        let seen = Mutex::new(BTreeMap::new());
        let scan = Scan {
            settled: std::mem::take(&mut known.settled),
            loaded: Mutex::new(unread(&before.versions, &unreadable)),
            before: &before.versions,
            unreadable,
        };
        let ordered = order::by_dependence(candidates, &self.registry);
        let sizes = self.sizes_to_load(&ordered, &scan.settled);
        let wanted = room::of(sizes.iter().copied().flatten());
        if let Some(free) = (self.loading.free_memory)()
            && wanted > free
        {
            let (wanted, free) = (wanted >> 20, free >> 20);
            tracing::warn!(
                "models may take {wanted} MiB of memory and {free} MiB are free: where it runs out, the system may end \
                 the server without a word"
            );
        }
        parallel::in_order(
            ordered.into_iter().zip(sizes).collect(),
            parallel::Bounds {
                threads: self.loading.at_once,
                room: &|| (self.loading.free_memory)().unwrap_or(u64::MAX),
            },
            |(one, size)| (one.after.clone(), size.map_or(0, room::while_it_loads)),
            |_, (one, _)| {
                let (name, number, fingerprint) = (one.candidate.name.clone(), one.candidate.number, one.fingerprint);
                let entry = self.entry(one, &scan);
                if entry.is_settled {
                    lock(&seen).insert((name.clone(), number), fingerprint);
                }
                self.show(&name, number, &entry);
                lock(&scan.loaded).entry(name).or_default().insert(number, entry);
            },
        );
        known.settled = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut loaded = scan.loaded.into_inner().unwrap_or_else(PoisonError::into_inner);
        let overrides = lock(&self.overrides);
        for (name, versions) in &mut loaded {
            for (number, entry) in versions {
                // It may have been unloaded while others were loaded.
                if !overrides.want(name, *number) {
                    *entry = Entry::unloaded();
                }
            }
        }
        tell_removed(&before.versions, &loaded);
        self.count(&loaded);
        if before.versions.keys().any(|name| !loaded.contains_key(name)) {
            self.resources.metrics.retain_models(|name| loaded.contains_key(name));
        }
        self.shown.store(Arc::new(Shown {
            versions: loaded,
            pinned: overrides.pins(),
            shadows: overrides.shadows(),
        }));
        drop(overrides);
        self.has_looked.store(true, Ordering::Release);
        Ok(())
    }

    /// Bytes of memory that those versions may take that are not loaded yet: what they keep, and what the largest needs
    /// while it loads.
    pub fn needed_memory(&self) -> io::Result<u64> {
        let known = lock(&self.known);
        let Sight { candidates, .. } = self.source.look(&mut Looks::default())?;
        let ordered = order::by_dependence(candidates, &self.registry);
        let sizes = self.sizes_to_load(&ordered, &known.settled);
        Ok(room::of(sizes.into_iter().flatten()))
    }

    /// Bytes of the files of each version, `None` of those that stay what they are: nobody looks at their files.
    fn sizes_to_load(&self, ordered: &[Ordered], settled: &BTreeMap<(String, u32), [u8; 32]>) -> Vec<Option<u64>> {
        let overrides = lock(&self.overrides);
        let size = |one: &Ordered| {
            let Candidate { name, number, .. } = &one.candidate;
            let is_new =
                overrides.want(name, *number) && settled.get(&(name.clone(), *number)) != Some(&one.fingerprint);
            is_new.then(|| room::files(one))
        };
        ordered.iter().map(size).collect()
    }

    /// What becomes of a version: it stays what it was, or is loaded.
    fn entry(&self, one: Ordered, scan: &Scan<'_>) -> Entry {
        let (name, number) = (one.candidate.name.clone(), one.candidate.number);
        let before = scan.before.get(&name).and_then(|all| all.get(&number));
        if !lock(&self.overrides).want(&name, number) {
            return Entry::unloaded();
        }
        let version = (name, number);
        let is_same = scan.settled.get(&version) == Some(&one.fingerprint);
        match before {
            Some(before) if is_same && before.is_settled => before.clone(),
            _ => {
                let members = |name: &str, number| scan.member(name, number);
                let entry = self.load(one, &members).after(before);
                tell_refused(&version.0, number, &entry, before);
                entry
            }
        }
    }

    fn has_looked(&self) -> bool {
        self.has_looked.load(Ordering::Acquire)
    }

    /// Takes a version from its folder to ready, or as far as it comes.
    fn load(&self, one: Ordered, members: Lookup<'_>) -> Entry {
        let Ordered {
            candidate: Candidate { name, number, folder },
            declared,
            fingerprint,
            ..
        } = one;
        let at = |state| self.show(&name, number, &Entry::at(state));
        let refused = |state, error: &GateError, is_settled| Entry::stuck(state, error.to_string(), is_settled);

        at(State::Discovered);
        let snapshot = match declared.and_then(|declared| declared.verify(&folder)) {
            Ok(snapshot) => snapshot,
            // A file that is not there may be on its way.
            Err(error @ GateError::Read { .. }) => {
                return refused(State::Discovered, &error, false);
            }
            Err(error) => return refused(State::Failed, &error, false),
        };
        at(State::Verified);
        let record = self.records.as_ref().map(|records| {
            let key = records.key(&name, number, &fingerprint);
            (records.read(&key), records, key)
        });
        let known = record.as_ref().map(|(known, ..)| known.clone()).unwrap_or_default();
        let needed = snapshot.manifest.contract.members();
        let found: Vec<Found> = needed
            .iter()
            .map(|&(name, version)| Found {
                name: name.to_owned(),
                version,
                model: members(name, version),
            })
            .collect();
        let has_members = found.iter().all(|one| one.model.is_ok());
        let made_of = found.iter().map(|one| (one.name.clone(), one.version)).collect();
        let (model, findings) = prove_apart(snapshot, number, found, &self.resources, self.loading.gate, known);
        let model = match model {
            Ok(model) => model,
            // What took too long may have had too little of the machine.
            Err(error) => {
                let is_settled = has_members && !error.is_of_time();
                return refused(State::Failed, &error, is_settled);
            }
        };
        at(State::Proved);
        if let Some((known, records, key)) = record
            && known != findings
        {
            records.write(key, findings);
        }
        tracing::info!(
            model = name,
            version = number,
            family = model.card.family,
            "model ready"
        );
        Entry::ready(model, made_of)
    }

    /// Lets requests see how far a version is; one that serves keeps serving until its successor takes its place.
    fn show(&self, name: &str, number: u32, entry: &Entry) {
        let overrides = lock(&self.overrides);
        if entry.model.is_some() && !overrides.want(name, number) {
            return;
        }
        self.shown.rcu(|shown| {
            let mut shown = Shown::clone(shown);
            let versions = shown.versions.entry(name.to_owned()).or_default();
            let is_refused = |shown: &Entry| shown.reason.is_some() && shown.state != State::Unloaded;
            let is_at_rest = |shown: &Entry| shown.model.is_some() || is_refused(shown);
            if !versions.get(&number).is_some_and(is_at_rest) || entry.model.is_some() {
                versions.insert(number, entry.clone());
            }
            shown
        });
    }

    fn count(&self, versions: &Versions) {
        let gauge = &self.resources.metrics.model_ready;
        gauge.reset();
        for (name, versions) in versions {
            let counted = versions.iter().filter(|(_, entry)| entry.state != State::Unloaded);
            for (number, entry) in counted {
                gauge
                    .with_label_values(&[name.as_str(), &number.to_string()])
                    .set(i64::from(entry.model.is_some()));
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
