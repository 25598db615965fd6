//! TLS: certificates are made here, handshakes are real.

use std::{fs::Permissions, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use rcgen::date_time_ymd;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    client,
    pki::{self, Issuer, issuer},
    server::Server,
};

/// A certificate for `localhost` and its key, in PEM.
pub(crate) fn certificate(issuer: &Issuer) -> (String, String) {
    certificate_until(issuer, 4000)
}

/// The same until the first of January of a year.
fn certificate_until(issuer: &Issuer, year: i32) -> (String, String) {
    pki::certificate(issuer, |params| params.not_after = date_time_ymd(year, 1, 1))
}

pub(crate) fn write(folder: &Path, (certificate, key): &(String, String)) {
    std::fs::write(folder.join("cert.pem"), certificate).unwrap();
    std::fs::write(folder.join("key.pem"), key).unwrap();
}

pub(crate) fn arguments(folder: &Path) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    vec![
        "--tls-certificate".to_owned(),
        path("cert.pem"),
        "--tls-key".to_owned(),
        path("key.pem"),
    ]
}

/// A handshake with a server whose issuer is known, and perhaps with a certificate of one's own.
async fn shake(
    address: std::net::SocketAddr,
    issuer: &Issuer,
    own: Option<&(String, String)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(pki::client(issuer, own)))
        .connect(name, stream)
        .await
}

fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn http_and_grpc_speak_tls_and_nothing_else() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), issuer());
    write(folder.path(), &certificate(&issuer));
    let arguments = arguments(folder.path());
    let server = Server::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let stream = shake(server.http, &issuer, None).await.unwrap();
    let answer = client::ask_over(stream, "GET", "/v1/models", "", b"").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let stream = shake(server.grpc, &issuer, None).await.unwrap();
    let connection = client::connect_over(stream).await;
    client::metadata(connection, None).await.unwrap();
    // Whoever trusts another issuer does not trust this server.
    assert!(shake(server.http, &self::issuer(), None).await.is_err());
    // Plain text gets no HTTP back.
    let mut plain = TcpStream::connect(server.http).await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    // A reset is as good as an end.
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut plain, &mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_change_without_a_restart_and_broken_ones_change_nothing() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), issuer());
    write(folder.path(), &certificate(&issuer));
    let arguments = arguments(folder.path());
    let mut server = Server::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let old = shake(server.http, &issuer, None).await.unwrap();
    // Half of a change: a certificate whose key has not been written yet.
    let next = certificate(&issuer);
    std::fs::write(folder.path().join("cert.pem"), &next.0).unwrap();
    server.secrets.reload(false);
    assert_eq!(shown(&shake(server.http, &issuer, None).await.unwrap()), shown(&old));
    std::fs::write(folder.path().join("key.pem"), &next.1).unwrap();
    server.secrets.reload(false);
    let new = shake(server.http, &issuer, None).await.unwrap();
    assert_ne!(shown(&new), shown(&old));
    // A connection that stands goes on.
    assert_eq!(client::ask_over(old, "GET", "/livez", "", b"").await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_a_certificate_where_that_is_wanted() {
    let (folder, issuer, clients) = (tempfile::tempdir().unwrap(), issuer(), issuer());
    write(folder.path(), &certificate(&issuer));
    let root = folder.path().join("clients.pem");
    std::fs::write(&root, clients.pem()).unwrap();
    let mut arguments = arguments(folder.path());
    arguments.extend(["--tls-client-ca".to_owned(), root.display().to_string()]);
    let server = Server::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let own = certificate(&clients);
    let stream = shake(server.http, &issuer, Some(&own)).await.unwrap();
    assert_eq!(client::ask_over(stream, "GET", "/livez", "", b"").await.status, 200);
    for own in [None, Some(certificate(&issuer))] {
        // In TLS 1.3 a client learns that it is refused when it first reads.
        let answer = async {
            let mut stream = shake(server.http, &issuer, own.as_ref()).await?;
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await?;
            tokio::io::AsyncReadExt::read_u8(&mut stream).await
        };
        assert!(answer.await.is_err());
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_when_a_certificate_ends_and_who_could_take_its_key() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), issuer());
    write(folder.path(), &certificate(&issuer));
    let key = folder.path().join("key.pem");
    let allow = |mode| std::fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
    allow(0o600);
    let arguments = arguments(folder.path());
    let mut server = Server::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
    server.secrets.reload(false);
    assert_eq!(server.secrets.warnings(), Vec::<String>::new());
    // The first of January 4000.
    assert_eq!(server.expiry(), "64060588800");

    allow(0o644);
    let warnings = server.secrets.warnings();
    assert!(
        warnings[0].contains("can read the private key") && warnings.len() == 1,
        "{warnings:?}"
    );
    allow(0o600);
    // A chain holds for as long as all of it does.
    let (last, key) = certificate(&issuer);
    let old = certificate_until(&issuer, 2001).0;
    write(folder.path(), &(format!("{last}{old}"), key));
    server.secrets.reload(false);
    let warnings = server.secrets.warnings();
    assert!(
        warnings[0].contains("expired") && warnings[0].contains("cert.pem"),
        "{warnings:?}"
    );
    assert_eq!(server.expiry(), "978307200");
    server.stop().await;
}
