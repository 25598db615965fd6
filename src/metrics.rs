//! Every metric of the server, declared once and injected.
//!
//! Cardinality is bounded: models and operations are the loaded ones, and what is told of a model goes when the model
//! goes; routes are the router's own patterns. A name that a client made up never becomes a label.

mod of_models;

use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
    core::{Atomic, GenericGauge, GenericGaugeVec},
    exponential_buckets, linear_buckets,
};

pub use self::of_models::{DriftMetrics, OperationMetrics};

/// Declares the metrics of a server: what stands above one is its help, and then come its name, its labels and its
/// buckets.
macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $field:ident: $kind:ty = $make:ident($name:literal $(, $more:expr)*);)+) => {
        /// The metrics of one server.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(#[doc = $help])+ pub $field: $kind,)+
        }

        impl Metrics {
            /// All of them, in a registry of their own.
            fn declared() -> prometheus::Result<Self> {
                let registry = Registry::new();
                $(
                    let $field: $kind = $make($name, concat!($($help),+).trim() $(, $more)*)?;
                    registry.register(Box::new($field.clone()))?;
                )+
                Ok(Self { registry, $($field),+ })
            }
        }
    };
}

metrics! {
    /// HTTP requests by method, route and status.
    http_requests: IntCounterVec = counters("density_http_requests_total", &["method", "route", "status"]);
    /// gRPC calls by status.
    grpc_requests: IntCounterVec = counters("density_grpc_requests_total", &["status"]);
    /// Time from the head of an HTTP request to the head of its answer.
    http_request_seconds: HistogramVec =
        histograms("density_http_request_duration_seconds", &["method", "route"], seconds()?);
    /// HTTP requests being answered now.
    http_in_flight: IntGauge = gauge("density_http_requests_in_flight");
    /// HTTP connections open now.
    http_connections: IntGauge = gauge("density_http_connections");
    /// Requests refused before any work, by reason.
    rejections: IntCounterVec = counters("density_rejected_requests_total", &["reason"]);
    /// Time that one item waited for a worker.
    queue_wait_seconds: HistogramVec =
        histograms("density_queue_wait_seconds", &["model", "operation"], seconds()?);
    /// Items waiting now, by class of work.
    queue_depth: IntGaugeVec = gauges("density_queue_items", &["class"]);
    /// Rows in one run of a graph.
    batch_size: HistogramVec =
        histograms("density_batch_size_rows", &["model", "operation"], exponential_buckets(1.0, 2.0, 10)?);
    /// Duration of one run of a graph.
    inference_seconds: HistogramVec =
        histograms("density_inference_duration_seconds", &["model", "operation"], seconds()?);
    /// Batches that ended in an error or a panic.
    inference_failures: IntCounterVec = counters("density_inference_failures_total", &["model", "operation"]);
    /// Items dropped because their client had gone or their deadline could not be kept.
    abandoned: IntCounterVec = counters("density_abandoned_items_total", &["model", "operation"]);
    /// Images answered.
    images: IntCounterVec = counters("density_images_total", &["model", "operation"]);
    /// Bits per dimension of scored and judged images.
    bits_per_dim: HistogramVec =
        histograms("density_bits_per_dim", &["model"], linear_buckets(0.25, 0.25, 40)?);
    /// Conformal p-values of judged images; uniform for inliers.
    p_value: HistogramVec = histograms("density_p_value", &["model"], P_VALUES.to_vec());
    /// Images judged, by decision.
    decisions: IntCounterVec = counters("density_decisions_total", &["model", "decision"]);
    /// Images that a second version judged in the shadow of another, by what the two decided.
    shadow_images: IntCounterVec = counters("density_shadow_images_total", &["model", "outcome"]);
    /// Full passes through models whose images are drawn by fixed-point iteration.
    sampling_passes: IntCounterVec = counters("density_sampling_passes_total", &["model"]);
    /// 1 for a model version that serves, 0 for one that its load gate refused.
    model_ready: IntGaugeVec = gauges("density_model_ready", &["model", "version"]);
    /// Panics caught in workers.
    worker_panics: IntCounter = counter("density_worker_panics_total");
    /// Worker threads.
    workers: Gauge = gauge("density_workers");
    /// Natural logarithm of the capital that bets on drift have made, 0 at the start of a run.
    drift_log_capital: GaugeVec = gauges("density_drift_log_capital", &["model"]);
    /// Runs whose capital has reached 100, which at most 1 % do where nothing drifts.
    drift_alarms: IntCounterVec = counters("density_drift_alarms_total", &["model"]);
    /// 1 where the record of drift survives a restart, 0 where it waits in memory for its file.
    drift_kept: IntGaugeVec = gauges("density_drift_kept", &["model"]);
    /// 1, with the version of the server and what it was built for as labels.
    build_info: IntGaugeVec = gauges("density_build_info", &["version", "os", "architecture"]);
    /// When the server's certificate, or one of those that it came with, expires.
    tls_expiry: IntGaugeVec = gauges("density_tls_certificate_expiry_timestamp_seconds", &[]);
    /// 1 where the files of keys or certificates hold what cannot be used, so that the old ones stay in use.
    secrets_failing: IntGaugeVec = gauges("density_secrets_failing", &["what"]);
    /// Handshakes of TLS that failed, by reason.
    tls_failures: IntCounterVec = counters("density_tls_failures_total", &["reason"]);
    /// Versions that were refused and faults of ready ones; /readyz names them.
    weaknesses: IntGauge = gauge("density_weaknesses");
}

/// Bounds of p-values.
const P_VALUES: [f64; 16] = [
    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0,
];

/// Bounds of times.
fn seconds() -> prometheus::Result<Vec<f64>> {
    exponential_buckets(0.000_5, 2.0, 18)
}

impl Metrics {
    /// A fresh registry with everything declared, and the process's own metrics where the system offers them.
    ///
    /// # Panics
    /// If two metrics share a name, which a test excludes.
    #[allow(clippy::unwrap_used)]
    pub fn new() -> Self {
        let metrics = Self::declared().unwrap();
        let build = [env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH];
        metrics.build_info.with_label_values(&build).set(1);
        #[cfg(target_os = "linux")]
        {
            let process = prometheus::process_collector::ProcessCollector::for_self();
            metrics.registry.register(Box::new(process)).unwrap();
        }
        metrics
    }

    /// The text exposition format.
    pub fn encode(&self) -> String {
        let mut text = Vec::new();
        // Encoding into memory fails only on an inconsistent family, which the declarations above exclude.
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics could not be encoded");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Counts images by what the version that serves and its shadow made of them. Both words are of the server.
    pub fn shadowed(&self, model: &str, outcome: &'static str, images: usize) {
        let counter = self.shadow_images.with_label_values(&[model, outcome]);
        counter.inc_by(images as u64);
    }

    /// Counts a request refused before any work. `reason` is a constant of the code, never text from a client.
    pub fn reject(&self, reason: &'static str) {
        self.rejections.with_label_values(&[reason]).inc();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn counter(name: &str, help: &str) -> prometheus::Result<IntCounter> {
    IntCounter::new(name, help)
}

fn counters(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn gauge<P: Atomic>(name: &str, help: &str) -> prometheus::Result<GenericGauge<P>> {
    GenericGauge::new(name, help)
}

fn gauges<P: Atomic>(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<GenericGaugeVec<P>> {
    GenericGaugeVec::new(Opts::new(name, help), labels)
}

fn histograms(name: &str, help: &str, labels: &[&str], buckets: Vec<f64>) -> prometheus::Result<HistogramVec> {
    HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn names_are_unique_and_exposed_with_base_units() {
        let metrics = Metrics::new();
        metrics.reject("overloaded");
        let operation = OperationMetrics::new(&metrics, "m", "score");
        operation.ran(3, Duration::from_millis(2));
        let text = metrics.encode();
        assert!(text.contains("\ndensity_build_info{"), "{text}");
        assert!(text.contains("density_rejected_requests_total{reason=\"overloaded\"} 1"));
        assert!(text.contains("density_batch_size_rows_sum{model=\"m\",operation=\"score\"} 3"));
    }
}
