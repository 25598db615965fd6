//! What every service over gRPC shares: the messages of the contracts and how they come and go, statuses, deadlines.

use std::time::Duration;

use tonic::metadata::MetadataMap;

use crate::operations::Service;

pub(crate) mod codec;
pub(super) mod request_body;
pub(super) mod response_body;
pub(super) mod status;

/// What is generated from `proto/density_v1.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
pub(super) mod density {
    tonic::include_proto!("density.v1");
}

/// What is generated from `proto/inference.proto`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
pub(super) mod inference {
    tonic::include_proto!("inference");
}

/// The time that a client grants a call, in the header `grpc-timeout`: digits and a unit. One that cannot be read
/// grants all there is.
pub(super) fn timeout(metadata: &MetadataMap, service: &Service) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    let timeout = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    // A client may have more patience than the server grants.
    Some(timeout.min(service.limits().max_request_timeout))
}
