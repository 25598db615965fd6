//! Every metric of the server, declared once and injected.
//!
//! Cardinality is bounded: models and operations are the loaded ones, and what is told of a model goes when the model
//! goes; routes are the router's own patterns. A name that a client made up never becomes a label.

mod of_models;

use prometheus::{
    Encoder, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder, exponential_buckets, linear_buckets,
};

pub use self::of_models::{DriftMetrics, OperationMetrics};

/// The metrics of one server.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// HTTP requests by method, route and status.
    pub http_requests: IntCounterVec,
    /// gRPC calls by status.
    pub grpc_requests: IntCounterVec,
    /// Time from the request's head to the answer's head, by method and route.
    pub http_request_seconds: HistogramVec,
    /// HTTP requests that are being answered now.
    pub http_in_flight: IntGauge,
    /// Connections that are open now.
    pub http_connections: IntGauge,
    /// Requests refused before any work, by reason.
    pub rejections: IntCounterVec,
    /// Time that an item spent waiting for a worker, by model and operation.
    pub queue_wait_seconds: HistogramVec,
    /// Items that wait now, by class of work.
    pub queue_depth: IntGaugeVec,
    /// Rows in one run of a graph, by model and operation.
    pub batch_size: HistogramVec,
    /// Duration of one run of a graph, by model and operation.
    pub inference_seconds: HistogramVec,
    /// Runs that failed, by model and operation.
    pub inference_failures: IntCounterVec,
    /// Items whose client had gone, or whose deadline could not be kept, before they cost anything, by model and
    /// operation.
    pub abandoned: IntCounterVec,
    /// Images answered, by model and operation.
    pub images: IntCounterVec,
    /// Bits per dimension of scored images, by model.
    pub bits_per_dim: HistogramVec,
    /// Conformal p-values of judged images, by model.
    pub p_value: HistogramVec,
    /// Images judged, by model and decision.
    pub decisions: IntCounterVec,
    /// Images that a detector in shadow judged, too, by model and by how the two decided; or that it had no room for.
    pub shadow_images: IntCounterVec,
    /// Full passes that went into drawing by fixed-point iteration, by model.
    pub sampling_passes: IntCounterVec,
    /// 1 for each model version that is ready, 0 for each that failed its load gate.
    pub model_ready: IntGaugeVec,
    /// Worker panics that were caught.
    pub worker_panics: IntCounter,
    /// Worker threads.
    pub workers: Gauge,
    /// Logarithm of the capital of the bets against exchangeability, by detector.
    pub drift_log_capital: GaugeVec,
    /// Drift alarms, by detector.
    pub drift_alarms: IntCounterVec,
    /// Whether a run survives a restart, by detector.
    pub drift_kept: IntGaugeVec,
    /// 1, with what is running as labels.
    pub build_info: IntGaugeVec,
    /// When the server's certificate expires, in seconds since 1970, if it has one.
    pub tls_expiry: IntGaugeVec,
    /// Whether files of keys or certificates hold what cannot be used, by what they are.
    pub secrets_failing: IntGaugeVec,
    /// Handshakes of TLS that failed, by reason.
    pub tls_failures: IntCounterVec,
    /// What the server does without though it is ready.
    pub weaknesses: IntGauge,
}

impl Metrics {
    /// A fresh registry with everything declared, and the process's own metrics where the system offers them.
    ///
    /// # Panics
    /// If two metrics share a name, which a test excludes.
    #[allow(clippy::unwrap_used)]
    pub fn new() -> Self {
        let registry = Registry::new();
        let seconds = || exponential_buckets(0.000_5, 2.0, 18).unwrap();
        let model_operation = &["model", "operation"][..];
        let metrics = Self {
            http_requests: counters(
                "density_http_requests_total",
                "HTTP requests by method, route and status.",
                &["method", "route", "status"],
            ),
            grpc_requests: counters("density_grpc_requests_total", "gRPC calls by status.", &["status"]),
            http_request_seconds: histograms(
                "density_http_request_duration_seconds",
                "Time from the head of an HTTP request to the head of its answer.",
                &["method", "route"],
                seconds(),
            ),
            http_in_flight: gauge("density_http_requests_in_flight", "HTTP requests being answered now."),
            http_connections: gauge("density_http_connections", "HTTP connections open now."),
            rejections: counters(
                "density_rejected_requests_total",
                "Requests refused before any work, by reason.",
                &["reason"],
            ),
            queue_wait_seconds: histograms(
                "density_queue_wait_seconds",
                "Time that one item waited for a worker.",
                model_operation,
                seconds(),
            ),
            queue_depth: gauges(
                "density_queue_items",
                "Items waiting now, by class of work.",
                &["class"],
            ),
            batch_size: histograms(
                "density_batch_size_rows",
                "Rows in one run of a graph.",
                model_operation,
                exponential_buckets(1.0, 2.0, 10).unwrap(),
            ),
            inference_seconds: histograms(
                "density_inference_duration_seconds",
                "Duration of one run of a graph.",
                model_operation,
                seconds(),
            ),
            inference_failures: counters(
                "density_inference_failures_total",
                "Batches that ended in an error or a panic.",
                model_operation,
            ),
            abandoned: counters(
                "density_abandoned_items_total",
                "Items dropped because their client had gone or their deadline could not be kept.",
                model_operation,
            ),
            images: counters("density_images_total", "Images answered.", model_operation),
            bits_per_dim: histograms(
                "density_bits_per_dim",
                "Bits per dimension of scored and judged images.",
                &["model"],
                linear_buckets(0.25, 0.25, 40).unwrap(),
            ),
            p_value: histograms(
                "density_p_value",
                "Conformal p-values of judged images; uniform for inliers.",
                &["model"],
                vec![
                    0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0,
                ],
            ),
            decisions: counters(
                "density_decisions_total",
                "Images judged, by decision.",
                &["model", "decision"],
            ),
            shadow_images: counters(
                "density_shadow_images_total",
                "Images that a second version judged in the shadow of another, by what the two decided.",
                &["model", "outcome"],
            ),
            sampling_passes: counters(
                "density_sampling_passes_total",
                "Full passes through models whose images are drawn by fixed-point iteration.",
                &["model"],
            ),
            model_ready: gauges(
                "density_model_ready",
                "1 for a model version that serves, 0 for one that its load gate refused.",
                &["model", "version"],
            ),
            worker_panics: IntCounter::with_opts(Opts::new("density_worker_panics_total", "Panics caught in workers."))
                .unwrap(),
            workers: Gauge::with_opts(Opts::new("density_workers", "Worker threads.")).unwrap(),
            drift_log_capital: GaugeVec::new(
                Opts::new(
                    "density_drift_log_capital",
                    "Natural logarithm of the capital that bets on drift have made, 0 at the start of a run.",
                ),
                &["model"],
            )
            .unwrap(),
            drift_alarms: counters(
                "density_drift_alarms_total",
                "Runs whose capital has reached 100, which at most 1 % do where nothing drifts.",
                &["model"],
            ),
            drift_kept: gauges(
                "density_drift_kept",
                "1 where the record of drift survives a restart, 0 where it waits in memory for its file.",
                &["model"],
            ),
            build_info: gauges(
                "density_build_info",
                "1, with the version of the server and what it was built for as labels.",
                &["version", "os", "architecture"],
            ),
            tls_expiry: gauges(
                "density_tls_certificate_expiry_timestamp_seconds",
                "When the server's certificate, or one of those that it came with, expires.",
                &[],
            ),
            secrets_failing: gauges(
                "density_secrets_failing",
                "1 where the files of keys or certificates hold what cannot be used, so that the old ones stay in use.",
                &["what"],
            ),
            tls_failures: counters(
                "density_tls_failures_total",
                "Handshakes of TLS that failed, by reason.",
                &["reason"],
            ),
            weaknesses: IntGauge::new(
                "density_weaknesses",
                "Versions that were refused and faults of ready ones; /readyz names them.",
            )
            .unwrap(),
            registry: registry.clone(),
        };
        let build = [env!("CARGO_PKG_VERSION"), std::env::consts::OS, std::env::consts::ARCH];
        metrics.build_info.with_label_values(&build).set(1);
        let collectors: Vec<Box<dyn prometheus::core::Collector>> = vec![
            Box::new(metrics.http_requests.clone()),
            Box::new(metrics.grpc_requests.clone()),
            Box::new(metrics.http_request_seconds.clone()),
            Box::new(metrics.http_in_flight.clone()),
            Box::new(metrics.http_connections.clone()),
            Box::new(metrics.rejections.clone()),
            Box::new(metrics.queue_wait_seconds.clone()),
            Box::new(metrics.queue_depth.clone()),
            Box::new(metrics.batch_size.clone()),
            Box::new(metrics.inference_seconds.clone()),
            Box::new(metrics.inference_failures.clone()),
            Box::new(metrics.abandoned.clone()),
            Box::new(metrics.images.clone()),
            Box::new(metrics.bits_per_dim.clone()),
            Box::new(metrics.p_value.clone()),
            Box::new(metrics.decisions.clone()),
            Box::new(metrics.shadow_images.clone()),
            Box::new(metrics.sampling_passes.clone()),
            Box::new(metrics.model_ready.clone()),
            Box::new(metrics.worker_panics.clone()),
            Box::new(metrics.workers.clone()),
            Box::new(metrics.drift_log_capital.clone()),
            Box::new(metrics.drift_alarms.clone()),
            Box::new(metrics.drift_kept.clone()),
            Box::new(metrics.build_info.clone()),
            Box::new(metrics.tls_expiry.clone()),
            Box::new(metrics.secrets_failing.clone()),
            Box::new(metrics.tls_failures.clone()),
            Box::new(metrics.weaknesses.clone()),
        ];
        for collector in collectors {
            registry.register(collector).unwrap();
        }
        #[cfg(target_os = "linux")]
        {
            let process = prometheus::process_collector::ProcessCollector::for_self();
            registry.register(Box::new(process)).unwrap();
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

#[allow(clippy::unwrap_used)]
fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).unwrap()
}

#[allow(clippy::unwrap_used)]
fn gauges(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    IntGaugeVec::new(Opts::new(name, help), labels).unwrap()
}

#[allow(clippy::unwrap_used)]
fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::with_opts(Opts::new(name, help)).unwrap()
}

#[allow(clippy::unwrap_used)]
fn histograms(name: &str, help: &str, labels: &[&str], buckets: Vec<f64>) -> HistogramVec {
    HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets), labels).unwrap()
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
