//! `serve`: the server's life from its first signal handler to its last answer.

mod signals;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    num::NonZero,
    path::PathBuf,
    sync::RwLock,
    thread,
    time::Duration,
};

use clap::Args;
use tokio::{signal::unix::Signal, sync::oneshot};

use self::signals::Signals;
use super::{CliError, Outcome, exit::leave, listen::listen};
use crate::{
    app::{self, App, AppError, Changes, Listeners, Loader, Registries, Secrets},
    logging,
    settings::{self, Listen, Settings},
};

/// How often files of keys and certificates are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// How long a thread for blocking work stays without any: for good, as the time of a server goes.
const KEEP_ALIVE: Duration = Duration::from_hours(24 * 365);

const AFTER_HELP: &str = "\
Every setting can be given as a flag, as an environment variable (--max-images is DENSITY_MAX_IMAGES) or in the TOML
file named by --config. A flag beats a variable, a variable beats the file, the file beats the default. The file's
sections are the headings above, and paths in it are relative to its folder:

  [models]
  repository = \"repository\"
  poll_interval = 5
  [work]
  workers = 4
  [http]
  address = \":8000\"
  max_body_bytes = 1048576
  [grpc]
  address = \"off\"
  [log]
  format = \"json\"

Signals: SIGTERM and SIGINT finish accepted work, then exit with 0 (a second one exits at once); SIGHUP looks for new
and removed model versions, as calls do with --model-control, and reads keys and certificates again, which are looked
at every 2 s anyway; SIGUSR1 and SIGUSR2 do nothing.

Exit codes:
  0  stopped by a signal, with all accepted work finished
  1  stopped by a second signal, with work dropped
  2  the arguments, the configuration or the environment do not allow it";

/// Serve the models of a repository over HTTP and gRPC
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct ServeArgs {
    /// TOML file of settings
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(arguments: ServeArgs, registries: &Registries) -> Result<Outcome, CliError> {
    signals::hold().map_err(no_signals)?;
    let settings = arguments.settings.agreed()?;
    logging::start(&settings.log)?;
    let unknown = settings::sources::unknown_variables().join(", ");
    if !unknown.is_empty() {
        tracing::warn!(
            variables = unknown,
            "variables of the environment that are no settings: they change nothing"
        );
    }
    app::descriptors::raise(&settings);
    // The ports are taken first: a port in use should not be found out only after all models are loaded.
    let http = bind("http", settings.http.address)?;
    let grpc = match settings.grpc.address {
        Listen::Off => None,
        Listen::At(address) => Some(bind("grpc", address)?),
    };
    let probes = settings.http.probes;
    let probes = probes.map(|address| bind("probes", address)).transpose()?;
    if settings.security.sandbox {
        // Before there are threads, which would stay outside.
        app::enter_sandbox(&settings).map_err(AppError::from)?;
    }
    let _log = logging::Apart::begin().map_err(CliError::threads)?;
    // Before what takes memory: it can say that it has none, where the runtime would panic.
    let runtime = runtime().map_err(CliError::threads)?;
    let app = App::start(&settings, registries)?;
    let traces = {
        // The connection to the collector is the runtime's.
        let _runtime = runtime.enter();
        app::start_traces(&settings.traces)?
    };
    let outcome = runtime.block_on(serve(app, (http, grpc, probes), &settings));
    if let Some(traces) = traces {
        traces.stop();
    }
    // A load gate that is under way when the server is told to stop has nobody left to load for.
    runtime.shutdown_background();
    outcome
}

/// The runtime of the transports. With a thread for blocking work from the start, which stays: what finds no thread of
/// its own later, for want of memory or at a limit of threads, waits for that one. Where there is none, it panics.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .enable_all()
        .worker_threads(workers)
        .thread_keep_alive(KEEP_ALIVE)
        .thread_name("http")
        .on_thread_start(app::be_prompt);
    // Nor can it be built without its threads, so the system is asked for as many first. They leave it their stacks.
    let all_asked = RwLock::new(());
    thread::scope(|scope| {
        let asking = all_asked.write();
        let wait = || drop(all_asked.read());
        let asked = (0..=workers).try_for_each(|_| thread::Builder::new().spawn_scoped(scope, wait).map(drop));
        drop(asking);
        asked
    })?;
    let runtime = builder.build()?;
    drop(runtime.spawn_blocking(|| ()));
    Ok(runtime)
}

fn bind(flag: &str, address: SocketAddr) -> Result<TcpListener, CliError> {
    listen(address).map_err(|error| {
        let port = address.port();
        let cure = match error.kind() {
            io::ErrorKind::AddrInUse => {
                format!("; `ss --listening --tcp --processes 'sport = {port}'` says by whom")
            }
            io::ErrorKind::AddrNotAvailable => {
                format!(
                    "; this machine has no such address: `ip address` says which it has, and :{port} is all of them"
                )
            }
            io::ErrorKind::PermissionDenied => {
                "; ports below 1024 want the capability CAP_NET_BIND_SERVICE or a proxy in front".to_owned()
            }
            _ => String::new(),
        };
        let error = io::Error::new(error.kind(), format!("{error}{cure}"));
        CliError::io(format!("cannot listen on {address}, which is --{flag}"), error)
    })
}

async fn serve(
    app: App,
    (http, grpc, probes): (TcpListener, Option<TcpListener>, Option<TcpListener>),
    settings: &Settings,
) -> Result<Outcome, CliError> {
    let no_listener = |error| CliError::io("cannot listen", error);
    let listener = |own| tokio::net::TcpListener::from_std(own).map_err(no_listener);
    let listeners = Listeners {
        http: listener(http)?,
        grpc: grpc.map(listener).transpose()?,
        probes,
    };
    let address = listeners.http.local_addr().map_err(no_listener)?;
    let grpc = listeners.grpc.as_ref().map(|own| own.local_addr()).transpose();
    let grpc = grpc.map_err(no_listener)?.map_or(Listen::Off, Listen::At);
    let scheme = if settings.security.tls_certificate.is_some() {
        "https"
    } else {
        "http"
    };
    let signals = Signals::listen().map_err(no_signals)?;
    let mut stops = signals.stops;
    let (begin, changes) = oneshot::channel();
    let rescans = tokio::spawn(rescan(app.loader(), signals.rescan, changes));
    let secrets = tokio::spawn(watch_secrets(app.secrets(), signals.reload));
    // Probes get their answers while models load: alive, not ready.
    let (loader, models) = (app.loader(), settings.models.clone());
    let load = move || {
        // Before the first look, so that nothing is missed between the two. Nobody waits for it any more at the end.
        drop(begin.send(loader.changes(&models)));
        loader.load()
    };
    let loading = async move {
        match tokio::task::spawn_blocking(load).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return CliError::from(error),
            Err(error) => tracing::error!(%error, "loading the models failed"),
        }
        tracing::info!(%address, %grpc, "listening on {scheme}://{address}, gRPC on {grpc}");
        std::future::pending().await
    };
    if let Some(address) = listeners.probes.as_ref().and_then(|probes| probes.local_addr().ok()) {
        tracing::info!(probes = %address, "probes and metrics on http://{address}");
    }
    let serving = app.serve(listeners, async move {
        let name = stops.next().await;
        tracing::info!(signal = name, "draining: accepted work is finished");
        tokio::spawn(async move {
            let name = stops.next().await;
            tracing::warn!(signal = name, "stopped at once: work was dropped");
            leave(1);
        });
    });
    tokio::select! {
        served = serving => served?,
        error = loading => return Err(error),
    }
    rescans.abort();
    secrets.abort();
    tracing::info!("stopped");
    Ok(Outcome::Done)
}

fn no_signals(error: io::Error) -> CliError {
    CliError::io("signals cannot be handled", error)
}

/// Reads keys and certificates again at every SIGHUP, and every now and then.
async fn watch_secrets(mut secrets: Secrets, mut hangups: Signal) {
    secrets.look();
    while secrets.are_watched() {
        let is_asked = tokio::select! {
            _ = hangups.recv() => true,
            () = tokio::time::sleep(LOOK) => false,
        };
        // A file system that is away for a while must not hold up answers.
        let reload = move || {
            secrets.reload(is_asked);
            secrets
        };
        match tokio::task::spawn_blocking(reload).await {
            Ok(own) => secrets = own,
            Err(error) => return tracing::error!(%error, "keys and certificates are no longer read again"),
        }
    }
}

/// Looks for new and removed versions at every SIGHUP, and when it is time, once there is something that says so.
async fn rescan(loader: Loader, mut hangups: Signal, changes: oneshot::Receiver<Changes>) {
    let Ok(mut changes) = changes.await else {
        return;
    };
    // What was wrong at the last look: at looks that nobody asked for it is told once.
    let mut wrong = None;
    loop {
        tokio::select! {
            hangup = hangups.recv() => {
                if hangup.is_none() {
                    return;
                }
                wrong = None;
                tracing::info!("SIGHUP: looking for new and removed model versions");
            }
            () = changes.next() => {}
        }
        let loader = loader.clone();
        // Loading a model takes seconds of computation, which must not hold up answers.
        match tokio::task::spawn_blocking(move || loader.load()).await {
            Ok(Ok(())) => wrong = None,
            Ok(Err(error)) => {
                let error = error.to_string();
                if wrong.as_ref() != Some(&error) {
                    tracing::error!(error, "models stay as they are");
                }
                wrong = Some(error);
            }
            Err(error) => tracing::error!(%error, "the look for model versions failed"),
        }
    }
}
