//! The way to the collector: OTLP over gRPC, in batches, by a thread of its own. What does not get there is dropped: a
//! collector that is down or slow is never waited for, and what waits for it has a bound.

use std::{
    env,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter as OtlpExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, SdkTracerProvider, SpanData, SpanExporter},
};

use super::TRACER;

/// Time that the last spans have to get there, at the end.
const LAST_CALL: Duration = Duration::from_secs(3);

/// Why nothing is collected.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No such collector.
    #[error("traces cannot be sent to {endpoint}: {cause}")]
    Endpoint {
        /// As it was given.
        endpoint: String,
        /// What is wrong with it.
        cause: String,
    },
    /// There is one already.
    #[error("traces of this process go elsewhere already")]
    Started,
}

/// Spans on their way.
#[derive(Debug)]
pub struct Export(SdkTracerProvider);

/// From now on requests are traced, for the collector at `endpoint`. The variables of OpenTelemetry (`OTEL_…`) say how
/// often, how much at once, and by which name. Must be called within the asynchronous runtime, which holds the
/// connection.
pub fn start(endpoint: &str) -> Result<Export, ExportError> {
    let exporter = OtlpExporter::builder().with_tonic().with_endpoint(endpoint).build();
    let exporter = exporter.map_err(|error| ExportError::Endpoint {
        endpoint: endpoint.to_owned(),
        cause: error.to_string(),
    })?;
    let processor = BatchSpanProcessor::builder(Told {
        exporter,
        endpoint: endpoint.to_owned(),
        failing: AtomicBool::new(false),
    });
    let provider = SdkTracerProvider::builder()
        .with_resource(resource())
        .with_span_processor(processor.build())
        .build();
    let tracer = provider.tracer(env!("CARGO_PKG_NAME"));
    TRACER.set(tracer).map_err(|_| ExportError::Started)?;
    Ok(Export(provider))
}

impl Export {
    /// Sends what is left, within a time. Blocks.
    pub fn stop(self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_CALL) {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Who sends the spans: this server, unless the environment gives it another name.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let given = |name: &str, has: fn(&str) -> bool| env::var(name).is_ok_and(|value| has(&value));
    let is_named = given("OTEL_SERVICE_NAME", |name| !name.is_empty())
        || given("OTEL_RESOURCE_ATTRIBUTES", |all| all.contains("service.name="));
    let resource = Resource::builder().with_attribute(version);
    if is_named {
        resource.build()
    } else {
        resource.with_service_name(env!("CARGO_PKG_NAME")).build()
    }
}

/// What would be right, as far as an error tells. The exporter hands over no more than its text.
fn cure(error: &str) -> &'static str {
    let is = |code: &str| error.contains(&format!("gRPC code: {code}"));
    if is("Unauthenticated") || is("PermissionDenied") {
        "; the collector wants to know who sends them: OTEL_EXPORTER_OTLP_HEADERS says it"
    } else if is("Unimplemented") {
        "; what answers there takes no traces: does the collector have a receiver of OTLP with traces?"
    } else if ["connection error", "http2 error", "connection closed"]
        .iter()
        .any(|text| error.contains(text))
    {
        // Which of them it is depends on whether the connection is closed before, while or after it is spoken to.
        "; what answers there is no OTLP over gRPC without TLS, for which 4317 is the usual port (4318 is for HTTP)"
    } else if error.contains("Timeout expired") {
        "; the collector does not answer within OTEL_EXPORTER_OTLP_TIMEOUT"
    } else {
        ""
    }
}

/// Tells the log when spans no longer get there, and when they do again: once each, however many are lost.
#[derive(Debug)]
struct Told<E> {
    exporter: E,
    endpoint: String,
    failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(batch).await;
        let (was_failing, endpoint) = (self.failing.swap(sent.is_err(), Ordering::Relaxed), &self.endpoint);
        match &sent {
            Err(error) if !was_failing => {
                let cure = cure(&error.to_string());
                tracing::warn!(endpoint, %error, "traces are lost: they cannot be sent{cure}");
            }
            Ok(()) if was_failing => tracing::info!(endpoint, "traces are sent again"),
            _ => {}
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whenever_a_connection_is_closed_the_cure_is_the_same() {
        for error in [
            "gRPC code: Unknown: transport error: connection error: peer closed",
            "gRPC code: Internal: h2 protocol error: http2 error",
            "gRPC code: Cancelled: transport error: operation was canceled: connection closed",
        ] {
            assert!(cure(error).contains("without TLS"), "{error}");
        }
        assert_eq!(cure("gRPC code: Cancelled: by the collector"), "");
    }
}
