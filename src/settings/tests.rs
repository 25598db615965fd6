//! Tests of settings: who wins, what is refused and what `--help` promises.

use clap::{Args, Command};

use super::{options::*, *};

fn with(given: Options, file: &str) -> Result<Settings, SettingsError> {
    Settings::default().with(&Written::for_testing(given, file))
}

fn workers(n: usize) -> Options {
    let mut options = Options::default();
    options.work.workers = Some(n);
    options
}

#[test]
fn nothing_written_leaves_the_defaults() {
    assert_eq!(with(Options::default(), ""), Ok(Settings::default()));
}

#[test]
fn a_flag_beats_the_file_and_the_file_beats_the_default() {
    let file = "[work]\nworkers = 3\nmax_batch_rows = 7\n[http]\nrequest_timeout = 5";
    let settings = with(workers(2), file).unwrap();
    assert_eq!(settings.work.workers, 2);
    assert_eq!(settings.work.max_batch_rows, 7);
    assert_eq!(settings.http.request_timeout, Duration::from_secs(5));
}

#[test]
fn a_bad_value_is_refused_by_the_name_of_its_source() {
    let check = |given, file, message: &str| {
        assert_eq!(with(given, file).unwrap_err().to_string(), message);
    };
    check(
        workers(0),
        "[work]\nworkers = 3",
        "flag --workers: 0 is not possible: it must be between 1 and 1024",
    );
    check(
        Options::default(),
        "[work]\nmax_batch_rows = 0",
        "key work.max_batch_rows in /etc/density/server.toml: 0 is not possible: it must be between 1 and 4096",
    );
    check(
        Options::default(),
        "[http]\nbody_timeout = nan",
        "key http.body_timeout in /etc/density/server.toml: NaN is not possible: it must be between 0.001 and 86400 seconds",
    );
    check(
        Options::default(),
        "[http]\nrequest_timeout = 20\nmax_request_timeout = 10",
        "key http.request_timeout in /etc/density/server.toml: 20 is not possible: it must be at most max_request_timeout, which is 10",
    );
    let error = with(Options::default(), "[log]\nfilter = 'a=nonsense'").unwrap_err();
    assert!(error.to_string().starts_with("key log.filter in"), "{error}");
}

#[test]
fn paths_in_the_file_are_relative_to_its_folder() {
    let settings = with(Options::default(), "[models]\nrepository = 'models'").unwrap();
    assert_eq!(settings.models.repository, PathBuf::from("/etc/density/models"));
}

#[test]
fn records_lie_in_the_repository_unless_they_are_put_elsewhere_or_off() {
    let records = |file| with(Options::default(), file).unwrap().models.proof_records;
    let own = PathBuf::from("/etc/density/models/.proofs");
    assert_eq!(records("[models]\nrepository = 'models'"), Some(own));
    let other = PathBuf::from("/etc/density/proofs");
    assert_eq!(records("[models]\nproof_records = 'proofs'"), Some(other));
    assert_eq!(records("[models]\nproof_records = 'none'"), None);
}

#[test]
fn required_models_are_names_with_commas_between() {
    let settings = with(Options::default(), "[models]\nrequired_models = 'a, b,'").unwrap();
    assert_eq!(settings.models.required_models, ["a", "b"]);
}

#[test]
fn the_runtimes_own_variable_stands_between_ours_and_the_file() {
    let mut written = Written::for_testing(Options::default(), "[models]\nonnxruntime = '/file.so'");
    let library = |written: &Written| Settings::default().with(written).unwrap().models.onnxruntime;
    assert_eq!(library(&written), Some(PathBuf::from("/file.so")));
    written.ort_dylib_path = Some("/variable.so".into());
    assert_eq!(library(&written), Some(PathBuf::from("/variable.so")));
    let mut given = Options::default();
    given.models.onnxruntime = Some("/flag.so".into());
    let mut written = Written::for_testing(given, "");
    written.ort_dylib_path = Some("/variable.so".into());
    assert_eq!(library(&written), Some(PathBuf::from("/flag.so")));
}

#[test]
fn a_poll_interval_of_zero_is_none() {
    let settings = with(Options::default(), "[models]\npoll_interval = 0").unwrap();
    assert_eq!(settings.models.poll_interval, None);
    let settings = with(Options::default(), "[models]\npoll_interval = 2.5").unwrap();
    assert_eq!(settings.models.poll_interval, Some(Duration::from_millis(2500)));
}

#[test]
fn addresses_may_leave_out_the_machine_or_name_it() {
    let address = |text: &str| {
        let file = format!("[http]\naddress = '{text}'");
        with(Options::default(), &file).map(|settings| settings.http.address.to_string())
    };
    assert_eq!(address("127.0.0.1:1").unwrap(), "127.0.0.1:1");
    assert_eq!(address("[::1]:1").unwrap(), "[::1]:1");
    assert_eq!(address(":80").unwrap(), "0.0.0.0:80");
    let local: SocketAddr = address("localhost:80").unwrap().parse().unwrap();
    assert!(local.ip().is_loopback());
    for wrong in ["8000", "127.0.0.1", "127.0.0.1:70000", ""] {
        let error = address(wrong).unwrap_err().to_string();
        assert!(
            error.contains("http.address") && error.contains("localhost:8000"),
            "{error}"
        );
    }
}

#[test]
fn origins_are_those_that_browsers_send() {
    let origins = |text: &str| {
        let file = format!("[http]\ncors_origins = ['{text}']");
        with(Options::default(), &file).map(|settings| settings.http.cors_origins)
    };
    for right in [
        "*",
        "null",
        "https://example.org",
        "http://localhost:3000",
        "http://[::1]:1",
    ] {
        assert_eq!(origins(right).unwrap(), [right]);
    }
    for wrong in [
        "",
        "example.org",
        "https://",
        "https://example.org/",
        "https://a, https://b",
    ] {
        assert!(origins(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_drain_delay_of_zero_is_none() {
    let delay = |text| with(Options::default(), text).unwrap().http.drain_delay;
    assert_eq!(delay("[http]\ndrain_delay = 0"), Duration::ZERO);
    assert_eq!(delay("[http]\ndrain_delay = 2.5"), Duration::from_millis(2500));
}

#[test]
fn help_tells_the_real_defaults() {
    let mut command = Command::new("serve");
    command = ModelOptions::augment_args(command);
    command = WorkOptions::augment_args(command);
    command = HttpOptions::augment_args(command);
    command = GrpcOptions::augment_args(command);
    command = LogOptions::augment_args(command);
    let Settings {
        models,
        work,
        http,
        grpc,
        log,
    } = Settings::default();
    let seconds = |time: Duration| time.as_secs_f64().to_string();
    let filter = format!("{} for serve, else warn", log.filter);
    for (id, default) in [
        ("log_filter", filter),
        ("repository", models.repository.display().to_string()),
        ("max_batch_rows", work.max_batch_rows.to_string()),
        ("max_step_rows", work.max_step_rows.to_string()),
        ("interactive_queue", seconds(work.interactive_queue)),
        ("bulk_queue", seconds(work.bulk_queue)),
        ("http", http.address.to_string()),
        ("grpc", grpc.address.to_string()),
        ("max_connections", http.max_connections.to_string()),
        ("max_body_bytes", http.max_body_bytes.to_string()),
        ("max_images", http.max_images.to_string()),
        ("max_samples", http.max_samples.to_string()),
        ("max_decoded_pixels", http.max_decoded_pixels.to_string()),
        (
            "max_connections_per_address",
            http.max_connections_per_address.to_string(),
        ),
        ("keep_alive_timeout", seconds(http.keep_alive_timeout)),
        ("drain_delay", seconds(http.drain_delay)),
        ("header_timeout", seconds(http.header_timeout)),
        ("body_timeout", seconds(http.body_timeout)),
        ("request_timeout", seconds(http.request_timeout)),
        ("max_request_timeout", seconds(http.max_request_timeout)),
        ("drain_timeout", seconds(http.drain_timeout)),
    ] {
        let argument = command
            .get_arguments()
            .find(|argument| argument.get_id() == id)
            .unwrap_or_else(|| panic!("no argument {id}"));
        let help = argument.get_help().unwrap().to_string();
        assert!(help.contains(&format!("[default: {default}]")), "{id}: {help}");
    }
}
