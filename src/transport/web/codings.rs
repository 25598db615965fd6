//! Layers that pack answers: who does not want that passes them by, for they cost short work more than they look.

use std::{
    convert::Infallible,
    task::{Context, Poll},
};

use axum::{
    extract::Request,
    http::{Method, header},
    response::{IntoResponse, Response},
};
use futures_util::future::Either;
use tower::{Layer, Service, ServiceExt};

use crate::transport::middleware::Boxed;

/// Has only those requests go through layers that may concern them.
#[derive(Debug, Clone)]
pub(crate) struct Codings<L>(pub(crate) L);

/// A service with a way through layers beside the one to it.
#[derive(Debug, Clone)]
pub(crate) struct Coded<L, S> {
    layers: L,
    inner: S,
}

impl<L: Clone, S> Layer<S> for Codings<L> {
    type Service = Coded<L, S>;

    fn layer(&self, inner: S) -> Self::Service {
        let layers = self.0.clone();
        Coded { layers, inner }
    }
}

impl<L, S> Service<Request> for Coded<L, S>
where
    L: Layer<S>,
    L::Service: Service<Request, Error = Infallible> + Send + 'static,
    <L::Service as Service<Request>>::Response: IntoResponse,
    <L::Service as Service<Request>>::Future: Send,
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, Boxed<Result<Response, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if !may_be_coded(&request) {
            return Either::Left(self.inner.call(request));
        }
        let through = self.layers.layer(self.inner.clone()).oneshot(request);
        Either::Right(Box::pin(async {
            let Ok(response) = through.await;
            Ok(response.into_response())
        }))
    }
}

/// Whether the answer may be packed, or must say that it might have been: caches keep answers to all but POST, and need
/// to know.
fn may_be_coded(request: &Request) -> bool {
    *request.method() != Method::POST || request.headers().contains_key(header::ACCEPT_ENCODING)
}
