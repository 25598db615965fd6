//! `serve`: the real binary from its first log line to its exit code, and the signals in between.

#![allow(clippy::unwrap_used)]

mod command;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    thread,
    time::Duration,
};

use command::{
    binary, fixtures, golden_images,
    server::{Server, eventually},
};
use serde_json::Value;

fn copy_model(name: &str, repository: &Path) {
    // Built aside and renamed into place, as one would publish a version to a running server.
    let aside = repository.join(format!(".{name}"));
    copy_version(&fixtures().join(name).join("1"), &aside);
    fs::rename(aside, repository.join(name)).unwrap();
}

/// Makes the files of a folder the first version of the model `to`.
fn copy_version(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("1")).unwrap();
    for file in from.read_dir().unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join("1").join(file.file_name())).unwrap();
    }
}

#[test]
fn it_serves_and_ends_with_success_on_either_signal() {
    for signal in ["TERM", "INT"] {
        let server = Server::start(&fixtures(), &[]);
        assert!(server.get("/readyz").starts_with("HTTP/1.1 200"));
        let images = fs::read(golden_images("tiny-pixelcnn")).unwrap();
        let path = "/v1/models/tiny-pixelcnn/score";
        let answer = server.ask("POST", path, "application/x-npy", &images);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("\"log_likelihood\""), "{answer}");
        server.signal(signal);
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(log.contains("draining") && log.contains("stopped"), "{log}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_burst_of_clients_waits_to_be_accepted() {
    let most = fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let clients = most.trim().parse::<usize>().unwrap().min(600);
    let server = Server::start(&fixtures(), &[]);
    let address = server.address.parse().unwrap();
    server.signal("STOP");
    // Beyond what may wait, a client that connects gets no answer.
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
    let waiting: Vec<TcpStream> = (0..clients).map(connect).collect();
    server.signal("CONT");
    drop(waiting);
    assert!(server.get("/livez").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_log_that_nobody_reads_keeps_nobody_waiting() {
    let server = Server::start(&fixtures(), &[]);
    // Several times as many lines as a pipe takes.
    for _ in 0..1500 {
        assert!(server.get("/v1/models/tiny-pixelcnn").starts_with("HTTP/1.1 200"));
    }
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0));
    // They wait for their reader.
    assert_eq!(log.matches("\"GET\"").count(), 1500);
}

#[test]
fn a_hangup_or_a_poll_finds_new_models() {
    for (arguments, signal) in [
        (&[][..], Some("HUP")),
        (&["--poll-interval", "0.05"][..], None),
        (&["--watch"][..], None),
    ] {
        let repository = tempfile::tempdir().unwrap();
        copy_model("tiny-pixelcnn", repository.path());
        let server = Server::start(repository.path(), arguments);
        assert!(!server.get("/v1/models").contains("tiny-vae"));
        copy_model("tiny-vae", repository.path());
        if let Some(signal) = signal {
            server.signal(signal);
        }
        eventually("the new model", || {
            server.get("/v1/models/tiny-vae").starts_with("HTTP/1.1 200")
        });
        fs::rename(repository.path().join("tiny-pixelcnn"), repository.path().join(".gone")).unwrap();
        if let Some(signal) = signal {
            server.signal(signal);
        }
        eventually("the end of the old model", || {
            server.get("/v1/models/tiny-pixelcnn").starts_with("HTTP/1.1 404")
        });
        server.signal("TERM");
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0));
        assert!(log.contains("model removed"), "{log}");
    }
}

/// A server that has logged a line with these words.
fn started(repository: &Path, arguments: &[&str], words: &str) -> (Child, BufReader<ChildStderr>) {
    let mut server = binary()
        .args(["serve", "--http", "127.0.0.1:0", "--grpc", "off"])
        .args(arguments)
        .env("DENSITY_REPOSITORY", repository)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap());
    read_until(&mut log, words);
    (server, log)
}

fn read_until(log: &mut impl BufRead, words: &str) {
    let mut seen = String::new();
    while !seen.contains(words) {
        assert!(log.read_line(&mut seen).unwrap() > 0, "{words} was not said: {seen}");
    }
}

/// Load gates are then inside the runtime, on threads that nobody waits for.
#[test]
fn a_server_that_is_told_to_end_while_it_loads_ends_with_success() {
    let arguments = ["--proof-records", "none", "--probes", "127.0.0.1:0"];
    for _ in 0..12 {
        let (mut server, mut log) = started(&fixtures(), &arguments, "probes and metrics on");
        let sent = Command::new("kill").arg(server.id().to_string()).status();
        assert!(sent.unwrap().success());
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        let status = server.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{status}: {rest}");
    }
}

/// The start waits until its first line is read, which is longer than a pipe holds.
#[test]
fn signals_that_come_while_the_server_starts_are_answered_when_it_can() {
    let unknown = format!("DENSITY_{}", "X".repeat(100_000));
    for (name, ends) in [
        ("TERM", true),
        ("INT", true),
        ("HUP", false),
        ("USR1", false),
        ("USR2", false),
        ("XFSZ", false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut server = binary()
            .args(["serve", "--http", "127.0.0.1:0", "--grpc", "off"])
            .env("DENSITY_REPOSITORY", folder.path())
            .env(&unknown, "")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::with_capacity(1, server.stderr.take().unwrap());
        // It is in the middle of that line.
        log.read_exact(&mut [0]).unwrap();
        let process = server.id().to_string();
        let send = |name| Command::new("kill").args(["-s", name, &process]).status().unwrap();
        assert!(send(name).success());
        if !ends {
            read_until(&mut log, "listening on");
            assert!(send("TERM").success());
        }
        let mut rest = String::new();
        log.read_to_string(&mut rest).unwrap();
        let status = server.wait().unwrap();
        assert_eq!(status.code(), Some(0), "SIG{name}: {status}: {rest}");
        assert!(rest.contains("stopped"), "{rest}");
    }
}

#[test]
fn a_repository_without_models_is_told() {
    let repository = tempfile::tempdir().unwrap();
    let (mut server, _log) = started(repository.path(), &[], "there are no models: a model is a folder");
    server.kill().unwrap();
    server.wait().unwrap();
}

/// A limit that is too low is raised where it can be; where it cannot, that is told, and connections wait.
#[test]
fn few_open_files_are_told_and_never_the_end() {
    for (limit, is_raised) in [("ulimit -Sn 64", true), ("ulimit -n 64", false)] {
        let mut shell = Command::new("sh");
        let command = format!("{limit}; exec \"$0\" \"$@\"");
        shell.args(["-c", &command]).arg(binary().get_program());
        let mut server = Server::start_as(shell, &fixtures(), &["--proof-records", "none"]);
        let connections: Vec<_> = (0..80).map(|_| TcpStream::connect(&server.address).unwrap()).collect();
        if is_raised {
            assert!(server.get("/v1/models").starts_with("HTTP/1.1 200"));
        } else {
            read_until(&mut server.log, "no connection can be accepted");
        }
        drop(connections);
        assert!(server.get("/v1/models").starts_with("HTTP/1.1 200"));
        server.signal("TERM");
        let (status, log) = server.wait();
        assert_eq!(status.code(), Some(0), "{log}");
        // Once a minute, not for every connection that waits.
        assert!(!log.contains("no connection can be accepted"), "{log}");
    }
}

/// What is not as it should be, as `/readyz` tells it, which must be as many as the metric counts.
fn weaknesses(server: &Server) -> Vec<String> {
    let answer = server.get("/readyz");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let found = body["weaknesses"].as_array().into_iter().flatten();
    let found: Vec<String> = found.map(|text| text.as_str().unwrap().to_owned()).collect();
    let counted = format!("\ndensity_weaknesses {}\n", found.len());
    assert!(server.get("/metrics").contains(&counted), "{found:?}");
    found
}

#[test]
fn a_model_that_is_refused_is_told_wherever_operators_look() {
    let repository = tempfile::tempdir().unwrap();
    copy_model("tiny-pixelcnn", repository.path());
    let bad = "leaking-pixelcnn";
    copy_version(&command::refused().join(bad).join("1"), &repository.path().join(bad));
    // Whoever may not look into a folder, as into that of a file system, is not kept from the others.
    let closed = repository.path().join("lost+found");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let server = Server::start(repository.path(), &[]);
    let found = weaknesses(&server);
    assert_eq!(found.len(), 1, "{found:?}");
    let start = format!("model {bad:?} version 1 is refused: ");
    let reason = found[0].strip_prefix(&start).unwrap();
    assert!(server.get(&format!("/v1/models/{bad}")).contains(&reason[..20]));
    fs::remove_dir_all(repository.path().join(bad)).unwrap();
    server.signal("HUP");
    eventually("the end of the weakness", || !server.get("/readyz").contains(bad));
    assert_eq!(weaknesses(&server), [""; 0]);
}

#[test]
fn a_folder_that_takes_no_changes_is_told_from_the_start_until_it_does() {
    let (repository, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    copy_model("tiny-pixelcnn", repository.path());
    // Nobody can make anything behind a link that leads nowhere, not even root.
    let records = folder.path().join("records");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &records).unwrap();
    let arguments = ["--model-control", "kept", "--proof-records", records.to_str().unwrap()];
    let mut log = String::new();
    let server = Server::start_with(binary(), repository.path(), &arguments, |line| log.push_str(line));
    let told = "calls cannot change models, because what they come to cannot be kept";
    assert!(log.contains(told), "{log}");
    let found = weaknesses(&server);
    assert!(found.len() == 1 && found[0].starts_with(told), "{found:?}");
    let pin = || {
        let path = "/v1/repository/models/tiny-pixelcnn/versions/1/pin";
        server.ask("POST", path, "text/plain", b"")
    };
    assert!(pin().starts_with("HTTP/1.1 500"));
    assert_eq!(weaknesses(&server).len(), 1);
    fs::create_dir(folder.path().join("nowhere")).unwrap();
    server.signal("HUP");
    eventually("the end of the weakness", || !server.get("/readyz").contains(told));
    assert!(pin().starts_with("HTTP/1.1 200"));
    server.signal("TERM");
    let (_, log) = server.wait();
    assert!(log.contains("calls can change models again"), "{log}");
}

#[test]
#[cfg(target_os = "linux")]
fn without_a_folder_for_temporary_files_nothing_is_missing() {
    let repository = tempfile::tempdir().unwrap();
    copy_model("tiny-pixelcnn", repository.path());
    let mut nowhere = binary();
    nowhere.env("TMPDIR", "/nowhere");
    // Nor is there a record of a proof that was made with one.
    let server = Server::start_as(nowhere, repository.path(), &["--proof-records", "none"]);
    assert_eq!(weaknesses(&server), [""; 0]);
    let model = server.get("/v1/models/tiny-pixelcnn");
    assert!(model.contains("\"method\":\"wavefront\""), "{model}");
    let images = fs::read(golden_images("tiny-pixelcnn")).unwrap();
    for (path, content_type, body) in [
        ("sample?n=1", "application/json", &b"{}"[..]),
        ("compress", "application/x-npy", &images),
    ] {
        let path = format!("/v1/models/tiny-pixelcnn/{path}");
        let answer = server.ask("POST", &path, content_type, body);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:.300}");
    }
}

#[test]
fn flags_and_file_reach_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.toml");
    fs::write(&file, "[http]\nmax_body_bytes = 64\nmax_images = 1\n").unwrap();
    let arguments = ["--config", file.to_str().unwrap(), "--max-images", "256"];
    let server = Server::start(&fixtures(), &arguments);
    let path = "/v1/models/tiny-pixelcnn/score";
    let answer = server.ask("POST", path, "application/x-npy", &[0; 65]);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[test]
fn sigterm_finishes_the_requests_in_flight() {
    // The trained model, because drawing its images takes long enough to be in flight when the signal comes.
    let trained = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/repository");
    let server = Server::start(&trained, &[]);
    let path = "/v1/models/fashion-mnist-pixelcnn/sample";
    let answers = thread::scope(|scope| {
        let requests: Vec<_> = (0..3)
            .map(|seed| {
                let (server, body) = (&server, format!("{{\"n\": 4, \"seed\": {seed}}}"));
                scope.spawn(move || server.ask("POST", path, "application/json", body.as_bytes()))
            })
            .collect();
        eventually("three samples and the question itself in flight", || {
            server.get("/metrics").contains("\ndensity_http_requests_in_flight 4\n")
        });
        server.signal("TERM");
        let answers = requests.into_iter().map(|request| request.join().unwrap());
        answers.collect::<Vec<_>>()
    });
    for answer in answers {
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:.300}");
        assert_eq!(answer.matches("base64").count(), 4);
    }
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn probes_have_a_listener_of_their_own_that_a_full_server_does_not_reach() {
    let arguments = ["--probes", "127.0.0.1:0", "--max-connections", "1"];
    let server = Server::start(&fixtures(), &arguments);
    let health = |url: &str| {
        let output = binary().args(["health", "--url", url]).output().unwrap();
        output.status.code()
    };
    let url = format!("http://{}", server.probes);
    // The one place is taken.
    let _client = TcpStream::connect(&server.address).unwrap();
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(health(&format!("{url}{path}")), Some(0), "{path}");
    }
    assert_eq!(health(&format!("{url}/nowhere")), Some(1));
    assert_eq!(health("ftp://127.0.0.1/"), Some(2));
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert_eq!(health(&format!("{url}/readyz")), Some(1));
}

#[test]
fn keys_are_made_read_again_and_named_where_the_server_is_administered() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys.toml");
    let keys = keys.to_str().unwrap();
    let make = |name, scopes| {
        let output = binary()
            .args(["key", name, "--scopes", scopes, "--keys", keys])
            .output()
            .unwrap();
        command::stdout(&output, 0).trim().to_owned()
    };
    let reader = make("reader", "read");
    let mut server = Server::start(&fixtures(), &["--keys", keys]);
    let ask = |server: &Server, method, path, key: &str| {
        let header = format!("text/plain\r\nauthorization: Bearer {key}");
        server.ask(method, path, &header, b"")
    };
    assert!(server.get("/v1/models").starts_with("HTTP/1.1 401"));
    assert!(ask(&server, "GET", "/v1/models", &reader).starts_with("HTTP/1.1 200"));
    let path = "/v1/models/tiny-pixelcnn/drift";
    assert!(ask(&server, "DELETE", path, &reader).starts_with("HTTP/1.1 403"));
    let admin = make("operator", "admin,read");
    server.signal("HUP");
    eventually("the new key", || {
        ask(&server, "DELETE", path, &admin).starts_with("HTTP/1.1 422")
    });
    // Which model it was, and what was to become of it, is at the end of a path.
    let longer = "/v1/repository/models/fashion-mnist-pixelcnn-conditional/versions/1/shadow";
    assert!(ask(&server, "POST", longer, &reader).starts_with("HTTP/1.1 403"));
    let mut audited = |caller: Option<&str>, status: u64, call: &str| {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(server.log.read_line(&mut line).unwrap() > 0);
            let line: Value = serde_json::from_str(&line).unwrap();
            if line["target"] == "density_server::audit" && line["status"] == status {
                assert_eq!(line["caller"].as_str(), caller, "{line}");
                assert_eq!(line["call"], call);
                assert_eq!(line["address"], "127.0.0.1");
                return;
            }
        }
    };
    audited(Some("reader"), 403, &format!("DELETE {path}"));
    audited(Some("operator"), 422, &format!("DELETE {path}"));
    audited(Some("reader"), 403, &format!("POST {longer}"));
    let again = binary()
        .args(["key", "reader", "--scopes", "read", "--keys", keys])
        .output();
    assert_eq!(again.unwrap().status.code(), Some(2));
}

/// A link that leads out of the folders that are let in is as good as a model that has taken over the process.
#[test]
#[cfg(target_os = "linux")]
fn a_server_in_a_sandbox_serves_and_reads_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let repository = folder.path().join("models");
    copy_model("tiny-pixelcnn", &repository);
    let keys = folder.path().join("keys/keys.toml");
    fs::create_dir(folder.path().join("keys")).unwrap();
    let make = binary()
        .args(["key", "all", "--scopes", "read,sample", "--keys"])
        .arg(&keys)
        .output();
    let key = command::stdout(&make.unwrap(), 0);
    // Not a file of this checkout, which may lie among the temporary files that are let in.
    let outside = "/etc/passwd";
    let mut server = Server::start(&repository, &["--sandbox", "--keys", keys.to_str().unwrap()]);
    let header = format!("application/json\r\nauthorization: Bearer {}", key.trim());
    let answer = server.ask("POST", "/v1/models/tiny-pixelcnn/sample?n=1", &header, b"{}");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    fs::remove_file(&keys).unwrap();
    std::os::unix::fs::symlink(outside, &keys).unwrap();
    server.signal("HUP");
    let mut line = String::new();
    while !line.contains("stay as they are") {
        line.clear();
        assert!(server.log.read_line(&mut line).unwrap() > 0);
    }
    assert!(line.contains("Permission denied"), "{line}");
    let answer = server.ask("GET", "/v1/models", &header, b"");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[test]
fn between_the_end_of_readiness_and_the_end_of_connections_there_is_time() {
    let server = Server::start(&fixtures(), &["--drain-delay", "3600"]);
    server.signal("TERM");
    eventually("the end of readiness", || {
        let answer = server.get("/readyz");
        answer.starts_with("HTTP/1.1 503") && answer.contains("shutting down")
    });
    assert!(server.get("/livez").starts_with("HTTP/1.1 200"));
    server.signal("TERM");
    assert_eq!(server.wait().0.code(), Some(1));
}
