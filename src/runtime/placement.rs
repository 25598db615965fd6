//! Where graphs run, and how exactly. Names and what goes with what; nothing here runs anything.

use std::{fmt, str::FromStr};

/// What runs graphs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The processor, by ONNX Runtime's own kernels.
    Cpu,
    /// The processor, by OpenVINO's.
    OpenVino,
    /// An NVIDIA GPU, by cuDNN's.
    Cuda,
}

/// The numbers that graphs compute with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 32-bit reals.
    F32,
    /// Convolutions and products of matrices take factors of 16 bits, 8 of them for the fraction, and add in 32. What
    /// follows the last of them, such as the logarithms of a likelihood, is computed with 32-bit reals.
    Bf16,
}

/// A device and a precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// What runs graphs.
    pub device: Device,
    /// The numbers that they compute with.
    pub precision: Precision,
}

impl Device {
    /// Every device.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::OpenVino, Self::Cuda];

    /// As it is written in settings and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::OpenVino => "openvino",
            Self::Cuda => "cuda",
        }
    }

    /// The precisions that it is asked for, the best first.
    pub fn precisions(self) -> &'static [Precision] {
        match self {
            Self::OpenVino => &[Precision::F32, Precision::Bf16],
            Self::Cpu | Self::Cuda => &[Precision::F32],
        }
    }

    /// The version of ONNX Runtime, and of its libraries for the device, that the server is built and tested with.
    pub fn runtime_version(self) -> &'static str {
        match self {
            Self::Cpu | Self::Cuda => "1.31.1",
            Self::OpenVino => "1.24.1",
        }
    }
}

impl Precision {
    /// Every precision.
    pub const ALL: [Self; 2] = [Self::F32, Self::Bf16];

    /// As it is written in settings, manifests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

impl Placement {
    /// What every other placement is compared with, and what a manifest means that names none.
    pub const REFERENCE: Self = Self {
        device: Device::Cpu,
        precision: Precision::F32,
    };

    /// Where something is computed that is made of others: where those of them are that are not at the reference.
    pub fn of_all(parts: impl IntoIterator<Item = Self>) -> Self {
        let elsewhere = parts.into_iter().find(|part| !part.is_reference());
        elsewhere.unwrap_or(Self::REFERENCE)
    }

    /// Whether it is [`Self::REFERENCE`].
    pub fn is_reference(self) -> bool {
        self == Self::REFERENCE
    }

    /// The settings that ask for it.
    pub fn flags(self) -> String {
        format!("--device {} --precision {}", self.device, self.precision)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.device, self.precision)
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        named("device", text, &Self::ALL)
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        named("precision", text, &Self::ALL)
    }
}

fn named<T: fmt::Display + Copy>(what: &str, text: &str, all: &[T]) -> Result<T, String> {
    let found = all.iter().find(|one| one.to_string() == text);
    found.copied().ok_or_else(|| {
        let names: Vec<String> = all.iter().map(ToString::to_string).collect();
        format!("{text:?} is no {what}: one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_is_what_is_named_here() {
        let makefile = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile")).unwrap();
        for (variable, device) in [("ONNXRUNTIME", Device::Cpu), ("ONNXRUNTIME_OPENVINO", Device::OpenVino)] {
            let line = format!("\n{variable}_VERSION := {}\n", device.runtime_version());
            assert!(makefile.contains(&line), "{line}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for device in Device::ALL {
            assert_eq!(device.name().parse(), Ok(device));
            assert_eq!(device.precisions().first(), Some(&Precision::F32));
        }
        for precision in Precision::ALL {
            assert_eq!(precision.name().parse(), Ok(precision));
        }
        let error = "tpu".parse::<Device>().unwrap_err();
        assert_eq!(error, "\"tpu\" is no device: one of cpu, openvino, cuda");
    }
}
