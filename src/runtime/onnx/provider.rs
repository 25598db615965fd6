//! Execution providers: what ONNX Runtime calls that which runs graphs on a device, and whether the library has it.

use std::fmt::Display;

use ort::{
    environment::Environment,
    ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProvider, ExecutionProviderDispatch},
    logging::LogLevel,
    session::{Session, builder::SessionBuilder},
};

use crate::runtime::{Device, Placement, Precision, RuntimeError, onnx::Failure, processor};

/// Has a session run there on so many threads.
pub(super) fn register(
    builder: SessionBuilder,
    placement: Placement,
    threads: usize,
) -> Result<SessionBuilder, Failure> {
    let Some(provider) = of(placement, threads) else {
        return Ok(builder);
    };
    let builder = builder.with_execution_providers([provider])?;
    match placement.device {
        // Of every convolution and every number of images it warns that the chosen one may not be the fastest.
        Device::Cuda => Ok(builder.with_log_level(LogLevel::Error)?),
        Device::Cpu | Device::OpenVino => Ok(builder),
    }
}

/// What runs graphs there on so many threads; nothing for the processor, which the runtime falls back to.
fn of(placement: Placement, threads: usize) -> Option<ExecutionProviderDispatch> {
    let provider = match placement.device {
        Device::Cpu => return None,
        Device::OpenVino => openvino(placement.precision, threads).build(),
        Device::Cuda => cuda().build(),
    };
    Some(provider.error_on_failure())
}

/// One stream, so that a run is a run of the session's threads alone. These are not bound to cores: every session would
/// choose the same ones.
fn openvino(precision: Precision, threads: usize) -> ep::OpenVINO {
    let config = format!(
        r#"{{"CPU": {{"INFERENCE_PRECISION_HINT": "{precision}", "INFERENCE_NUM_THREADS": "{threads}",
            "NUM_STREAMS": "1", "ENABLE_CPU_PINNING": "NO"}}}}"#
    );
    ep::OpenVINO::default()
        .with_device_type("CPU")
        .with_arbitrary_config("load_config", config)
}

/// Without the 19-bit reals that GPUs may multiply instead of 32-bit ones, and with convolutions that give the same
/// numbers each time: those that are searched for by time or by rules of thumb may add in whatever order their threads
/// end. Every session of a worker has memory of its own there, which grows by what it needs and not by doubling.
fn cuda() -> ep::CUDA {
    ep::CUDA::default()
        .with_tf32(false)
        .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Default)
        .with_arena_extend_strategy(ep::ArenaExtendStrategy::SameAsRequested)
}

/// Whether graphs can run there, by the library, the processor and what else the device needs.
pub(super) fn usable(environment: &Environment, placement: Placement) -> Result<(), RuntimeError> {
    let Placement { device, precision } = placement;
    let refused = |reason: String| Err(RuntimeError::Placement(reason));
    if !device.precisions().contains(&precision) {
        let others = Device::ALL
            .into_iter()
            .filter(|other| other.precisions().contains(&precision));
        return refused(format!(
            "--precision {precision} is not possible on the device {device}: {} has it",
            listed(others)
        ));
    }
    let offered = offered();
    if !offered.contains(&device) {
        return refused(format!(
            "--device {device} is not possible: the library of ONNX Runtime that was loaded offers {}. \
             `make runtime DEVICE={device}` fetches one that offers {device}; one from elsewhere is named with \
             --onnxruntime",
            listed(offered.iter())
        ));
    }
    if precision == Precision::Bf16 && processor::has_bf16() == Some(false) {
        return refused(format!(
            "--precision {precision} is not possible: this processor multiplies no such numbers (it has neither \
             avx512_bf16 nor amx_bf16); leave it at f32"
        ));
    }
    let Some(provider) = of(placement, 1) else {
        return Ok(());
    };
    // Loads what the device needs beside the library.
    let tried = Session::builder(environment).and_then(|builder| Ok(builder.with_execution_providers([provider])?));
    match tried {
        Ok(_) => Ok(()),
        Err(error) => refused(format!(
            "--device {device} is not possible: the library offers it, but not all that it needs is there: {error}"
        )),
    }
}

/// Devices that the library was built for. It must have been loaded.
fn offered() -> Vec<Device> {
    let is_offered = |device: &Device| match device {
        Device::Cpu => true,
        Device::OpenVino => ep::OpenVINO::is_available().unwrap_or(false),
        Device::Cuda => ep::CUDA::is_available().unwrap_or(false),
    };
    Device::ALL.into_iter().filter(is_offered).collect()
}

fn listed<T: Display>(all: impl Iterator<Item = T>) -> String {
    let names: Vec<String> = all.map(|one| one.to_string()).collect();
    names.join(" and ")
}
