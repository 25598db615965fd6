//! Certificates that change under a server: by SIGHUP, half written, with another's key, out of date, revoked.

use std::{
    fs,
    io::{BufRead, Read, Write},
    net::TcpStream,
    path::Path,
    sync::Arc,
};

use rcgen::{SerialNumber, date_time_ymd};
use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};

use super::{
    command::{
        fixtures,
        server::{PATIENCE, Server, eventually},
        text,
    },
    pki::{self, Issuer, Pair, issuer, revoked},
};

/// One for `localhost` that holds from one year to another.
fn certificate(issuer: &Issuer, serial: u64, (from, to): (i32, i32)) -> Pair {
    pki::certificate(issuer, |params| {
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
    })
}

/// Asks a server whose issuer is known, perhaps with a certificate of one's own. Answers what it showed, and said.
fn ask(address: &str, trusted: &Issuer, own: Option<&Pair>) -> std::io::Result<(Vec<u8>, String)> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(pki::client(trusted, own)), name).unwrap();
    let tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(connection, tcp);
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let shown = stream.conn.peer_certificates().unwrap()[0].to_vec();
    Ok((shown, answer))
}

/// Reads the log up to a line with these words.
fn line(server: &mut Server, words: &str) -> String {
    let mut seen = String::new();
    loop {
        let start = seen.len();
        assert!(server.log.read_line(&mut seen).unwrap() > 0, "no {words:?} in {seen}");
        if seen[start..].contains(words) {
            return seen[start..].to_owned();
        }
    }
}

fn start(folder: &Path, more: &[&str]) -> Server {
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let own = [
        "--tls-certificate",
        text(&certificate),
        "--tls-key",
        text(&key),
        "--probes",
        "127.0.0.1:0",
    ];
    Server::start(&fixtures(), &[&own, more].concat())
}

/// A number of the metrics, which operators get without TLS.
fn metric(server: &Server, name: &str) -> String {
    let mut stream = TcpStream::connect(&server.probes).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or("none").to_owned()
}

/// A handshake is counted once its client has been told.
fn counted(server: &Server, reason: &str) {
    let name = format!("density_tls_failures_total{{reason=\"{reason}\"}}");
    eventually(&name, || metric(server, &name) == "1");
}

const FAILING: &str = "density_secrets_failing{what=\"certificates\"}";

#[test]
fn what_cannot_be_used_is_said_in_words_and_the_certificate_before_it_stays() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), issuer());
    let write = |file: &str, content: &str| fs::write(folder.path().join(file), content).unwrap();
    let [own, next] = [1, 2].map(|serial| certificate(&issuer, serial, (2000, 4000)));
    write("tls.crt", &own.0);
    write("tls.key", &own.1);
    let mut server = start(folder.path(), &[]);
    let (before, _) = ask(&server.address, &issuer, None).unwrap();
    assert_eq!(metric(&server, FAILING), "0");
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let no_base64 = "-----BEGIN CERTIFICATE-----\nwhat?\n-----END CERTIFICATE-----\n";
    let no_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cases = [
        (
            &own.0,
            half(&own.1),
            "tls.key: it ends before the line -----END PRIVATE KEY-----",
        ),
        (&own.0, "nothing".to_owned(), "tls.key: there is no private key in PEM"),
        (&own.0, next.1.clone(), "tls.key: it is not the private key of"),
        (
            &half(&next.0),
            next.1.clone(),
            "tls.crt: it ends before the line -----END CERTIFICATE-----",
        ),
        (
            &String::new(),
            next.1.clone(),
            "tls.crt: there is no certificate in PEM",
        ),
        (&no_base64.to_owned(), next.1.clone(), "no Base64"),
        (&no_x509.to_owned(), next.1.clone(), "no X.509 certificate"),
    ];
    for (certificate, key, words) in cases {
        write("tls.crt", certificate);
        write("tls.key", &key);
        server.signal("HUP");
        let said = line(&mut server, "certificates stay as they are");
        assert!(said.contains(words), "{words:?} is not in {said}");
        assert_eq!(metric(&server, FAILING), "1", "{words}");
        assert_eq!(ask(&server.address, &issuer, None).unwrap().0, before, "{words}");
    }
    fs::remove_file(folder.path().join("tls.crt")).unwrap();
    server.signal("HUP");
    let said = line(&mut server, "certificates stay as they are");
    assert!(said.contains("No such file"), "{said}");
    write("tls.crt", &next.0);
    write("tls.key", &next.1);
    server.signal("HUP");
    line(&mut server, "can be used again");
    assert_eq!(metric(&server, FAILING), "0");
    assert_ne!(ask(&server.address, &issuer, None).unwrap().0, before);
}

/// A clock that jumps makes certificates that hold today ones of the past or of the future.
#[test]
fn a_certificate_out_of_its_time_is_said_to_be_and_the_clock_is_named() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), issuer());
    let write = |(certificate, key): &Pair| {
        fs::write(folder.path().join("tls.crt"), certificate).unwrap();
        fs::write(folder.path().join("tls.key"), key).unwrap();
    };
    write(&certificate(&issuer, 1, (2000, 2001)));
    let mut server = start(folder.path(), &[]);
    // Clients see it, and break off; the server says why.
    assert!(ask(&server.address, &issuer, None).is_err());
    let said = line(&mut server, "no TLS");
    assert!(
        said.contains("refused_by_client") && said.contains("CertificateExpired"),
        "{said}"
    );
    assert_eq!(
        metric(&server, "density_tls_certificate_expiry_timestamp_seconds"),
        "978307200"
    );
    write(&certificate(&issuer, 1, (3000, 4000)));
    server.signal("HUP");
    let said = line(&mut server, "does not hold yet");
    assert!(said.contains("clock"), "{said}");
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[test]
fn clients_are_refused_for_a_reason_that_is_counted_and_a_revoked_one_without_a_restart() {
    let (folder, issuer, clients) = (tempfile::tempdir().unwrap(), issuer(), issuer());
    let write = |file: &str, content: &str| fs::write(folder.path().join(file), content).unwrap();
    let own = certificate(&issuer, 1, (2000, 4000));
    write("tls.crt", &own.0);
    write("tls.key", &own.1);
    write("roots.crt", &clients.pem());
    write("revoked.crl", &revoked(&clients, &[7]));
    let (roots, list) = (folder.path().join("roots.crt"), folder.path().join("revoked.crl"));
    let more = ["--tls-client-ca", text(&roots), "--tls-client-crl", text(&list)];
    let mut server = start(folder.path(), &more);
    let good = certificate(&clients, 8, (2000, 4000));
    let (_, answer) = ask(&server.address, &issuer, Some(&good)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for (shown, reason) in [
        (None, "no_client_certificate"),
        (Some(certificate(&issuer, 9, (2000, 4000))), "unknown_issuer"),
        (
            Some(certificate(&clients, 7, (2000, 4000))),
            "client_certificate_revoked",
        ),
        (
            Some(certificate(&clients, 9, (2000, 2001))),
            "client_certificate_expired",
        ),
        (
            Some(certificate(&clients, 9, (3000, 4000))),
            "client_certificate_not_valid_yet",
        ),
    ] {
        // In TLS 1.3 a client learns that it is refused when it first reads.
        assert!(ask(&server.address, &issuer, shown.as_ref()).is_err(), "{reason}");
        counted(&server, reason);
    }
    write("revoked.crl", &revoked(&clients, &[7, 8]));
    server.signal("HUP");
    line(&mut server, "certificates are read again");
    assert!(ask(&server.address, &issuer, Some(&good)).is_err());
    write("revoked.crl", "nobody");
    server.signal("HUP");
    let said = line(&mut server, "certificates stay as they are");
    assert!(said.contains("X509 CRL"), "{said}");
    assert!(
        ask(&server.address, &issuer, Some(&good)).is_err(),
        "who was revoked stays so"
    );
    // Plain HTTP, and a look at the port.
    let mut plain = TcpStream::connect(&server.address).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    // A reset is as good as an end.
    let _ = plain.read_to_end(&mut Vec::new());
    counted(&server, "no_tls");
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("no TLS"), "it was told within the last minute: {log}");
}
