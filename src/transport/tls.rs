//! TLS of listeners: certificates from files, read again without a restart, and certificates that clients must show.
//!
//! What a certificate proves is that a client may connect; what it may ask for is the business of keys.

mod client;
mod validity;
mod words;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use self::validity::Validity;
pub(crate) use self::{
    client::ClientCertificate,
    words::{Failure, failure},
};
use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::access::read_file;

/// What clients may speak inside, in the order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and the root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The roots of clients' certificates, if clients must show one.
    pub client_ca: Option<PathBuf>,
    /// Which of clients' certificates their issuers have revoked.
    pub client_crl: Option<PathBuf>,
}

impl TlsFiles {
    fn paths(&self) -> [Option<&PathBuf>; 4] {
        let (ca, crl) = (self.client_ca.as_ref(), self.client_crl.as_ref());
        [Some(&self.certificate), Some(&self.key), ca, crl]
    }
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct TlsError {
    /// The file that is wrong.
    path: PathBuf,
    /// What is wrong with it.
    reason: String,
}

/// TLS with the certificates of some files.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<Current>,
    /// Told when there is another one.
    changed: watch::Sender<()>,
}

/// What the files held, each in the place of its path.
type Content = [Option<Vec<u8>>; 4];

#[derive(Debug)]
struct Current {
    content: Content,
    config: Arc<ServerConfig>,
    /// What looks at clients' certificates, where they must show one.
    clients: Option<Arc<dyn ClientCertVerifier>>,
    validity: Option<Validity>,
    /// How often something else was read before.
    generation: u64,
}

impl Tls {
    /// Reads the files.
    pub fn new(files: TlsFiles) -> Result<Self, TlsError> {
        let content = read(&files)?;
        let current = ArcSwap::from_pointee(Current::of(&files, content, 0)?);
        let changed = watch::Sender::new(());
        Ok(Self {
            files,
            current,
            changed,
        })
    }

    /// Reads the files again; new connections get what they hold now, and those end whose clients would not be let in
    /// any more. If it cannot be used, all stays as it was. Answers whether they hold something else.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let content = read(&self.files)?;
        let before = self.current.load();
        if content == before.content {
            return Ok(false);
        }
        let current = Current::of(&self.files, content, before.generation + 1)?;
        self.current.store(Arc::new(current));
        self.changed.send_replace(());
        Ok(true)
    }

    /// The files that it is made of.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// When the server's certificate holds, and those that it came with.
    pub fn validity(&self) -> Option<Validity> {
        self.current.load().validity
    }

    /// Shakes hands. Answers with what the client showed, too.
    pub(crate) async fn accept(
        self: &Arc<Self>,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<ClientCertificate>)> {
        let current = self.current.load_full();
        let stream = TlsAcceptor::from(Arc::clone(&current.config)).accept(stream).await?;
        let chain = stream.get_ref().1.peer_certificates();
        let shown = chain.map(|chain| ClientCertificate::new(self, chain, current.generation));
        Ok((stream, shown))
    }
}

impl Current {
    fn of(files: &TlsFiles, content: Content, generation: u64) -> Result<Self, TlsError> {
        let held = |place: usize| content[place].as_deref().unwrap_or_default();
        let chain = certificates(&files.certificate, held(0))?;
        let validity = Validity::of(&chain);
        let clients = clients(files, held)?;
        let config = Arc::new(config(files, chain, held(1), clients.clone())?);
        Ok(Self {
            content,
            config,
            clients,
            validity,
            generation,
        })
    }
}

fn read(files: &TlsFiles) -> Result<Content, TlsError> {
    let mut content = Content::default();
    for (held, path) in content.iter_mut().zip(files.paths()) {
        let read = |path: &PathBuf| read_file(path).map_err(|error| wrong(path, error.to_string()));
        *held = path.map(read).transpose()?;
    }
    Ok(content)
}

fn wrong(path: &Path, reason: String) -> TlsError {
    TlsError {
        path: path.to_owned(),
        reason,
    }
}

/// All certificates of a file, of which there is one at least.
fn certificates(path: &Path, content: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    all(path, content, "certificate", "CERTIFICATE")
}

/// All things of one kind that a file holds, of which there is one at least. `label` stands in the lines of dashes.
fn all<T: PemObject>(path: &Path, content: &[u8], what: &str, label: &str) -> Result<Vec<T>, TlsError> {
    let all: Result<Vec<_>, _> = T::pem_slice_iter(content).collect();
    let all = all.map_err(|error| wrong(path, words::of_pem(&error, what)))?;
    if all.is_empty() {
        let reason = format!("there is no {what} in PEM in it: it must have a line -----BEGIN {label}-----");
        return Err(wrong(path, reason));
    }
    Ok(all)
}

/// What looks at clients' certificates, where they must show one.
fn clients<'a>(
    files: &TlsFiles,
    held: impl Fn(usize) -> &'a [u8],
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let Some(path) = &files.client_ca else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, held(2))? {
        let added = roots.add(certificate);
        added.map_err(|error| wrong(path, words::of_certificate(&error)))?;
    }
    let mut verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
    let mut named = path;
    if let Some(path) = &files.client_crl {
        let lists: Vec<CertificateRevocationListDer<'static>> =
            all(path, held(3), "list of revoked certificates", "X509 CRL")?;
        verifier = verifier.with_crls(lists);
        named = path;
    }
    let verifier = verifier.build().map_err(|error| wrong(named, error.to_string()))?;
    Ok(Some(verifier))
}

fn config(
    files: &TlsFiles,
    chain: Vec<CertificateDer<'static>>,
    key: &[u8],
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, TlsError> {
    let key = PrivateKeyDer::from_pem_slice(key);
    let key = key.map_err(|error| wrong(&files.key, words::of_pem(&error, "private key")))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(&files.certificate, error.to_string()))?;
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients),
        None => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|error| match words::of_pair(&error, &files.certificate) {
        Some(reason) => wrong(&files.key, reason),
        None => wrong(&files.certificate, words::of_certificate(&error)),
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(config)
}
