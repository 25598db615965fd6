//! Keys and certificates that are taken away from clients whose connections stand: what is in flight finishes, and
//! nothing more is answered.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use bytes::Bytes;
use density_server::access::Scope::{Read, Sample};
use futures_util::stream;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::SerialNumber;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::{Code, Status};

use super::{
    SCORE,
    client::{self, Connection, Stream},
    pki::{self, Issuer, Pair, issuer, revoked},
    server::Server,
    tls,
};

/// Far less than an idle connection is kept.
const PATIENCE: Duration = Duration::from_secs(30);

fn images() -> Bytes {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/repository/tiny-pixelcnn/1");
    fs::read(model.join("golden_images.npy")).unwrap().into()
}

fn bearer(key: Option<&str>) -> String {
    key.map_or_else(String::new, |key| format!("authorization: Bearer {key}\r\n"))
}

/// A connection of HTTP/1.1 that stays.
struct Kept<S>(S);

impl<S: AsyncRead + AsyncWrite + Unpin> Kept<S> {
    async fn models(&mut self, key: Option<&str>) -> u16 {
        let head = format!("GET /v1/models HTTP/1.1\r\nhost: localhost\r\n{}\r\n", bearer(key));
        self.0.write_all(head.as_bytes()).await.unwrap();
        self.answer().await.0
    }

    /// Asks for scores, and keeps the images until the server has let the request in.
    async fn begin_scores(&mut self, key: Option<&str>) {
        let head = format!(
            "POST {SCORE} HTTP/1.1\r\nhost: localhost\r\n{}content-type: application/x-npy\r\ncontent-length: {}\r\n\
             expect: 100-continue\r\n\r\n",
            bearer(key),
            images().len()
        );
        self.0.write_all(head.as_bytes()).await.unwrap();
        assert!(self.head().await.starts_with("HTTP/1.1 100"));
    }

    async fn scores(&mut self) -> (u16, String) {
        self.0.write_all(&images()).await.unwrap();
        self.answer().await
    }

    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    async fn answer(&mut self) -> (u16, String) {
        let head = self.head().await;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.unwrap().parse().unwrap()];
        self.0.read_exact(&mut body).await.unwrap();
        (head[9..12].parse().unwrap(), head)
    }

    /// Waits until the server has closed it, without a word more.
    async fn ends(mut self) {
        let mut rest = Vec::new();
        // A reset is as good as an end. An idle connection ends some time, too.
        let end = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await;
        assert!(end.is_ok(), "it is still open");
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}

/// A connection of HTTP/2.
struct Multiplexed {
    sender: http2::SendRequest<Body>,
    /// Comes when the connection is over.
    over: tokio::task::JoinHandle<hyper::Result<()>>,
}

impl Multiplexed {
    async fn new<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Self {
        let agreed = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = agreed.unwrap();
        let over = tokio::spawn(connection);
        Self { sender, over }
    }

    fn request(method: &str, path: &str, key: Option<&str>, body: Body) -> Request<Body> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://localhost{path}"));
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        request.header("content-type", "application/x-npy").body(body).unwrap()
    }

    async fn models(&mut self, key: Option<&str>) -> StatusCode {
        let request = Self::request("GET", "/v1/models", key, Body::empty());
        self.sender.send_request(request).await.unwrap().status()
    }

    /// Asks for scores; the images follow when they are said to.
    async fn begin_scores(
        &mut self,
        server: &Server,
        key: Option<&str>,
    ) -> (oneshot::Sender<Bytes>, impl Future<Output = StatusCode> + use<>) {
        let (images, coming) = oneshot::channel();
        let body = Body::from_stream(stream::once(coming));
        let answer = tokio::spawn(self.sender.send_request(Self::request("POST", SCORE, key, body)));
        while server.in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        (images, async { answer.await.unwrap().unwrap().status() })
    }
}

fn code(result: Result<(), Status>) -> Code {
    result.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_taken_away_is_good_for_nothing_on_connections_that_stand() {
    let mut server = Server::start(&[]).await.with_keys().await;
    let (read, sample) = (server.key(Read), server.key(Sample));
    let (read, sample) = (Some(read.as_str()), Some(sample.as_str()));
    let mut kept = Kept(TcpStream::connect(server.http).await.unwrap());
    let mut multiplexed = Multiplexed::new(TcpStream::connect(server.http).await.unwrap()).await;
    let calls = client::connect(server.grpc).await;
    assert_eq!(
        (kept.models(read).await, multiplexed.models(read).await.as_u16()),
        (200, 200)
    );
    client::metadata(calls.clone(), read).await.unwrap();
    let mut used = Stream::open(calls.clone(), sample).await.unwrap();
    let mut silent = Stream::open(calls.clone(), sample).await.unwrap();
    used.draw().await.unwrap();
    let (images, scores) = multiplexed.begin_scores(&server, read).await;
    kept.begin_scores(read).await;

    server.change_keys();
    // What was let in is finished.
    images.send(self::images()).unwrap();
    assert_eq!((kept.scores().await.0, scores.await.as_u16()), (200, 200));
    assert_eq!(
        (kept.models(read).await, multiplexed.models(read).await.as_u16()),
        (401, 401)
    );
    assert_eq!(code(client::metadata(calls.clone(), read).await), Code::Unauthenticated);
    // Each request of a stream is a request, and one that asks nothing does not stay.
    assert_eq!(code(used.draw().await), Code::Unauthenticated);
    assert_eq!(code(silent.answer().await), Code::Unauthenticated);
    // The connections are good for other keys.
    let read = server.key(Read);
    let read = Some(read.as_str());
    assert_eq!(
        (kept.models(read).await, multiplexed.models(read).await.as_u16()),
        (200, 200)
    );
    client::metadata(calls, read).await.unwrap();
    server.stop().await;
}

/// A server that wants certificates of clients, and where its files lie.
struct Guarded {
    server: Server,
    issuer: Issuer,
    clients: Issuer,
    folder: tempfile::TempDir,
}

impl Guarded {
    async fn start() -> Self {
        let (folder, issuer, clients) = (tempfile::tempdir().unwrap(), issuer(), issuer());
        tls::write(folder.path(), &tls::certificate(&issuer));
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("clients.pem"), clients.pem()).unwrap();
        fs::write(path("clients.crl"), revoked(&clients, &[])).unwrap();
        let mut arguments = tls::arguments(folder.path());
        arguments.extend(["--tls-client-ca".to_owned(), path("clients.pem")]);
        arguments.extend(["--tls-client-crl".to_owned(), path("clients.crl")]);
        let server = Server::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
        Self {
            server,
            issuer,
            clients,
            folder,
        }
    }

    /// A client with a certificate of this number.
    fn client(&self, serial: u64) -> Client {
        let own = pki::certificate(&self.clients, |params| {
            params.serial_number = Some(SerialNumber::from(serial));
        });
        self.client_with(&own)
    }

    fn client_with(&self, own: &Pair) -> Client {
        Client(TlsConnector::from(Arc::new(pki::client(&self.issuer, Some(own)))))
    }

    fn change(&mut self, file: &str, content: &str) {
        fs::write(self.folder.path().join(file), content).unwrap();
        self.server.secrets.reload(false);
    }
}

/// One that resumes sessions where it can.
struct Client(TlsConnector);

impl Client {
    async fn connect(&self, address: std::net::SocketAddr) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        self.0.connect(name, stream).await.unwrap()
    }

    /// Whether it is let in.
    async fn may_come(&self, address: std::net::SocketAddr) -> bool {
        let mut stream = self.connect(address).await;
        // In TLS 1.3 a client learns that it is refused when it first reads.
        let asked = stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
        asked.is_ok() && stream.read_u8().await.is_ok()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_revoked_certificate_end_when_what_is_in_flight_has_finished() {
    let mut own = Guarded::start().await;
    let (http, grpc) = (own.server.http, own.server.grpc);
    let (bad, good) = (own.client(7), own.client(8));
    let mut other = Kept(good.connect(http).await);
    let (mut idle, mut busy) = (Kept(bad.connect(http).await), Kept(bad.connect(http).await));
    for kept in [&mut other, &mut idle, &mut busy] {
        assert_eq!(kept.models(None).await, 200);
    }
    let mut quiet = Multiplexed::new(bad.connect(http).await).await;
    let mut multiplexed = Multiplexed::new(bad.connect(http).await).await;
    assert_eq!(
        (quiet.models(None).await, multiplexed.models(None).await.as_u16()),
        (StatusCode::OK, 200)
    );
    let calls: Connection = client::connect_over(bad.connect(grpc).await).await;
    let mut drawing = Stream::open(calls, None).await.unwrap();
    let (images, scores) = multiplexed.begin_scores(&own.server, None).await;
    busy.begin_scores(None).await;

    own.change("clients.crl", &revoked(&own.clients, &[7]));
    idle.ends().await;
    quiet.over.await.unwrap().unwrap();
    assert_eq!(code(drawing.answer().await), Code::Unauthenticated);
    images.send(self::images()).unwrap();
    assert_eq!(scores.await, 200);
    multiplexed.over.await.unwrap().unwrap();
    let (status, head) = busy.scores().await;
    assert_eq!(status, 200);
    assert!(head.contains("connection: close"), "{head}");
    busy.ends().await;
    assert!(!bad.may_come(http).await, "no session is resumed");
    assert_eq!(other.models(None).await, 200);
    own.server.stop().await;
}

/// Long enough for a few handshakes on a busy machine.
const A_MOMENT: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_a_certificate_that_expires_end_when_what_is_in_flight_has_finished() {
    let own = Guarded::start().await;
    let (http, grpc) = (own.server.http, own.server.grpc);
    let until = SystemTime::now() + A_MOMENT;
    let brief = pki::certificate(&own.clients, |params| params.not_after = until.into());
    let (brief, lasting) = (own.client_with(&brief), own.client(8));
    let mut other = Kept(lasting.connect(http).await);
    let (mut idle, mut busy) = (Kept(brief.connect(http).await), Kept(brief.connect(http).await));
    for kept in [&mut other, &mut idle, &mut busy] {
        assert_eq!(kept.models(None).await, 200);
    }
    let mut quiet = Multiplexed::new(brief.connect(http).await).await;
    assert_eq!(quiet.models(None).await, StatusCode::OK);
    let calls: Connection = client::connect_over(brief.connect(grpc).await).await;
    let mut drawing = Stream::open(calls, None).await.unwrap();
    busy.begin_scores(None).await;

    idle.ends().await;
    assert!(SystemTime::now() > until, "it ended before its certificate did");
    quiet.over.await.unwrap().unwrap();
    assert_eq!(code(drawing.answer().await), Code::Unauthenticated);
    let (status, head) = busy.scores().await;
    assert_eq!(status, 200);
    assert!(head.contains("connection: close"), "{head}");
    busy.ends().await;
    assert!(!brief.may_come(http).await, "no session is resumed");
    assert_eq!(other.models(None).await, 200);
    own.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_an_issuer_that_is_no_longer_trusted_end() {
    let mut own = Guarded::start().await;
    let http = own.server.http;
    let before = own.client(1);
    let mut kept = Kept(before.connect(http).await);
    assert_eq!(kept.models(None).await, 200);
    // What cannot be used changes nothing.
    own.change("clients.pem", "nobody");
    assert_eq!(kept.models(None).await, 200);
    let next = issuer();
    fs::write(own.folder.path().join("clients.crl"), revoked(&next, &[])).unwrap();
    own.change("clients.pem", &next.pem());
    kept.ends().await;
    assert!(!before.may_come(http).await);
    assert!(own.client_with(&tls::certificate(&next)).may_come(http).await);
    own.server.stop().await;
}
