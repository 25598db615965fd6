//! From a folder to a model that serves: what is read, what is remembered, and what is proved again.

#![allow(clippy::unwrap_used)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use common::{engine, faults::Faults, fixtures, repository_of, resources, resources_of};
use density_server::{
    families::{Declared, Findings, GateSettings, Registry, prove},
    model::{
        catalogue::{Catalogue, Listing},
        info::State,
    },
    repository::{Loading, Repository},
    scheduling::SchedulerConfig,
};

const NAME: &str = "tiny-pixelcnn";

/// A repository with one version of a fixture.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(folder.version()).unwrap();
        for entry in fs::read_dir(fixtures().join(NAME).join("1")).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.file(path.file_name().unwrap().to_str().unwrap())).unwrap();
        }
        folder
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn version(&self) -> PathBuf {
        self.root().join(NAME).join("1")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.version().join(name)
    }

    /// Makes the golden scores ones that no proof reproduces, with the right hash.
    fn with_wrong_scores(self) -> Self {
        let manifest = fs::read_to_string(self.file("model.toml")).unwrap();
        let scale = manifest.lines().find(|line| line.starts_with("scale")).unwrap();
        fs::write(self.file("model.toml"), manifest.replace(scale, "scale = 7.0")).unwrap();
        self
    }
}

/// A repository over the folder whose runs are counted.
fn counted(folder: &Path, loading: Loading) -> (Repository, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let resources = resources_of(faults.engine(engine()), SchedulerConfig::default());
    (repository_of(folder, resources).loading(loading), faults)
}

fn listing(repository: &Repository) -> Listing {
    repository.listing(NAME, Some(1)).unwrap()
}

fn scanned(folder: &Folder) -> Listing {
    let repository = repository_of(folder.root(), resources());
    repository.scan().unwrap();
    listing(&repository)
}

#[test]
fn the_bytes_that_were_hashed_are_the_bytes_that_are_loaded() {
    let folder = Folder::new();
    let declared = Declared::read(&folder.version(), NAME, &Registry::standard()).unwrap();
    let snapshot = declared.verify(&folder.version()).unwrap();
    fs::remove_dir_all(folder.root().join(NAME)).unwrap();
    let nobody = |_: &str, _| Err("there are no other models here".to_owned());
    let mut findings = Findings::default();
    prove(
        &snapshot,
        1,
        &nobody,
        &resources(),
        GateSettings::default(),
        &mut findings,
    )
    .unwrap();
}

#[test]
fn a_version_whose_graph_arrives_after_its_manifest_becomes_ready() {
    let folder = Folder::new();
    let (graph, later) = (folder.file("model.onnx"), folder.root().join(".later"));
    fs::rename(&graph, &later).unwrap();
    let repository = repository_of(folder.root(), resources());
    repository.scan().unwrap();
    let waiting = listing(&repository);
    assert_eq!(waiting.state, State::Discovered);
    assert!(waiting.reason.unwrap().contains("model.onnx"));
    assert!(!repository.is_ready());

    // Half of it has arrived.
    let bytes = fs::read(&later).unwrap();
    fs::write(&graph, &bytes[..bytes.len() / 2]).unwrap();
    repository.scan().unwrap();
    let half = listing(&repository);
    assert_eq!(half.state, State::Failed);
    assert!(half.reason.unwrap().contains("sha256"));

    fs::write(&graph, &bytes).unwrap();
    repository.scan().unwrap();
    assert_eq!(listing(&repository).state, State::Ready);
    assert!(repository.is_ready());
}

#[test]
fn a_failed_proof_of_complete_files_is_not_tried_again_until_they_change() {
    let folder = Folder::new().with_wrong_scores();
    let (repository, faults) = counted(folder.root(), Loading::default());
    repository.scan().unwrap();
    let failed = listing(&repository);
    assert_eq!(failed.state, State::Failed);
    assert!(failed.reason.unwrap().contains("golden"));
    let runs = faults.runs();
    assert!(runs > 0);
    repository.scan().unwrap();
    assert_eq!(faults.runs(), runs);
    assert_eq!(listing(&repository).state, State::Failed);

    fs::copy(fixtures().join(NAME).join("1/model.toml"), folder.file("model.toml")).unwrap();
    repository.scan().unwrap();
    assert_eq!(listing(&repository).state, State::Ready);
}

#[test]
fn what_was_proved_with_the_same_files_is_not_proved_again() {
    let folder = Folder::new();
    let loading = Loading {
        records: Some(folder.root().join(".proofs")),
        ..Loading::default()
    };
    let start = |loading: &Loading| {
        let (repository, faults) = counted(folder.root(), loading.clone());
        repository.scan().unwrap();
        let model = repository.model(NAME, None).unwrap();
        let names = model.card.checks.iter().map(|check| check.name.to_string());
        (names.collect::<Vec<_>>(), faults.runs())
    };
    let (first, proofs) = start(&loading);
    let (second, runs) = start(&loading);
    // What remains are the tables of a drawing program and the comparison of cropped kernels, which it is made with.
    assert!(runs <= 3 && proofs > runs, "{runs} of {proofs}");
    assert!(!first.contains(&"record".to_owned()));
    let replayed: Vec<_> = second.iter().filter(|&name| name != "record").cloned().collect();
    assert_eq!(replayed, first, "the checks are told all the same");
    assert_eq!(second.len(), first.len() + 1);

    let without = Loading::default();
    assert_eq!(start(&without).1, proofs, "without records");
    let manifest = fs::read_to_string(folder.file("model.toml")).unwrap();
    fs::write(folder.file("model.toml"), manifest + "\n# changed\n").unwrap();
    assert_eq!(start(&loading).1, proofs, "with another manifest");
}

#[cfg(unix)]
#[test]
fn a_pipe_or_a_link_is_refused_and_nobody_waits_for_it() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    let folder = Folder::new();
    let graph = folder.file("model.onnx");
    let elsewhere = folder.root().join(".elsewhere");
    fs::rename(&graph, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &graph).unwrap();
    let reason = scanned(&folder).reason.unwrap();
    assert!(reason.contains("model.onnx") && reason.contains("a link"), "{reason}");

    fs::remove_file(&graph).unwrap();
    mknodat(CWD, &graph, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let reason = scanned(&folder).reason.unwrap();
    assert!(reason.contains("model.onnx") && reason.contains("a pipe"), "{reason}");
}

#[test]
fn a_model_whose_folder_is_away_for_a_while_serves_on_and_one_that_is_removed_does_not() {
    let (folder, root) = (Folder::new(), tempfile::tempdir().unwrap());
    let (there, away) = (folder.root().join(NAME), folder.root().join("away"));
    std::os::unix::fs::symlink(&there, root.path().join(NAME)).unwrap();
    let repository = repository_of(root.path(), resources());
    let is_told_of = || repository.resources().metrics.encode().contains(NAME);
    repository.scan().unwrap();
    assert_eq!(listing(&repository).reason, None);
    fs::rename(&there, &away).unwrap();
    repository.scan().unwrap();
    let kept = listing(&repository);
    assert!(kept.model.is_some() && kept.state == State::Ready);
    assert!(kept.reason.unwrap().contains("the model's folder cannot be read"));
    assert!(is_told_of());
    fs::rename(&away, &there).unwrap();
    repository.scan().unwrap();
    assert_eq!(listing(&repository).reason, None);
    fs::remove_file(root.path().join(NAME)).unwrap();
    repository.scan().unwrap();
    assert!(repository.listing(NAME, Some(1)).is_err());
    assert!(!is_told_of());
}

#[test]
fn a_mount_point_whose_file_system_is_away_is_no_word_that_models_were_removed() {
    let (folder, root) = (Folder::new(), tempfile::tempdir().unwrap());
    let (mounted, away, empty) = ["mounted", "away", "empty"].map(|name| root.path().join(name)).into();
    fs::rename(folder.root(), &mounted).unwrap();
    fs::create_dir(&empty).unwrap();
    let exchange = |from: &Path, to: &Path| {
        fs::rename(&mounted, to).unwrap();
        fs::rename(from, &mounted).unwrap();
    };
    let repository = repository_of(&mounted, resources());
    repository.scan().unwrap();
    assert_eq!(listing(&repository).reason, None);
    // The whole repository, as `umount` leaves it.
    exchange(&empty, &away);
    for _ in 0..2 {
        let error = repository.scan().unwrap_err().to_string();
        assert!(error.contains("file system is away"), "{error}");
        let kept = listing(&repository);
        assert!(kept.model.is_some() && kept.state == State::Ready);
        assert_eq!(repository.unready(), None);
        assert!(repository.troubles().concat().contains("models stay as they are"));
    }
    exchange(&away, &empty);
    repository.scan().unwrap();
    assert!(repository.troubles().is_empty());
    // The folder of one model.
    let model = mounted.join(NAME);
    fs::rename(&model, &away).unwrap();
    fs::rename(&empty, &model).unwrap();
    repository.scan().unwrap();
    let kept = listing(&repository);
    assert!(kept.model.is_some() && kept.reason.unwrap().contains("file system is away"));
    fs::rename(&model, &empty).unwrap();
    fs::rename(&away, &model).unwrap();
    repository.scan().unwrap();
    assert_eq!(listing(&repository).reason, None);
    // What is removed from the folder itself is gone.
    fs::remove_dir_all(&model).unwrap();
    repository.scan().unwrap();
    assert!(repository.listing(NAME, Some(1)).is_err());
}

#[test]
fn the_server_is_ready_when_the_models_serve_that_must() {
    let folder = Folder::new();
    let requiring = |names: &[&str]| {
        let loading = Loading {
            required: names.iter().map(|&name| name.to_owned()).collect(),
            ..Loading::default()
        };
        let repository = repository_of(folder.root(), resources()).loading(loading);
        assert!(!repository.is_ready(), "nobody has looked yet");
        repository.scan().unwrap();
        repository.is_ready()
    };
    assert!(requiring(&[]));
    assert!(requiring(&[NAME]));
    assert!(!requiring(&[NAME, "another"]));
}

#[test]
fn where_memory_is_short_versions_are_loaded_all_the_same() {
    let loading = Loading {
        at_once: 4,
        free_memory: || Some(0),
        ..Loading::default()
    };
    let (repository, _) = counted(&fixtures(), loading);
    let wanted = repository.needed_memory().unwrap();
    let size = |model: &std::fs::DirEntry| fs::metadata(model.path().join("1/model.onnx")).map_or(0, |file| file.len());
    let graphs: u64 = fixtures().read_dir().unwrap().map(|model| size(&model.unwrap())).sum();
    assert!(wanted > graphs, "{wanted} for graphs of {graphs}");
    repository.scan().unwrap();
    assert!(repository.listings().iter().all(|own| own.state == State::Ready));
    // What is loaded wants no more.
    assert_eq!(repository.needed_memory().unwrap(), 0);
}
