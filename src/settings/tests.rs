//! Tests of settings: who wins, what is refused, and that the reference lists what there is.

use clap::{Args, Command, FromArgMatches};

use super::{
    sources::{Underneath, entries, reason, unknown_among},
    *,
};

const FILE: &str = "/etc/density/server.toml";

/// What these flags over a file of this text, and ONNX Runtime's variable, give.
fn read(flags: &[&str], file: &str, ort_dylib_path: Option<&str>) -> Result<Settings, String> {
    let underneath = Underneath::new(file, FILE.as_ref(), ort_dylib_path.map(Into::into));
    let underneath = underneath.map_err(|error| error.to_string())?;
    let command = underneath.lay(Settings::augment_args(Command::new("")).no_binary_name(true));
    let matches = command.try_get_matches_from(flags).map_err(|error| reason(&error))?;
    let settings = Settings::from_arg_matches(&matches).map_err(|error| reason(&error))?;
    settings.agreed().map_err(|error| error.to_string())
}

fn file(text: &str) -> Settings {
    read(&[], text, None).unwrap()
}

#[test]
fn nothing_written_leaves_the_defaults() {
    assert_eq!(file(""), Settings::default());
}

#[test]
fn a_flag_beats_the_file_and_the_file_beats_the_default() {
    let text = "[work]\nworkers = 3\nmax_batch_rows = 7\n[http]\nrequest_timeout = 5";
    let settings = read(&["--workers", "2"], text, None).unwrap();
    assert_eq!(settings.work.workers, 2);
    assert_eq!(settings.work.max_batch_rows, 7);
    assert_eq!(settings.http.request_timeout, Duration::from_secs(5));
}

#[test]
fn a_bad_value_is_refused_by_the_name_of_its_source() {
    let check = |file, message: &str| assert_eq!(read(&[], file, None).unwrap_err(), message);
    check(
        "[work]\nmax_batch_rows = 0",
        "key work.max_batch_rows in /etc/density/server.toml: 0 is not possible: \
         it must be a whole number between 1 and 4096",
    );
    check(
        "[http]\nbody_timeout = nan",
        "key http.body_timeout in /etc/density/server.toml: NaN is not possible: \
         it must be between 0.001 and 86400 seconds",
    );
    check(
        "[log]\nformat = 'loud'",
        "key log.format in /etc/density/server.toml: loud is not possible: it must be text or json",
    );
    check(
        "[http]\nrequest_timeout = 20\nmax_request_timeout = 10",
        "--request-timeout: 20 is not possible: it must be at most --max-request-timeout, which is 10",
    );
    check(
        "[http]\nmax_connections = { soft = 1 }",
        "the configuration file /etc/density/server.toml is not valid: http.max_connections has no values of this kind",
    );
    let error = read(&[], "[log]\nfilter = 'a=nonsense'", None).unwrap_err();
    assert!(error.starts_with("key log.filter in"), "{error}");
}

#[test]
fn an_unknown_key_is_answered_with_those_there_are() {
    let error = read(&[], "[grpc]\nport = 1", None).unwrap_err();
    assert!(
        error.ends_with("there is no \"grpc.port\"; the keys of this section are address"),
        "{error}"
    );
    let error = read(&[], "[https]\naddress = 1", None).unwrap_err();
    assert!(
        error.ends_with("the sections are models, work, http, grpc, security, log, traces"),
        "{error}"
    );
    let error = read(&[], "workers = 1", None).unwrap_err();
    assert!(
        error.ends_with("\"workers\" stands in no section, such as [http]"),
        "{error}"
    );
}

#[test]
fn what_belongs_together_comes_together() {
    let error = |flags: &[&str], file| read(flags, file, None).unwrap_err();
    assert!(error(&["--tls-key", "k"], "").contains("--tls-certificate"));
    assert!(error(&["--tls-client-ca", "c"], "").contains("--tls-certificate"));
    assert!(error(&[], "[security]\ntls_certificate = 'c'").contains("--tls-key"));
    assert!(read(&["--tls-key", "k"], "[security]\ntls_certificate = 'c'", None).is_ok());
    assert!(error(&["--client-rate", "1"], "").contains("--clients-by"));
    assert!(read(&["--client-rate", "1", "--clients-by", "address"], "", None).is_ok());
}

#[test]
fn proxies_are_addresses_and_networks() {
    let proxies = |text: &str| {
        let found = read(&["--trusted-proxies", text], "", None)?.security.trusted_proxies;
        Ok::<_, String>(found.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let found = proxies("10.0.0.1, 10.0.0.0/8,2001:db8::/32,::1").unwrap();
    assert_eq!(found, ["10.0.0.1/32", "10.0.0.0/8", "2001:db8::/32", "::1/128"]);
    assert_eq!(
        file("[security]\ntrusted_proxies = ['::/0']")
            .security
            .trusted_proxies
            .len(),
        1
    );
    for wrong in ["proxy", "10.0.0.0/33", "10.0.0.0/", "::/129", "10.0.0.0/-1"] {
        assert!(proxies(wrong).unwrap_err().contains("such as 10.0.0.0/8"), "{wrong}");
    }
}

#[test]
fn a_ceiling_below_the_default_deadline_lowers_it() {
    let http = file("[http]\nmax_request_timeout = 10").http;
    assert_eq!(http.request_timeout, Duration::from_secs(10));
}

#[test]
fn paths_in_the_file_are_relative_to_its_folder() {
    let settings = file("[models]\nrepository = 'models'");
    assert_eq!(settings.models.repository, PathBuf::from("/etc/density/models"));
}

#[test]
fn records_lie_in_the_repository_unless_they_are_put_elsewhere_or_off() {
    let records = |text| file(text).models.records();
    let own = PathBuf::from("/etc/density/models/.proofs");
    assert_eq!(records("[models]\nrepository = 'models'"), Some(own));
    let other = PathBuf::from("/etc/density/proofs");
    assert_eq!(records("[models]\nproof_records = 'proofs'"), Some(other));
    assert_eq!(records("[models]\nproof_records = 'none'"), None);
}

#[test]
fn required_models_are_names_with_commas_between() {
    for text in ["'a, b,'", "['a', 'b']"] {
        let settings = file(&format!("[models]\nrequired_models = {text}"));
        assert_eq!(settings.models.required_models, ["a", "b"]);
    }
}

#[test]
fn the_runtimes_own_variable_stands_between_ours_and_the_file() {
    let text = "[models]\nonnxruntime = '/file.so'";
    let library = |flags: &[&str], variable| read(flags, text, variable).unwrap().models.onnxruntime.unwrap();
    assert_eq!(library(&[], None), PathBuf::from("/file.so"));
    assert_eq!(library(&[], Some("/variable.so")), PathBuf::from("/variable.so"));
    let flags = ["--onnxruntime", "/flag.so"];
    assert_eq!(library(&flags, Some("/variable.so")), PathBuf::from("/flag.so"));
}

#[test]
fn zero_is_never_or_not_at_all() {
    let settings = file("[models]\npoll_interval = 0\n[http]\ndrain_delay = 2.5");
    assert_eq!(settings.models.poll_interval, Duration::ZERO);
    assert_eq!(settings.http.drain_delay, Duration::from_millis(2500));
    assert!(read(&["--body-timeout", "0"], "", None).is_err());
}

#[test]
fn addresses_may_leave_out_the_machine_or_name_it() {
    let address = |text: &str| read(&["--http", text], "", None).map(|settings| settings.http.address.to_string());
    assert_eq!(address("127.0.0.1:1").unwrap(), "127.0.0.1:1");
    assert_eq!(address("[::1]:1").unwrap(), "[::1]:1");
    assert_eq!(address(":80").unwrap(), "[::]:80");
    let local: SocketAddr = address("localhost:80").unwrap().parse().unwrap();
    assert!(local.ip().is_loopback());
    for wrong in ["8000", "127.0.0.1", "127.0.0.1:70000", ""] {
        let error = address(wrong).unwrap_err();
        assert!(error.contains("localhost:8000"), "{error}");
    }
    assert_eq!(file("[grpc]\naddress = 'off'").grpc.address, Listen::Off);
}

#[test]
fn origins_are_those_that_browsers_send() {
    let origins = |text: &str| {
        let file = format!("[http]\ncors_origin = ['{text}']");
        read(&[], &file, None).map(|settings| settings.http.cors_origins)
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
    for wrong in ["", "example.org", "https://", "https://example.org/"] {
        assert!(origins(wrong).is_err(), "{wrong}");
    }
}

/// The table in `docker/README.md` is that of the declarations.
#[test]
fn the_reference_lists_every_setting_as_it_is() {
    let rows: String = entries()
        .iter()
        .map(|entry| {
            let default = entry.default.as_deref().unwrap_or("none");
            format!("| `{}` | `{}` | {default} | {} |\n", entry.flag, entry.key, entry.help)
        })
        .collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docker/README.md");
    let reference = std::fs::read_to_string(path).unwrap();
    assert!(
        reference.contains(&rows),
        "the table of settings in docker/README.md should be:\n{rows}"
    );
}

#[test]
fn what_calls_change_is_kept_only_where_there_is_a_folder_for_it() {
    let control = |flags: &[&str]| read(flags, "", None).map(|settings| settings.models.model_control);
    assert_eq!(control(&[]), Ok(ModelControl::Off));
    assert_eq!(control(&["--model-control"]), Ok(ModelControl::On));
    assert_eq!(control(&["--model-control", "kept"]), Ok(ModelControl::Kept));
    let error = control(&["--model-control", "kept", "--proof-records", "none"]).unwrap_err();
    assert!(error.contains("--proof-records is none"), "{error}");
}

#[test]
fn variables_that_are_no_settings_are_told_with_those_that_are_meant() {
    let names = [
        "DENSITY_HTTP",
        "DENSITY_CONFIG",
        "DENSITY_HTTP_ADDRESS",
        "DENSITY_MAXIMAGES",
        "DENSITY_WORKRES",
        "DENSITY_SERVER_SERVICE_HOST",
        "DENSITY_SERVER_PORT_8000_TCP",
        "PATH",
    ];
    let told = unknown_among(names.map(str::to_owned).to_vec());
    assert_eq!(
        told,
        [
            "DENSITY_HTTP_ADDRESS (meant is DENSITY_HTTP?)",
            "DENSITY_MAXIMAGES (meant is DENSITY_MAX_IMAGES?)",
            "DENSITY_WORKRES"
        ]
    );
}
