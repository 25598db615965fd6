//! Servers and commands that share a repository, and what people do to the files of a server that runs.

use std::{fs, process::Command};

use super::{
    GATE, NAME,
    command::{self, binary, server::Server, text},
    drift, judge, repository,
};

fn told(log: &str, words: &str) -> usize {
    log.matches(words).count()
}

fn is_kept(server: &Server) -> bool {
    let metrics = server.get("/metrics");
    let kept = |number| metrics.contains(&format!("density_drift_kept{{model=\"{GATE}\"}} {number}\n"));
    assert!(kept(0) || kept(1), "{metrics}");
    kept(1)
}

/// One keeps its drift. The other one watches its own, says that it is not kept, and adds it once it can.
#[test]
fn of_two_servers_at_one_record_of_drift_one_keeps_it_and_the_other_says_so() {
    let repository = repository();
    let first = Server::start(repository.path(), &[]);
    let second = Server::start(repository.path(), &[]);
    judge(&first, 1000..1010);
    judge(&second, 1010..1015);
    judge(&first, 1020..1030);
    assert_eq!((drift(&first), is_kept(&first)), ((20, true), true));
    assert_eq!((drift(&second), is_kept(&second)), ((5, false), false));
    // A crash lets go of the file, too.
    first.signal("KILL");
    first.wait();
    assert_eq!((drift(&second), is_kept(&second)), ((25, true), true));
    judge(&second, 1030..1040);
    second.signal("TERM");
    let (status, log) = second.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(told(&log, "is kept again"), 1, "{log}");

    let third = Server::start(repository.path(), &[]);
    assert_eq!(drift(&third), (35, true));
    third.signal("TERM");
    let (_, log) = third.wait();
    assert!(!log.contains("damaged"), "{log}");
}

/// Whoever makes room on a disk begins a run; nobody is told that a file is kept that is gone.
#[test]
fn a_record_that_is_deleted_under_a_server_begins_anew_and_it_says_so() {
    let repository = repository();
    let server = Server::start(repository.path(), &[]);
    judge(&server, 1000..1010);
    assert_eq!(drift(&server), (10, true));
    fs::remove_dir_all(repository.path().join(".drift")).unwrap();
    judge(&server, 1010..1014);
    assert_eq!(drift(&server), (4, true));
    server.signal("TERM");
    let (_, log) = server.wait();
    assert_eq!(told(&log, "deleted or changed"), 1, "{log}");
    let server = Server::start(repository.path(), &[]);
    assert_eq!(drift(&server), (4, true));
}

/// Commands that load a repository leave the streams of its detectors to servers.
#[test]
fn no_command_takes_the_drift_of_a_server() {
    let repository = repository();
    let data = repository.path().join("noise.npy");
    let calibrate = |name: &str| {
        let mut calibrate = binary();
        calibrate.args(["calibrate", NAME, "--name", name, "--data", text(&data)]);
        calibrate.env("DENSITY_REPOSITORY", repository.path()).output().unwrap()
    };
    let doctor = || {
        binary()
            .arg("doctor")
            .env("DENSITY_REPOSITORY", repository.path())
            .output()
            .unwrap()
    };
    for made in [calibrate("another"), doctor()] {
        assert!(
            !command::said(&made).contains("drift of this detector"),
            "{}",
            command::said(&made)
        );
    }
    let held = fs::read_dir(repository.path().join(".drift")).map_or(0, Iterator::count);
    assert_eq!(held, 0, "no server has run yet");
    let server = Server::start(repository.path(), &[]);
    judge(&server, 1000..1010);
    let made = calibrate("third");
    command::stdout(&made, 0);
    assert!(!command::said(&made).contains("drift"), "{}", command::said(&made));
    assert_eq!(drift(&server), (10, true));
}

/// A command that fails leaves no folder of a model that never was.
#[test]
fn a_version_that_could_not_be_written_leaves_nothing() {
    let repository = repository();
    let data = repository.path().join("noise.npy");
    let names = || {
        let mut names: Vec<_> = repository
            .path()
            .read_dir()
            .unwrap()
            .map(|own| own.unwrap().file_name())
            .collect();
        names.retain(|name| !name.to_string_lossy().starts_with('.'));
        names.sort();
        names
    };
    let before = names();
    // No file may have a byte, which is how a full disk takes files.
    let limited = Command::new("sh")
        .args(["-c", "ulimit -f 0; trap '' XFSZ; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_density-server"))
        .args(["calibrate", NAME, "--name", "another", "--proof-records", "none"])
        .args(["--data", text(&data)])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("DENSITY_REPOSITORY", repository.path())
        .output()
        .unwrap();
    assert_eq!(limited.status.code(), Some(2), "{}", command::said(&limited));
    assert!(
        command::stderr(&limited).contains("File too large"),
        "{}",
        command::said(&limited)
    );
    assert_eq!(names(), before);
}

/// What a detector is made of is there and cannot be read, which is something else than not being there.
#[cfg(unix)]
#[test]
fn a_member_whose_folder_cannot_be_read_is_not_said_to_be_missing() {
    let repository = repository();
    fs::rename(repository.path().join(NAME), repository.path().join(".away")).unwrap();
    // A link that leads to itself cannot be read by root either.
    std::os::unix::fs::symlink(NAME, repository.path().join(NAME)).unwrap();
    let server = Server::start(repository.path(), &[]);
    let answer = server.get(&format!("/v1/models/{GATE}"));
    assert!(answer.contains("folder cannot be read"), "{answer}");
    assert!(!answer.contains("no such model"), "{answer}");
}

/// A volume that went away is nothing that requests suffer from, until the server starts again.
#[test]
fn a_folder_of_models_that_is_away_is_told_until_it_is_back() {
    let (place, away) = (repository(), tempfile::tempdir().unwrap());
    let server = Server::start(place.path(), &["--model-control"]);
    let look = || server.ask("POST", "/v1/repository/scan", "text/plain", b"");
    let is_told = || {
        let (ready, metrics) = (server.get("/readyz"), server.get("/metrics"));
        assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
        let is_told = ready.contains("their folder cannot be read");
        assert_eq!(metrics.contains("density_weaknesses 1"), is_told, "{ready}");
        is_told
    };
    assert!(!is_told());
    fs::rename(place.path(), away.path().join("models")).unwrap();
    let answer = look();
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(is_told());
    fs::rename(away.path().join("models"), place.path()).unwrap();
    assert!(look().starts_with("HTTP/1.1 200"));
    assert!(!is_told());
}
