//! TLS of listeners: certificates from files, read again without a restart, and certificates that clients must show.
//!
//! What a certificate proves is that a client may connect; what it may ask for is the business of keys.

mod validity;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use self::validity::Validity;
use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

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
}

#[derive(Debug)]
struct Current {
    /// What the files held.
    content: Vec<Vec<u8>>,
    config: Arc<ServerConfig>,
    validity: Option<Validity>,
}

impl Tls {
    /// Reads the files.
    pub fn new(files: TlsFiles) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(Current::read(&files, &[])?.ok_or_else(|| TlsError {
            path: files.certificate.clone(),
            reason: "it holds nothing".to_owned(),
        })?);
        Ok(Self { files, current })
    }

    /// Reads the files again; new connections get what they hold now. If that cannot be used, all stays as it was.
    /// Answers whether they hold something else.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let new = Current::read(&self.files, &self.current.load().content)?;
        let is_new = new.is_some();
        if let Some(new) = new {
            self.current.store(Arc::new(new));
        }
        Ok(is_new)
    }

    /// The files that it is made of.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// When the server's certificate holds, and those that it came with.
    pub fn validity(&self) -> Option<Validity> {
        self.current.load().validity
    }

    /// Shakes hands.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let config = Arc::clone(&self.current.load().config);
        TlsAcceptor::from(config).accept(stream).await
    }
}

impl Current {
    /// What the files hold, unless that is `known`.
    fn read(files: &TlsFiles, known: &[Vec<u8>]) -> Result<Option<Self>, TlsError> {
        let paths = [Some(&files.certificate), Some(&files.key), files.client_ca.as_ref()];
        let content = paths.into_iter().flatten().map(|path| {
            fs::read(path).map_err(|error| TlsError {
                path: path.clone(),
                reason: error.to_string(),
            })
        });
        let content: Vec<Vec<u8>> = content.collect::<Result<_, _>>()?;
        if content == known {
            return Ok(None);
        }
        let chain = certificates(&files.certificate, &content[0])?;
        let validity = Validity::of(&chain);
        let config = Arc::new(config(files, chain, &content)?);
        Ok(Some(Self {
            content,
            config,
            validity,
        }))
    }
}

fn wrong(path: &Path, reason: String) -> TlsError {
    TlsError {
        path: path.to_owned(),
        reason,
    }
}

/// All certificates of a file, of which there is one at least.
fn certificates(path: &Path, content: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content).collect();
    let all = all.map_err(|error| wrong(path, error.to_string()))?;
    if all.is_empty() {
        return Err(wrong(path, "there is no certificate in PEM in it".to_owned()));
    }
    Ok(all)
}

fn config(
    files: &TlsFiles,
    chain: Vec<CertificateDer<'static>>,
    content: &[Vec<u8>],
) -> Result<ServerConfig, TlsError> {
    let key = PrivateKeyDer::from_pem_slice(&content[1])
        .map_err(|error| wrong(&files.key, format!("there is no private key in PEM in it: {error}")))?;
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| wrong(&files.certificate, error.to_string()))?;
    let builder = match (&files.client_ca, content.get(2)) {
        (Some(path), Some(content)) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path, content)? {
                roots.add(certificate).map_err(|error| wrong(path, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| wrong(path, error.to_string()))?)
        }
        _ => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(chain, key);
    let mut config = config.map_err(|error| wrong(&files.certificate, error.to_string()))?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(config)
}
