//! Models changed by calls while the server serves: no request is lost, what operators said holds, and what cannot be
//! is refused with the reason.

#![allow(clippy::unwrap_used)]

mod command;
mod common;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{
    Server, engine, eventually, faults::Faults, fixtures, repository_of, resources, resources_of, service_of,
};
use density_server::{
    domain::{
        image::{Image, ImageShape},
        random::{Random, Stream},
    },
    media,
    model::control::Operator,
    operations::{Limits, Service},
    repository::Repository,
    scheduling::SchedulerConfig,
    transport::http::HttpConfig,
};
use reqwest::Client;
use serde_json::{Value, json};

const NAME: &str = "tiny-pixelcnn";
const MADE_OF_IT: &str = "tiny-bayes";

/// A repository of its own on disk.
struct Folder(tempfile::TempDir);

impl Folder {
    /// Versions of one fixture.
    fn with(versions: &[u32]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for &version in versions {
            folder.add(NAME, version);
        }
        folder
    }

    fn version(&self, name: &str, version: u32) -> PathBuf {
        self.0.path().join(name).join(version.to_string())
    }

    /// Copies version 1 of the fixture to another number.
    fn add(&self, name: &str, version: u32) {
        let folder = self.version(name, version);
        fs::create_dir_all(&folder).unwrap();
        for file in files(name) {
            fs::copy(&file, folder.join(file.file_name().unwrap())).unwrap();
        }
    }
}

/// The files of a fixture.
fn files(name: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(fixtures().join(name).join("1")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// An array of images that calibrate.
fn noise(folder: &Path) -> PathBuf {
    let shape = ImageShape::new(1, 6, 5, 4).unwrap();
    let image = |index| {
        let random = Random::new(1, Stream::Probe, index);
        let levels = (0..30).map(|place| (4.0 * random.uniform(place)) as u8);
        Image::new(shape, levels.collect::<Vec<u8>>()).unwrap()
    };
    let images: Vec<Image> = (0..300).map(image).collect();
    let path = folder.join("noise.npy");
    fs::write(&path, media::write_images(&images, shape)).unwrap();
    path
}

/// A server over a repository, whose models calls may change.
struct Operated {
    repository: Arc<Repository>,
    service: Arc<Service>,
    server: Server,
}

impl Operated {
    async fn over(folder: &Folder) -> Self {
        Self::start(repository_of(folder.0.path(), resources())).await
    }

    /// The same with faults that the test decides on.
    async fn with_faults(folder: &Folder) -> (Self, Arc<Faults>) {
        let faults = Arc::new(Faults::default());
        let own = resources_of(faults.engine(engine()), SchedulerConfig::default());
        (Self::start(repository_of(folder.0.path(), own)).await, faults)
    }

    async fn start(repository: Repository) -> Self {
        let repository = Arc::new(repository);
        let own = Arc::clone(&repository);
        tokio::task::spawn_blocking(move || own.scan()).await.unwrap().unwrap();
        let operator = Operator::of(Arc::<Repository>::clone(&repository));
        let service = service_of(Arc::clone(&repository), Limits::default());
        let service = Arc::into_inner(service).unwrap().operated(operator);
        let service = Arc::new(service);
        let server = Server::start(&service, HttpConfig::default()).await;
        Self {
            repository,
            service,
            server,
        }
    }

    async fn post(&self, path: &str) -> (u16, Value) {
        let url = format!("{}{path}", self.server.url);
        let answer = Client::new().post(url).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    /// An action that must succeed: versions with their states, the default one marked.
    async fn act(&self, path: &str) -> Vec<String> {
        let (status, body) = self.post(&format!("/v1/repository/{path}")).await;
        assert_eq!(status, 200, "{path}: {body}");
        let models = body["models"].as_array().unwrap().iter();
        let own = models.filter(|model| model["name"] == NAME);
        own.map(|model| {
            let mark = if model["default"] == true { "*" } else { "" };
            format!("{}{mark} {}", model["version"], model["state"].as_str().unwrap())
        })
        .collect()
    }

    /// An action that must be refused: its status and the words.
    async fn refused(&self, path: &str) -> (u16, String) {
        let (status, body) = self.post(&format!("/v1/repository/{path}")).await;
        (
            status,
            body["detail"]
                .as_str()
                .unwrap_or_else(|| panic!("{path}: {body}"))
                .to_owned(),
        )
    }

    /// The version that answers a request that names none.
    async fn version(&self) -> u64 {
        score(&self.server.url, "").await.unwrap()
    }
}

/// Scores an image; the version that did it, or what went wrong.
async fn score(url: &str, query: &str) -> Result<u64, String> {
    let body = json!({"images": [{"pixels": vec![vec![1; 5]; 6]}]});
    let sent = Client::new()
        .post(format!("{url}/v1/models/{NAME}/score{query}"))
        .json(&body)
        .send();
    let answer = sent.await.map_err(|error| error.to_string())?;
    let status = answer.status().as_u16();
    let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
    answer["version"].as_u64().ok_or_else(|| format!("{status}: {answer}"))
}

/// Clients that score all the time.
struct Load {
    is_over: Arc<AtomicBool>,
    /// Versions that answered, since they were last looked at.
    seen: Arc<Mutex<BTreeSet<u64>>>,
    clients: Vec<tokio::task::JoinHandle<Result<usize, String>>>,
}

impl Load {
    fn on(url: &str, query: &'static str) -> Self {
        let (is_over, seen) = (Arc::<AtomicBool>::default(), Arc::<Mutex<BTreeSet<u64>>>::default());
        let client = || {
            let (url, is_over, seen) = (url.to_owned(), Arc::clone(&is_over), Arc::clone(&seen));
            tokio::spawn(async move {
                let mut answered = 0;
                while !is_over.load(Ordering::SeqCst) {
                    let version = score(&url, query).await?;
                    seen.lock().unwrap().insert(version);
                    answered += 1;
                }
                Ok(answered)
            })
        };
        let clients = (0..8).map(|_| client()).collect();
        Self { is_over, seen, clients }
    }

    /// Waits until only that version answers.
    async fn settles_on(&self, version: u64) {
        self.seen.lock().unwrap().clear();
        eventually("clients are answered by the version", || {
            let mut seen = self.seen.lock().unwrap();
            let settled = *seen == BTreeSet::from([version]);
            if !settled {
                seen.clear();
            }
            settled
        })
        .await;
    }

    /// No request may have failed.
    async fn end(self) {
        self.is_over.store(true, Ordering::SeqCst);
        for client in self.clients {
            assert!(client.await.unwrap().unwrap() > 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_is_lost_while_versions_come_and_go() {
    let folder = Folder::with(&[1, 2]);
    let operated = Operated::over(&folder).await;
    let load = Load::on(&operated.server.url, "");
    load.settles_on(2).await;
    let reload = format!("models/{NAME}/versions/2/reload");
    assert_eq!(operated.act(&reload).await, ["1 ready", "2* ready"]);
    let rolled = operated.act(&format!("models/{NAME}/rollback")).await;
    assert_eq!(rolled, ["1* ready", "2 ready"]);
    load.settles_on(1).await;
    let pinned = operated.act(&format!("models/{NAME}/versions/2/pin")).await;
    assert_eq!(pinned, ["1 ready", "2* ready"]);
    load.settles_on(2).await;
    let unloaded = operated.act(&format!("models/{NAME}/versions/1/unload")).await;
    assert_eq!(unloaded, ["1 unloaded", "2* ready"]);

    // A version that is pinned serves on whatever comes.
    folder.add(NAME, 3);
    assert_eq!(operated.act("scan").await, ["1 unloaded", "2* ready", "3 ready"]);
    assert_eq!(operated.version().await, 2);
    let free = operated.act(&format!("models/{NAME}/unpin")).await;
    assert_eq!(free, ["1 unloaded", "2 ready", "3* ready"]);
    load.settles_on(3).await;
    let gone = operated.act(&format!("models/{NAME}/versions/3/unload")).await;
    assert_eq!(gone, ["1 unloaded", "2* ready", "3 unloaded"]);
    load.settles_on(2).await;
    let all = operated.act(&format!("models/{NAME}/load")).await;
    assert_eq!(all, ["1 ready", "2 ready", "3* ready"]);
    load.settles_on(3).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_copied_in_file_by_file_serves_when_it_is_whole() {
    let folder = Folder::with(&[1]);
    let operated = Operated::over(&folder).await;
    let load = Load::on(&operated.server.url, "");
    let target = folder.version(NAME, 2);
    fs::create_dir(&target).unwrap();
    let mut states = BTreeSet::new();
    for file in files(NAME) {
        let bytes = fs::read(&file).unwrap();
        for part in [bytes.len() / 2, bytes.len()] {
            states.extend(operated.act("scan").await);
            assert_eq!(operated.version().await, 1);
            fs::write(target.join(file.file_name().unwrap()), &bytes[..part]).unwrap();
        }
    }
    assert!(
        states.contains("1* ready") && states.contains("2 discovered"),
        "{states:?}"
    );
    assert_eq!(operated.act("scan").await, ["1 ready", "2* ready"]);
    load.settles_on(2).await;
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_is_refused_says_why_and_what_was_loaded_serves_on() {
    let folder = Folder::with(&[1]);
    let operated = Operated::over(&folder).await;
    let load = Load::on(&operated.server.url, "?version=1");
    let graph = folder.version(NAME, 1).join("model.onnx");
    let right = fs::read(&graph).unwrap();
    fs::write(&graph, &right[1..]).unwrap();
    let (status, reason) = operated.refused(&format!("models/{NAME}/reload")).await;
    assert_eq!(status, 409);
    assert!(reason.contains("serves on"), "{reason}");
    assert_eq!(operated.act("scan").await, ["1* ready"]);
    assert!(operated.service.weaknesses()[0].contains("serves on"));
    fs::write(&graph, right).unwrap();
    assert_eq!(operated.act(&format!("models/{NAME}/reload")).await, ["1* ready"]);
    assert!(operated.service.weaknesses().is_empty());
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_does_not_wait_for_a_load_gate() {
    let folder = Folder::with(&[1, 2]);
    let (operated, faults) = Operated::with_faults(&folder).await;
    folder.add(NAME, 3);
    faults.close();
    let runs = faults.runs();
    let repository = Arc::clone(&operated.repository);
    let scan = tokio::task::spawn_blocking(move || repository.scan());
    eventually("the gate is at work", || faults.runs() > runs).await;
    let rolled = operated.act(&format!("models/{NAME}/rollback")).await;
    assert_eq!(rolled[..2], ["1* ready", "2 ready"]);
    let unloaded = operated.act(&format!("models/{NAME}/versions/2/unload")).await;
    assert_eq!(unloaded[..2], ["1* ready", "2 unloaded"]);
    faults.open();
    scan.await.unwrap().unwrap();
    assert_eq!(operated.act("scan").await, ["1* ready", "2 unloaded", "3 ready"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_operators_said_is_kept_over_a_restart_where_they_want_it() {
    let folder = Folder::with(&[1, 2, 3]);
    let kept = folder.0.path().join(".proofs");
    let start = |keep: bool| {
        let repository = repository_of(folder.0.path(), resources());
        Operated::start(match keep {
            true => repository.keeping_overrides_in(&kept).unwrap(),
            false => repository,
        })
    };
    let first = start(true).await;
    first.act(&format!("models/{NAME}/versions/1/pin")).await;
    first.act(&format!("models/{NAME}/versions/2/unload")).await;
    let expected = ["1* ready", "2 unloaded", "3 ready"];
    assert_eq!(first.act("scan").await, expected);
    assert_eq!(start(true).await.act("scan").await, expected);
    assert_eq!(start(false).await.act("scan").await, ["1 ready", "2 ready", "3* ready"]);
    fs::write(kept.join("control.json"), "{").unwrap();
    assert!(
        repository_of(folder.0.path(), resources())
            .keeping_overrides_in(&kept)
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_to_what_is_not_there_any_more_is_told() {
    let folder = Folder::with(&[1, 2]);
    let operated = Operated::over(&folder).await;
    operated.act(&format!("models/{NAME}/versions/1/pin")).await;
    assert_eq!(operated.service.weaknesses(), [""; 0]);
    fs::remove_dir_all(folder.0.path().join(NAME).join("1")).unwrap();
    assert_eq!(operated.act("scan").await, ["2 ready"]);
    let weaknesses = operated.service.weaknesses();
    let unready = operated.service.unready().unwrap();
    assert!(weaknesses[0].contains("is pinned to version 1"), "{weaknesses:?}");
    assert!(
        unready.contains("no model serves") && unready.contains(&weaknesses[0]),
        "{unready}"
    );
    operated.act(&format!("models/{NAME}/unpin")).await;
    assert_eq!(
        (operated.service.weaknesses().len(), operated.service.unready()),
        (0, None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_are_made_of_goes_with_them_or_not_at_all() {
    let folder = Folder::with(&[1]);
    folder.add("tiny-classifier", 1);
    let made = command::binary()
        .args(["calibrate", "tiny-classifier", "--member", "density=tiny-pixelcnn"])
        .args(["--name", MADE_OF_IT, "--repository", command::text(folder.0.path())])
        .args(["--data", command::text(&noise(folder.0.path()))])
        .output()
        .unwrap();
    command::stdout(&made, 0);
    let operated = Operated::over(&folder).await;
    let path = format!("models/{NAME}/unload");
    let (status, reason) = operated.refused(&path).await;
    assert_eq!(status, 409);
    assert!(reason.contains("is made of it"), "{reason}");
    operated.act(&format!("{path}?dependents=true")).await;
    let state = |name: &str| operated.service.model_info(name, Some(1)).unwrap().state;
    let unloaded = density_server::model::info::State::Unloaded;
    assert_eq!((state(NAME), state(MADE_OF_IT)), (unloaded, unloaded));
    let (status, reason) = operated.refused(&format!("models/{MADE_OF_IT}/load")).await;
    assert_eq!(status, 409);
    assert!(reason.contains(NAME) && reason.contains("unloaded"), "{reason}");
    operated.act(&format!("models/{NAME}/load")).await;
    operated.act(&format!("models/{MADE_OF_IT}/load")).await;
    let ready = density_server::model::info::State::Ready;
    assert_eq!((state(NAME), state(MADE_OF_IT)), (ready, ready));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_judges_what_is_judged_and_is_only_counted() {
    let folder = Folder::with(&[1, 2]);
    let (operated, faults) = Operated::with_faults(&folder).await;
    let counted = |outcome: &str| {
        let all = &operated.service.metrics().shadow_images;
        all.with_label_values(&[NAME, outcome]).get()
    };
    let detect = async || {
        let url = format!("{}/v1/models/{NAME}/detect", operated.server.url);
        let body = json!({"images": vec![json!({"pixels": vec![vec![1; 5]; 6]}); 3]});
        let answer = Client::new().post(url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()
    };
    let alone = detect().await;
    let (status, _) = operated.refused(&format!("models/{NAME}/versions/7/shadow")).await;
    assert_eq!(status, 404);
    operated.act(&format!("models/{NAME}/versions/1/shadow")).await;
    let info = operated.service.model_info(NAME, Some(1)).unwrap();
    assert!(info.shadow && !info.default);
    let decisions = || {
        operated
            .service
            .metrics()
            .decisions
            .with_label_values(&[NAME, "accept"])
            .get()
    };
    let before = decisions();
    assert_eq!(detect().await, alone, "the answer is that of the version that serves");
    eventually("the same files decide the same", || {
        counted("both_accept") + counted("both_reject") == 3
    })
    .await;
    assert!(decisions() - before <= 3, "a shadow's decisions are not the server's");
    assert_eq!(counted("only_shadow_rejects") + counted("only_main_rejects"), 0);

    // When there is much to do, it is what is left out.
    faults.slow_down(Duration::from_millis(20));
    let answers = futures_util::future::join_all((0..16).map(|_| detect())).await;
    assert!(answers.iter().all(|answer| *answer == alone));
    eventually("every image is accounted for", || {
        counted("both_accept") + counted("both_reject") + counted("shed") == 3 + 16 * 3
    })
    .await;
    assert!(counted("shed") > 0);
    operated.act(&format!("models/{NAME}/unshadow")).await;
    assert!(!operated.service.model_info(NAME, Some(1)).unwrap().shadow);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_with_the_reason() {
    let folder = Folder::with(&[1, 2]);
    let operated = Operated::over(&folder).await;
    for (path, status, words) in [
        ("models/nobody/load", 404, NAME),
        ("models/..%2F..%2Fetc/load", 404, NAME),
        ("models/nobody/unload", 404, NAME),
        (&format!("models/{NAME}/versions/7/load"), 404, "1, 2"),
        (&format!("models/{NAME}/versions/7/pin"), 404, "1, 2"),
        (&format!("models/{NAME}/versions/one/pin"), 404, "whole number"),
        (&format!("models/{NAME}/rollback?version=1"), 422, "whole model"),
        (&format!("models/{NAME}/load?dependents=true"), 422, "unload"),
        (
            &format!("models/{NAME}/unload?dependents=perhaps"),
            422,
            "true or false",
        ),
        (&format!("models/{NAME}/load?force=1"), 422, "no such option"),
    ] {
        let (found, reason) = operated.refused(path).await;
        assert_eq!(found, status, "{path}: {reason}");
        assert!(reason.contains(words), "{path}: {reason}");
    }
    operated.act(&format!("models/{NAME}/rollback")).await;
    for (path, words) in [("rollback", "older than version 1"), ("versions/1/unload", "pinned")] {
        let (status, reason) = operated.refused(&format!("models/{NAME}/{path}")).await;
        assert_eq!(status, 409);
        assert!(reason.contains(words), "{reason}");
    }
    operated.act(&format!("models/{NAME}/versions/2/unload")).await;
    let (status, reason) = operated.refused(&format!("models/{NAME}/versions/2/pin")).await;
    assert_eq!(status, 409);
    assert!(reason.contains("unloaded"), "{reason}");

    // A pin has no substitute: what is pinned was pinned because of the others.
    operated.act(&format!("models/{NAME}/load")).await;
    fs::remove_dir_all(folder.version(NAME, 1)).unwrap();
    operated.repository.scan().unwrap();
    let gone = score(&operated.server.url, "").await.unwrap_err();
    assert!(gone.starts_with("503") && gone.contains("pinned"), "{gone}");
    operated.act(&format!("models/{NAME}/unpin")).await;
    assert_eq!(operated.version().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_leave_of_the_operator_nothing_is_changed() {
    let service = service_of(Arc::new(repository_of(&fixtures(), resources())), Limits::default());
    let server = Server::start(&service, HttpConfig::default()).await;
    for path in ["scan", "models/any/load", "models/any/versions/1/pin"] {
        let url = format!("{}/v1/repository/{path}", server.url);
        let answer = Client::new().post(url).send().await.unwrap();
        assert_eq!(answer.status(), 501);
        let problem: Value = answer.json().await.unwrap();
        assert_eq!(problem["type"], "urn:density-server:error:disabled");
        assert!(problem["detail"].as_str().unwrap().contains("--model-control"));
    }
}
