//! What models are made and run with, out of the settings: the runtime, the workers, the load gate.

use std::sync::Arc;

use super::AppError;
use crate::{
    families::{GateSettings, Resources},
    metrics::Metrics,
    runtime::{self, Engine, Placement, onnx::OnnxEngine},
    scheduling::{Scheduler, SchedulerConfig},
    settings::{Device, ModelSettings, Precision, Settings},
};

pub(super) fn gate(settings: &Settings) -> GateSettings {
    GateSettings {
        time_limit: settings.models.load_timeout,
        ..GateSettings::default()
    }
}

/// Where graphs are to run, and how exactly.
pub(super) fn placement(settings: &ModelSettings) -> Placement {
    Placement {
        device: match settings.device {
            Device::Cpu => runtime::Device::Cpu,
            Device::OpenVino => runtime::Device::OpenVino,
            Device::Cuda => runtime::Device::Cuda,
        },
        precision: match settings.precision {
            Precision::F32 => runtime::Precision::F32,
            Precision::Bf16 => runtime::Precision::Bf16,
        },
    }
}

/// The runtime, the workers and the metrics.
pub(super) fn resources(settings: &Settings) -> Result<Resources, AppError> {
    let library = settings.onnxruntime_library()?;
    let work = &settings.work;
    let engine = OnnxEngine::new(&library, work.workers)?.placed(placement(&settings.models))?;
    let engine: Arc<dyn Engine> = Arc::new(engine);
    let metrics = Arc::new(Metrics::new());
    let config = SchedulerConfig {
        workers: work.workers,
        interactive_capacity: work.interactive_queue,
        bulk_capacity: work.bulk_queue,
        interactive_rows: work.max_batch_rows,
        bulk_rows: work.max_step_rows,
        ..SchedulerConfig::default()
    };
    let scheduler = Arc::new(Scheduler::start(config, &metrics)?);
    Ok(Resources::new(engine, scheduler, metrics))
}
