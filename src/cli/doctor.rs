//! `doctor`: looks at what the server needs, and says for each thing whether it is there and what to do if it is not.
//! For the first hour, and for reports of faults.

mod machine;

use std::{
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{CliError, Outcome, listen::listen, print};
use crate::{
    app::{self, App, AppError, Registries},
    model::info::{ModelInfo, State},
    settings::{self, Listen, Settings},
};

const EXIT_CODES: &str = "\
Exit codes:
  0  nothing has failed
  1  something has failed
  2  the arguments or the configuration do not allow it";

/// Look at what the server needs: library, processor, models, ports, limits, folders
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,

    /// TOML file of settings, as for `serve`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    /// It works, but not as well as it could.
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    state: Health,
    check: &'static str,
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

impl Finding {
    /// One that says itself what is to be done, if anything is.
    fn of(check: &'static str, state: Health, found: impl fmt::Display) -> Self {
        Self {
            state,
            check,
            found: found.to_string(),
            cure: None,
        }
    }

    fn ok(check: &'static str, found: impl fmt::Display) -> Self {
        Self::of(check, Health::Ok, found)
    }

    fn warn(check: &'static str, found: impl fmt::Display, cure: impl fmt::Display) -> Self {
        Self {
            state: Health::Warn,
            cure: Some(cure.to_string()),
            ..Self::ok(check, found)
        }
    }

    fn fail(check: &'static str, found: impl fmt::Display, cure: impl fmt::Display) -> Self {
        Self {
            state: Health::Fail,
            cure: Some(cure.to_string()),
            ..Self::ok(check, found)
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            Health::Ok => "ok",
            Health::Warn => "warn",
            Health::Fail => "fail",
        };
        write!(f, "{state:<4}  {:<10}  {}", self.check, self.found)?;
        match &self.cure {
            Some(cure) => write!(f, "; {cure}"),
            None => Ok(()),
        }
    }
}

pub(super) fn run(arguments: DoctorArgs, registries: &Registries) -> Result<Outcome, CliError> {
    let settings = arguments.settings.agreed()?;
    let mut report = Report {
        is_json: arguments.json,
        findings: Vec::new(),
    };
    report.add([Finding::ok("server", app::version())])?;
    let app = match start(&settings, registries) {
        Ok((app, findings)) => {
            report.add(findings)?;
            Some(app)
        }
        Err(finding) => {
            report.add([finding])?;
            None
        }
    };
    let wanted = app.as_ref().and_then(|app| app.repository.needed_memory().ok());
    report.add(machine::limits(&settings, wanted))?;
    if let Some(app) = app {
        report.add(models(&settings, &app))?;
    }
    report.add(addresses(&settings))?;
    report.add(folders(&settings))?;
    report.add(environment())?;
    report.end()
}

/// What has been found so far. As text it is written as it comes: loading models may take more memory than there is,
/// and then there is no end.
struct Report {
    is_json: bool,
    findings: Vec<Finding>,
}

impl Report {
    fn add(&mut self, findings: impl IntoIterator<Item = Finding>) -> Result<(), CliError> {
        for finding in findings {
            if !self.is_json {
                print(&format!("{finding}\n"))?;
            }
            self.findings.push(finding);
        }
        Ok(())
    }

    fn end(self) -> Result<Outcome, CliError> {
        let has_failed = self.findings.iter().any(|finding| finding.state == Health::Fail);
        if self.is_json {
            let report = json!({"healthy": !has_failed, "checks": self.findings});
            print(&format!("{report:#}\n"))?;
        }
        Ok(if has_failed { Outcome::Refused } else { Outcome::Done })
    }
}

/// The library and the processor, with all that the server itself starts with; or why it does not start.
fn start(settings: &Settings, registries: &Registries) -> Result<(App, Vec<Finding>), Finding> {
    let library = match settings.onnxruntime_library() {
        Ok(library) => library,
        Err(error) => return Err(Finding::fail("library", "none", error)),
    };
    let app = match App::beside_a_server(settings, registries) {
        Ok(app) => app,
        Err(error) => {
            let check = match &error {
                AppError::Runtime(_) => "library",
                AppError::Keys(_) => "keys",
                AppError::Tls(_) => "tls",
                _ => "start",
            };
            return Err(Finding::fail(check, "not usable", error));
        }
    };
    // The library tells its build and no version; the names of its files do.
    let library = library.canonicalize().unwrap_or(library);
    let found = format!("{}: {}", library.display(), app::runtime_build());
    let name = library.file_name().unwrap_or_default().to_string_lossy();
    let version = name
        .strip_prefix("libonnxruntime.so.")
        .filter(|version| *version != app::runtime_version(settings));
    let library = match version {
        None => Finding::ok("library", found),
        Some(_) => {
            let cure = format!(
                "the server is tested with {}, which `make runtime` fetches",
                app::runtime_version(settings)
            );
            Finding::warn("library", found, cure)
        }
    };
    let mut findings = vec![library, machine::processor()];
    let warnings = app.secrets().warnings();
    findings.extend(
        warnings
            .into_iter()
            .map(|found| Finding::of("security", Health::Warn, found)),
    );
    Ok((app, findings))
}

/// What becomes of the models.
fn models(settings: &Settings, app: &App) -> Vec<Finding> {
    if let Err(error) = app.loader().load() {
        let cure = "name the folder of models with --repository";
        return vec![Finding::fail("models", error, cure)];
    }
    let mut findings = Vec::new();
    let models = app.service.models();
    if models.is_empty() {
        let found = format!("{} has none", settings.models.repository.display());
        findings.push(Finding::fail(
            "models",
            found,
            "a model is a folder <name>/<version> with a model.toml",
        ));
    }
    findings.extend(models.iter().map(model));
    findings
}

fn model(info: &ModelInfo) -> Finding {
    let name = format!("{} version {}", info.name, info.version);
    let reason = info.reason.as_deref().unwrap_or("it is not ready");
    match info.state {
        State::Ready => match &info.details {
            Some(details) if !details.card.weaknesses.is_empty() => {
                let found = format!("{name} is ready, though {}", details.card.weaknesses.join("; "));
                Finding::warn("model", found, "its answers say the same")
            }
            _ => Finding::ok("model", format!("{name} is ready")),
        },
        _ => Finding::fail("model", format!("{name}: {reason}"), "`density-server check` says more"),
    }
}

/// Whether the server could listen where it is to.
fn addresses(settings: &Settings) -> Vec<Finding> {
    let grpc = match settings.grpc.address {
        Listen::Off => None,
        Listen::At(address) => Some(address),
    };
    let all = [
        ("http", Some(settings.http.address)),
        ("grpc", grpc),
        ("probes", settings.http.probes),
    ];
    let look = |(name, address): (&'static str, SocketAddr)| match listen(address) {
        Ok(_) => Finding::ok(name, format!("{address} is free")),
        Err(error) => {
            let cure = format!("if that is not this server running already, choose another with --{name}");
            Finding::warn(name, format!("{address}: {error}"), cure)
        }
    };
    all.into_iter()
        .filter_map(|(name, address)| Some((name, address?)))
        .map(look)
        .collect()
}

/// Whether what is to be written can be.
fn folders(settings: &Settings) -> Vec<Finding> {
    let records = match settings.models.records() {
        None => Finding::ok("records", "off: every start proves every model"),
        Some(folder) => writable("records", &folder).unwrap_or_else(|found| {
            let cure = "every start proves every model again; name a folder that can be written with --proof-records";
            Finding::warn("records", found, cure)
        }),
    };
    let temporary = writable("temp", &std::env::temp_dir()).unwrap_or_else(|found| {
        let cure = "where memory files are forbidden too, images are drawn slowly; mount one, or set TMPDIR";
        Finding::warn("temp", found, cure)
    });
    let drift = settings.models.repository.join(".drift");
    let drift = writable("drift", &drift).unwrap_or_else(|found| {
        let cure = "the drift of detectors does not survive a restart; mount a volume of the server's own there";
        Finding::warn("drift", found, cure)
    });
    vec![records, drift, temporary]
}

/// Whether the environment says what nobody reads.
fn environment() -> Option<Finding> {
    let unknown = settings::sources::unknown_variables();
    let cure = "density-server serve --help names all variables";
    (!unknown.is_empty()).then(|| Finding::warn("variables", format!("no settings: {}", unknown.join(", ")), cure))
}

fn writable(check: &'static str, folder: &Path) -> Result<Finding, String> {
    let found = || folder.display().to_string();
    let tried = fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder));
    match tried {
        Ok(_) => Ok(Finding::ok(check, format!("{} can be written", found()))),
        Err(error) => Err(format!("{} cannot be written: {error}", found())),
    }
}
