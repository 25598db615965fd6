//! The ways in: each decodes a request, has one operation do it, and encodes the answer.
//!
//! Architecture invariant: no default, no limit and no policy lives here, and no family or operation is known by name.

mod access;
pub mod grpc;
pub mod http;
mod middleware;
pub mod openinference;
mod rpc;
pub mod tls;
pub mod web;

pub use self::access::Door;
