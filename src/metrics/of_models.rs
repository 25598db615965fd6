//! Metrics that have a model for a label: handles of those that are counted often, and the end of what is told of
//! models that are gone. Which models there are, this does not know.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::Duration,
};

use prometheus::{
    Gauge, Histogram, HistogramVec, IntCounter, IntGauge,
    core::{Collector, MetricVec, MetricVecBuilder},
};

use super::Metrics;

/// The label that names a model.
const MODEL: &str = "model";

impl Metrics {
    /// Forgets what was told of models that are not among these. Under repositories in which names come and go it would
    /// be told for ever.
    pub fn retain_models(&self, is_there: impl Fn(&str) -> bool) {
        for histograms in [
            &self.queue_wait_seconds,
            &self.batch_size,
            &self.inference_seconds,
            &self.bits_per_dim,
            &self.p_value,
        ] {
            retain(histograms, &is_there);
        }
        for counters in [
            &self.inference_failures,
            &self.abandoned,
            &self.images,
            &self.decisions,
            &self.shadow_images,
            &self.sampling_passes,
            &self.drift_alarms,
        ] {
            retain(counters, &is_there);
        }
        retain(&self.model_ready, &is_there);
        retain(&self.drift_kept, &is_there);
        retain(&self.drift_log_capital, &is_there);
    }
}

fn retain<T: MetricVecBuilder>(all: &MetricVec<T>, is_there: impl Fn(&str) -> bool) {
    for family in all.collect() {
        for one in family.get_metric() {
            let labels = one.get_label().iter().map(|label| (label.name(), label.value()));
            let labels: HashMap<&str, &str> = labels.collect();
            if labels.get(MODEL).is_some_and(|model| !is_there(model)) {
                // What somebody else has removed meanwhile is removed.
                let _ = all.remove(&labels);
            }
        }
    }
}

/// The metrics of one operation of one model, looked up once instead of at every batch.
#[derive(Debug, Clone)]
pub struct OperationMetrics {
    /// Batches that failed. Told from the start, since an alert is about its growth.
    pub failures: IntCounter,
    /// Items dropped unserved.
    pub abandoned: IntCounter,
    /// Panics, over all operations.
    pub panics: IntCounter,
    runs: Arc<Runs>,
}

/// What runs took, of which nothing is told before there was one: it is more than fifty lines, and of hundreds of
/// models few are asked.
#[derive(Debug)]
struct Runs {
    model: String,
    operation: String,
    queue_wait_seconds: Late,
    batch_size: Late,
    inference_seconds: Late,
}

/// A histogram that is made when it is first needed.
#[derive(Debug)]
struct Late {
    all: HistogramVec,
    own: OnceLock<Histogram>,
}

impl Late {
    fn of(all: &HistogramVec) -> Self {
        Self {
            all: all.clone(),
            own: OnceLock::new(),
        }
    }

    fn observe(&self, labels: [&str; 2], value: f64) {
        let own = self.own.get_or_init(|| self.all.with_label_values(&labels));
        own.observe(value);
    }
}

impl OperationMetrics {
    /// The metrics of `operation` on `model`, both of which must be names of loaded things.
    pub fn new(metrics: &Metrics, model: &str, operation: &str) -> Self {
        let labels = &[model, operation];
        Self {
            failures: metrics.inference_failures.with_label_values(labels),
            abandoned: metrics.abandoned.with_label_values(labels),
            panics: metrics.worker_panics.clone(),
            runs: Arc::new(Runs {
                model: model.to_owned(),
                operation: operation.to_owned(),
                queue_wait_seconds: Late::of(&metrics.queue_wait_seconds),
                batch_size: Late::of(&metrics.batch_size),
                inference_seconds: Late::of(&metrics.inference_seconds),
            }),
        }
    }

    /// The model and the operation that they are about.
    pub fn names(&self) -> (&str, &str) {
        (&self.runs.model, &self.runs.operation)
    }

    /// One item left the queue.
    pub fn waited(&self, wait: Duration) {
        self.runs
            .queue_wait_seconds
            .observe(self.names().into(), wait.as_secs_f64());
    }

    /// One batch ran.
    pub fn ran(&self, rows: usize, duration: Duration) {
        self.runs.batch_size.observe(self.names().into(), rows as f64);
        self.runs
            .inference_seconds
            .observe(self.names().into(), duration.as_secs_f64());
    }
}

/// The metrics of the stream of one detector.
#[derive(Debug, Clone)]
pub struct DriftMetrics {
    /// log of the capital.
    pub log_capital: Gauge,
    /// Alarms.
    pub alarms: IntCounter,
    /// Whether the run survives a restart.
    pub kept: IntGauge,
}

impl DriftMetrics {
    /// The metrics of `model`, which must be the name of a loaded one.
    pub fn new(metrics: &Metrics, model: &str) -> Self {
        Self {
            log_capital: metrics.drift_log_capital.with_label_values(&[model]),
            alarms: metrics.drift_alarms.with_label_values(&[model]),
            kept: metrics.drift_kept.with_label_values(&[model]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_what_was_never_asked_only_counts_of_failures_are_told() {
        let metrics = Metrics::new();
        let told = |model: &str| {
            let (text, label) = (metrics.encode(), format!("{{model=\"{model}\","));
            text.lines()
                .filter(|line| line.contains(&label))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let (idle, busy) = (
            OperationMetrics::new(&metrics, "idle", "score"),
            OperationMetrics::new(&metrics, "busy", "score"),
        );
        busy.waited(Duration::from_millis(1));
        busy.ran(1, Duration::from_millis(2));
        assert_eq!(
            told(idle.names().0),
            [
                "density_abandoned_items_total{model=\"idle\",operation=\"score\"} 0",
                "density_inference_failures_total{model=\"idle\",operation=\"score\"} 0"
            ]
        );
        for name in ["queue_wait_seconds", "batch_size_rows", "inference_duration_seconds"] {
            let line = format!("density_{name}_count{{model=\"busy\",operation=\"score\"}} 1");
            assert!(told("busy").contains(&line), "{line}");
        }
    }

    #[test]
    fn nothing_is_told_of_models_that_are_gone() {
        let metrics = Metrics::new();
        let empty = metrics.encode();
        for model in ["departed", "here"] {
            OperationMetrics::new(&metrics, model, "score").ran(3, Duration::from_millis(2));
            DriftMetrics::new(&metrics, model).kept.set(1);
            metrics.shadowed(model, "both", 1);
            for vec in [&metrics.images, &metrics.decisions] {
                vec.with_label_values(&[model, "x"]).inc();
            }
            for vec in [&metrics.bits_per_dim, &metrics.p_value] {
                vec.with_label_values(&[model]).observe(1.0);
            }
            metrics.sampling_passes.with_label_values(&[model]).inc();
            metrics.model_ready.with_label_values(&[model, "1"]).set(1);
        }
        metrics.retain_models(|model| model == "here");
        let text = metrics.encode();
        assert!(!text.contains("departed"), "{text}");
        assert!(text.contains("density_batch_size_rows_sum{model=\"here\",operation=\"score\"} 3"));
        metrics.retain_models(|_| false);
        // All metrics with a model are among those that are forgotten.
        let own = |text: &str| text.lines().filter(|line| line.starts_with("density_")).count();
        assert_eq!(own(&metrics.encode()), own(&empty), "{text}");
    }
}
