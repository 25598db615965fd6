//! Refusals as gRPC has them: a status, words, and when to come back.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Status, metadata::MetadataMap};

use crate::model::{Kind, Refusal};

/// The one table from kinds of refusal to statuses of gRPC.
pub(crate) fn code_of(kind: Kind) -> Code {
    match kind {
        Kind::NotFound | Kind::UnknownRoute => Code::NotFound,
        Kind::NotReady | Kind::ShuttingDown => Code::Unavailable,
        Kind::Unsupported | Kind::Disabled => Code::Unimplemented,
        Kind::Overloaded | Kind::QuotaExceeded => Code::ResourceExhausted,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::DeadlineExceeded | Kind::BodyTimeout => Code::DeadlineExceeded,
        Kind::Internal => Code::Internal,
        Kind::Conflict => Code::FailedPrecondition,
        Kind::InvalidOption
        | Kind::InvalidImage
        | Kind::InvalidStream
        | Kind::TooLarge
        | Kind::MethodNotAllowed
        | Kind::NotAcceptable
        | Kind::BodyTooLarge
        | Kind::TooManyImages
        | Kind::Malformed
        | Kind::UnsupportedMediaType => Code::InvalidArgument,
    }
}

/// The name of a status.
pub(crate) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, prost::Message)]
struct RichStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

/// The status of a refusal. One that says when to come back says it as a detail, and in the metadata that client
/// libraries obey.
pub(crate) fn status(refusal: &Refusal, message: String) -> Status {
    if let Some(cause) = refusal.cause() {
        tracing::error!(cause, "the call failed");
    }
    let code = code_of(refusal.kind());
    let Some(seconds) = refusal.retry_after_seconds() else {
        return Status::new(code, message);
    };
    let delay = Duration::from_secs(seconds);
    let info = RetryInfo {
        retry_delay: prost_types::Duration::try_from(delay).ok(),
    };
    let details = RichStatus {
        code: code.into(),
        message: message.clone(),
        details: vec![prost_types::Any {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: info.encode_to_vec(),
        }],
    };
    let mut metadata = MetadataMap::new();
    metadata.insert("grpc-retry-pushback-ms", (seconds.saturating_mul(1000)).into());
    metadata.insert("retry-after", seconds.into());
    Status::with_details_and_metadata(code, message, Bytes::from(details.encode_to_vec()), metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What clients rely on: a change here is a change of the interface.
    #[test]
    fn clients_retry_what_will_pass_and_nothing_else() {
        let retried = |code| matches!(code, Code::Unavailable | Code::ResourceExhausted);
        let kinds = Kind::ALL.into_iter().filter(|&kind| retried(code_of(kind)));
        let expected = [
            Kind::NotReady,
            Kind::Overloaded,
            Kind::QuotaExceeded,
            Kind::ShuttingDown,
        ];
        assert_eq!(kinds.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn overload_says_when_to_come_back() {
        let refusal = Refusal::overloaded(Duration::from_millis(1001));
        let status = status(&refusal, refusal.to_string());
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "2000");
        let rich = RichStatus::decode(status.details()).unwrap();
        let info = RetryInfo::decode(&rich.details[0].value[..]).unwrap();
        assert_eq!(info.retry_delay.unwrap().seconds, 2);
    }
}
