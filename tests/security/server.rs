//! A server in this process, on free ports, with keys of its own.

use std::{net::SocketAddr, path::Path, sync::Arc};

use clap::{Args, Command, FromArgMatches};
use density_server::{
    access::{NewKey, Scope},
    app::{App, Listeners, Registries, Secrets},
    metrics::Metrics,
    settings::Settings,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};

pub(crate) struct Server {
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    pub(crate) operators: Option<SocketAddr>,
    pub(crate) secrets: Secrets,
    metrics: Arc<Metrics>,
    arguments: Vec<String>,
    keys: Vec<(String, String)>,
    folder: tempfile::TempDir,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments = arguments.iter().map(|&own| own.to_owned()).collect();
        Self::in_folder(arguments, folder).await
    }

    async fn in_folder(arguments: Vec<String>, folder: tempfile::TempDir) -> Self {
        copy_model("tiny-pixelcnn", folder.path());
        let repository = folder.path().to_str().unwrap();
        let command = Settings::augment_args(Command::new("")).no_binary_name(true);
        let own = ["--repository", repository, "--proof-records", "none", "--workers", "1"];
        let own = own.map(str::to_owned).into_iter();
        let matches = command.try_get_matches_from(own.chain(arguments.clone())).unwrap();
        let settings = Settings::from_arg_matches(&matches).unwrap().agreed().unwrap();
        let app = App::start(&settings, &Registries::default()).unwrap();
        let loader = app.loader();
        tokio::task::spawn_blocking(move || loader.load().unwrap())
            .await
            .unwrap();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let probes = settings.http.probes.map(|address| {
            let listener = std::net::TcpListener::bind(address).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        });
        let (stop, stopped) = oneshot::channel();
        let (secrets, metrics) = (app.secrets(), Arc::clone(app.service.metrics()));
        let addresses = (http.local_addr().unwrap(), grpc.local_addr().unwrap());
        let operators = probes.as_ref().map(|probes| probes.local_addr().unwrap());
        let listeners = Listeners {
            http,
            grpc: Some(grpc),
            probes,
        };
        let ended = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            app.serve(listeners, stopped).await.unwrap();
        });
        Self {
            http: addresses.0,
            grpc: addresses.1,
            operators,
            secrets,
            metrics,
            arguments,
            keys: Vec::new(),
            folder,
            stop,
            ended,
        }
    }

    /// The same with a key for each scope, and a second one for sampling.
    pub(crate) async fn with_keys(self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = write_keys(folder.path());
        let mut arguments = self.arguments.clone();
        self.stop().await;
        arguments.extend([
            "--keys".to_owned(),
            folder.path().join("keys.toml").display().to_string(),
        ]);
        let mut server = Self::in_folder(arguments, folder).await;
        server.keys = keys;
        server
    }

    pub(crate) fn change_keys(&mut self) {
        self.keys = write_keys(self.folder.path());
        self.secrets.reload(false);
    }

    pub(crate) fn key(&self, scope: Scope) -> String {
        self.key_of(scope.name())
    }

    pub(crate) fn other_sampler(&self) -> String {
        self.key_of("other")
    }

    fn key_of(&self, name: &str) -> String {
        let found = self.keys.iter().find(|(own, _)| own == name);
        found.unwrap().1.clone()
    }

    /// Requests that are being answered, over HTTP.
    pub(crate) fn in_flight(&self) -> i64 {
        self.metrics.http_in_flight.get()
    }

    /// When the certificate expires, as metrics say.
    pub(crate) fn expiry(&self) -> String {
        let text = self.metrics.encode();
        let name = "density_tls_certificate_expiry_timestamp_seconds ";
        let expiry = text.lines().find_map(|line| line.strip_prefix(name));
        expiry.unwrap().to_owned()
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.ended.await.unwrap();
    }
}

fn write_keys(folder: &Path) -> Vec<(String, String)> {
    let names = Scope::ALL.map(|scope| (scope.name(), scope));
    let all = names.into_iter().chain([("other", Scope::Sample)]);
    let (keys, entries): (Vec<_>, Vec<_>) = all
        .map(|(name, scope)| {
            let NewKey { key, entry } = NewKey::new(name, &[scope]).unwrap();
            ((name.to_owned(), key), entry)
        })
        .unzip();
    std::fs::write(folder.join("keys.toml"), entries.concat()).unwrap();
    keys
}

fn copy_model(name: &str, repository: &Path) {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/repository");
    let to = repository.join(name).join("1");
    std::fs::create_dir_all(&to).unwrap();
    for file in from.join(name).join("1").read_dir().unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
