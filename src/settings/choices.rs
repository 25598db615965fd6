//! Settings that are one of a few words.

use clap::ValueEnum;

/// What runs graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Device {
    /// The processor, by ONNX Runtime's own kernels.
    Cpu,
    /// The processor, by OpenVINO's.
    #[value(name = "openvino")]
    OpenVino,
    /// An NVIDIA GPU.
    Cuda,
}

impl Device {
    /// The command that fetches a library for it, and the folder below `.runtime/` that it fills.
    pub(super) fn fetched(self) -> (&'static str, &'static str) {
        match self {
            Self::Cpu => ("make runtime", ""),
            Self::OpenVino => ("make runtime DEVICE=openvino", "openvino"),
            Self::Cuda => ("make runtime DEVICE=cuda", "cuda"),
        }
    }
}

/// The numbers that graphs compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Precision {
    /// 32-bit reals.
    F32,
    /// Factors of 16 bits, sums of 32; through OpenVINO, on processors that have them.
    Bf16,
}

/// Who changes which versions are loaded, and which serves by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModelControl {
    /// Whoever has the folder and the signal.
    Off,
    /// Calls of clients, too, until the server ends.
    On,
    /// The same, kept over restarts.
    Kept,
}

/// What tells clients without keys apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClientsBy {
    /// Nothing: each request is for itself.
    None,
    /// The address that it comes from.
    Address,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
