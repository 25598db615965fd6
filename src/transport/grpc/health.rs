//! `grpc.health.v1`: whether the server takes new work.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{Health, HealthServer},
};

use crate::operations::Service;

/// How often a watcher's state is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// The health of a server.
#[derive(Debug)]
pub(super) struct Readiness {
    service: Arc<Service>,
    names: &'static [&'static str],
}

/// The health of the services of those names, and of the server as a whole.
pub(super) fn service(service: &Arc<Service>, names: &'static [&'static str]) -> HealthServer<Readiness> {
    HealthServer::new(Readiness {
        service: Arc::clone(service),
        names,
    })
}

fn status(service: &Service) -> ServingStatus {
    if service.is_ready() {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

impl Readiness {
    fn knows(&self, name: &str) -> bool {
        name.is_empty() || self.names.contains(&name)
    }
}

#[tonic::async_trait]
impl Health for Readiness {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !self.knows(&request.get_ref().service) {
            return Err(Status::not_found("there is no such service"));
        }
        Ok(Response::new(answer(status(&self.service))))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// The state now and after every change, until the server has begun to shut down.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let service = Arc::clone(&self.service);
        if !self.knows(&request.get_ref().service) {
            let unknown = Ok(answer(ServingStatus::ServiceUnknown));
            return Ok(Response::new(Box::pin(stream::iter([unknown]))));
        }
        let states = stream::unfold(None, move |last| {
            let service = Arc::clone(&service);
            async move {
                loop {
                    let now = status(&service);
                    if last != Some(now) {
                        return Some((Ok(answer(now)), Some(now)));
                    }
                    // A watcher must not hold up the end.
                    if service.is_draining() {
                        return None;
                    }
                    tokio::time::sleep(INTERVAL).await;
                }
            }
        });
        Ok(Response::new(Box::pin(states)))
    }
}
