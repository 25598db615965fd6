//! Clients, over whatever stream they are given.

use std::{
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use axum::http::{Request, Response, uri::PathAndQuery};
use futures_util::stream;
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc::{self, UnboundedSender},
};
use tonic::{Status, Streaming, body::Body, client::Grpc};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_prost::ProstCodec;

/// An answer of HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Head and body.
    pub(crate) text: String,
}

pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
    ask_over(TcpStream::connect(address).await.unwrap(), method, path, headers, body).await
}

pub(crate) async fn ask_over<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Answer {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
    );
    send_over(&mut stream, &[head.as_bytes(), body].concat()).await
}

/// Sends bytes as they are, and reads until the server has no more to say.
pub(crate) async fn send(address: SocketAddr, bytes: &[u8]) -> Answer {
    send_over(&mut TcpStream::connect(address).await.unwrap(), bytes).await
}

async fn send_over<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Answer {
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or_else(|| panic!("no answer: {text:?}")),
        text,
    }
}

/// A connection of gRPC.
#[derive(Clone)]
pub(crate) struct Connection(http2::SendRequest<Body>);

pub(crate) async fn connect(address: SocketAddr) -> Connection {
    connect_over(TcpStream::connect(address).await.unwrap()).await
}

pub(crate) async fn connect_over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S) -> Connection {
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    Connection(sender)
}

impl tower::Service<Request<Body>> for Connection {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// What the requests here need of `inference.ModelInferRequest` and its neighbours: a model and no tensors.
#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Anything {}

/// What is told here of `inference.ModelStreamInferResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Streamed {
    #[prost(string, tag = "1")]
    pub(crate) error_message: String,
}

/// A stream of requests to draw, and of their answers.
pub(crate) struct Stream {
    requests: UnboundedSender<Named>,
    answers: Streaming<Streamed>,
}

impl Stream {
    /// Opens it, and draws once.
    pub(crate) async fn open(connection: Connection, key: Option<&str>) -> Result<Self, Status> {
        let (requests, coming) = mpsc::unbounded_channel();
        let coming = stream::unfold(coming, async |mut coming| Some((coming.recv().await?, coming)));
        requests
            .send(Named {
                name: "tiny-pixelcnn:sample".to_owned(),
            })
            .unwrap();
        let mut client = Grpc::with_origin(connection, "http://localhost".parse().unwrap());
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/inference.GRPCInferenceService/ModelStreamInfer");
        let codec = ProstCodec::<Named, Streamed>::default();
        let answers = client.streaming(with_key(coming, key), path, codec).await?.into_inner();
        let mut own = Self { requests, answers };
        own.answer().await?;
        Ok(own)
    }

    /// Draws once more.
    pub(crate) async fn draw(&mut self) -> Result<(), Status> {
        // Where the stream has ended, its end is the answer.
        let _ = self.requests.send(Named {
            name: "tiny-pixelcnn:sample".to_owned(),
        });
        self.answer().await
    }

    /// What comes next.
    pub(crate) async fn answer(&mut self) -> Result<(), Status> {
        let answer = self.answers.message().await?;
        assert_eq!(answer.expect("an answer or a status").error_message, "");
        Ok(())
    }
}

fn with_key<T>(message: T, key: Option<&str>) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    if let Some(key) = key {
        let bearer = format!("Bearer {key}").parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
    }
    request
}

pub(crate) async fn health(connection: Connection) -> Result<(), Status> {
    let mut client = HealthClient::with_origin(connection, "http://localhost".parse().unwrap());
    client.check(HealthCheckRequest::default()).await.map(drop)
}

pub(crate) async fn metadata(connection: Connection, key: Option<&str>) -> Result<(), Status> {
    call(connection, "ModelMetadata", "tiny-pixelcnn", key).await
}

pub(crate) async fn infer(connection: Connection, model: &str, key: &str) -> Result<(), Status> {
    call(connection, "ModelInfer", model, Some(key)).await
}

async fn call(connection: Connection, method: &str, model: &str, key: Option<&str>) -> Result<(), Status> {
    let mut client = Grpc::with_origin(connection, "http://localhost".parse().unwrap());
    client.ready().await.unwrap();
    let request = with_key(Named { name: model.to_owned() }, key);
    let path = format!("/inference.GRPCInferenceService/{method}");
    let codec = ProstCodec::<Named, Anything>::default();
    client
        .unary(request, PathAndQuery::try_from(path).unwrap(), codec)
        .await
        .map(drop)
}
