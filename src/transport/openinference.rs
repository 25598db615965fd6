//! The Open Inference Protocol, version 2: models as named tensors in and named tensors out.
//!
//! Every operation of a model is one model of the protocol: `name:operation`, or `name` with the request parameter
//! `operation`; `name` alone is the first operation that the model can do. What it takes and answers is read off the
//! operation's declaration, so that nothing here knows an operation by name. Requests go through the [`Service`] like
//! those of every transport: same options, limits, deadlines, refusals.
//!
//! Here is what the ways of speaking the protocol share; [`rest`] speaks JSON and bytes over HTTP.

mod control;
mod counters;
mod data;
mod documents;
mod early_refusal;
mod grpc;
mod inputs;
mod request;
pub mod rest;
mod signature;
mod target;
mod typed;

use std::sync::Arc;

use tonic::Status;

use crate::{model::Refusal, operations::Service, transport::rpc::status};

use self::counters::Counters;

/// A service as the protocol sees it.
#[derive(Debug)]
pub struct OpenInference {
    service: Arc<Service>,
    counters: Arc<Counters>,
}

impl OpenInference {
    /// A service, nothing of which has been asked yet.
    pub fn new(service: Arc<Service>) -> Self {
        Self {
            service,
            counters: Arc::default(),
        }
    }
}

/// A refusal in words. It names the image that was wrong, where there were several.
fn message(refusal: &Refusal) -> String {
    match refusal.image_index() {
        Some(index) => format!("image {index}: {refusal}"),
        None => refusal.to_string(),
    }
}

/// A refusal as gRPC has it.
fn refused(refusal: Refusal) -> Status {
    status::status(&refusal, message(&refusal))
}
