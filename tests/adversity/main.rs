//! What happens to a server at night, and is not its end: the real binary on a disk that is full, beside another one,
//! with certificates that are half written, without memory or IPv4, and under signals that were meant for others.

#![allow(clippy::unwrap_used)]
#![cfg(target_os = "linux")]

#[path = "../command/mod.rs"]
mod command;

#[path = "../pki/mod.rs"]
mod pki;

mod addresses;
mod certificates;
mod neighbours;
mod shortage;

use std::{
    fs::{self, File},
    process::Stdio,
};

use command::{binary, fixtures, golden_images, server::Server, text};
use density_server::{
    domain::{
        image::{Image, ImageShape},
        random::{Random, Stream},
    },
    media,
};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

const NAME: &str = "tiny-pixelcnn";
const GATE: &str = "gate";

/// An array of images of noise, those of these numbers.
fn noise(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let shape = ImageShape::new(1, 6, 5, 4).unwrap();
    let image = |index| {
        let random = Random::new(1, Stream::Probe, index);
        let levels = (0..30).map(|place| (4.0 * random.uniform(place)) as u8);
        Image::new(shape, levels.collect::<Vec<u8>>()).unwrap()
    };
    media::write_images(&numbers.map(image).collect::<Vec<_>>(), shape)
}

/// A repository of a model and a detector over it.
fn repository() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let version = folder.path().join(NAME).join("1");
    fs::create_dir_all(&version).unwrap();
    for file in fixtures().join(NAME).join("1").read_dir().unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), version.join(file.file_name())).unwrap();
    }
    let data = folder.path().join("noise.npy");
    fs::write(&data, noise(0..1000)).unwrap();
    let made = binary()
        .args(["calibrate", NAME, "--name", GATE, "--data", text(&data)])
        .env("DENSITY_REPOSITORY", folder.path())
        .output()
        .unwrap();
    command::stdout(&made, 0);
    folder
}

fn judge(server: &Server, numbers: std::ops::Range<u64>) {
    let path = format!("/v1/models/{GATE}/detect");
    let answer = server.ask("POST", &path, "application/x-npy", &noise(numbers));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:.300}");
}

/// How many images drift was told of, and whether a restart will know.
fn drift(server: &Server) -> (u64, bool) {
    let answer = server.get(&format!("/v1/models/{GATE}/drift"));
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    (body["images"].as_u64().unwrap(), body["kept"].as_bool().unwrap())
}

/// The most bytes that a file of the server may have.
fn limit_files(server: &Server, bytes: Option<u64>) {
    let process = Pid::from_raw(server.process.id().cast_signed()).unwrap();
    let limit = Rlimit {
        current: bytes,
        maximum: None,
    };
    prlimit(Some(process), Resource::Fsize, limit).unwrap();
}

/// A limit of size does to one server what a full disk does to all.
#[test]
fn what_a_full_disk_did_not_take_is_written_when_there_is_room() {
    let repository = repository();
    let server = Server::start(repository.path(), &[]);
    judge(&server, 1300..1310);
    assert_eq!(drift(&server), (10, true));
    limit_files(&server, Some(512));
    judge(&server, 1310..1340);
    assert_eq!(drift(&server), (40, false));
    judge(&server, 1340..1350);
    assert_eq!(drift(&server), (50, false));
    limit_files(&server, None);
    assert_eq!(drift(&server), (50, true));
    judge(&server, 1350..1360);
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    let told = |words: &str| log.matches(words).count();
    assert_eq!((told("cannot be kept"), told("is kept again")), (1, 1), "{log}");

    let server = Server::start(repository.path(), &[]);
    assert_eq!(drift(&server), (60, true));
    server.signal("TERM");
    let (_, log) = server.wait();
    assert!(!log.contains("damaged"), "{log}");
}

/// Calls that change models are not done if they cannot be kept, and their caller is told so.
#[test]
fn a_pin_that_a_full_disk_does_not_take_is_not_one() {
    let records = tempfile::tempdir().unwrap();
    let arguments = ["--model-control", "kept", "--proof-records", text(records.path())];
    let server = Server::start(&fixtures(), &arguments);
    let pin = || {
        server.ask(
            "POST",
            &format!("/v1/repository/models/{NAME}/versions/1/pin"),
            "text/plain",
            b"",
        )
    };
    limit_files(&server, Some(0));
    let answer = pin();
    assert!(
        answer.starts_with("HTTP/1.1 500") && answer.contains("nothing was changed"),
        "{answer}"
    );
    limit_files(&server, None);
    let answer = pin();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// On a full disk, the file of keys stays what it was.
#[test]
fn a_key_that_could_not_be_told_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys.toml");
    let key = |name: &str, out: Stdio| {
        let mut key = binary();
        key.args(["key", name, "--scopes", "read", "--keys", text(&file)]);
        key.stdout(out).stderr(Stdio::null()).status().unwrap().code()
    };
    assert_eq!(key("first", Stdio::null()), Some(0));
    let before = fs::read(&file).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert_eq!(key("second", full.into()), Some(2));
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(key("second", Stdio::null()), Some(0));
}

#[test]
fn signals_that_mean_something_to_other_servers_end_none() {
    let server = Server::start(&fixtures(), &[]);
    for signal in ["USR1", "USR2", "PIPE", "XFSZ"] {
        server.signal(signal);
        let images = fs::read(golden_images(NAME)).unwrap();
        let answer = server.ask(
            "POST",
            &format!("/v1/models/{NAME}/score"),
            "application/x-npy",
            &images,
        );
        assert!(answer.starts_with("HTTP/1.1 200"), "{signal}: {answer}");
    }
    server.signal("TERM");
    assert_eq!(server.wait().0.code(), Some(0));
}
