//! Where a calibration was made, as manifests say it, and whether it holds where graphs run now.

use serde::Deserialize;

use crate::{
    model::Reason,
    runtime::{Device, Placement, Precision},
};

/// `device` and `precision` of a calibration; without them what is meant when nobody asks for another.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct CalibratedAt {
    device: Option<String>,
    precision: Option<String>,
}

impl CalibratedAt {
    /// What a table of a manifest says.
    pub(crate) fn new(device: Option<String>, precision: Option<String>) -> Self {
        Self { device, precision }
    }

    /// The placement, if there is such a one.
    pub(crate) fn placement(&self) -> Result<Placement, String> {
        let reference = Placement::REFERENCE;
        let wrong = |key: &str, error: String| format!("calibration.{key}: {error}");
        let device: Option<Result<Device, _>> = self.device.as_deref().map(str::parse);
        let precision: Option<Result<Precision, _>> = self.precision.as_deref().map(str::parse);
        Ok(Placement {
            device: device.unwrap_or(Ok(reference.device)).map_err(|e| wrong("device", e))?,
            precision: precision
                .unwrap_or(Ok(reference.precision))
                .map_err(|e| wrong("precision", e))?,
        })
    }
}

/// Lines of a table for what was calibrated there; none for what is meant without them.
pub(crate) fn lines(placement: Placement) -> String {
    if placement.is_reference() {
        return String::new();
    }
    format!(
        "device = \"{}\"\nprecision = \"{}\"\n",
        placement.device, placement.precision
    )
}

/// Refuses a calibration that was made elsewhere. `command` makes one here.
pub(crate) fn holds(calibrated: Placement, here: Placement, command: &str) -> Result<(), Reason> {
    if calibrated == here {
        return Ok(());
    }
    Err(format!(
        "it was calibrated on {calibrated}, and is computed on {here} here, where its false-alarm rates are not \
         proven: serve it with {}, or calibrate it here with `density-server {command} {}`",
        calibrated.flags(),
        here.flags()
    )
    .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_means_the_reference() {
        for device in Device::ALL {
            for precision in Precision::ALL {
                let placement = Placement { device, precision };
                let read: CalibratedAt = toml::from_str(&lines(placement)).unwrap();
                assert_eq!(read.placement(), Ok(placement));
            }
        }
        let wrong = CalibratedAt::new(None, Some("f64".to_owned()));
        assert!(wrong.placement().unwrap_err().contains("calibration.precision"));
    }

    #[test]
    fn a_calibration_holds_where_it_was_made() {
        let bf16 = Placement {
            device: Device::OpenVino,
            precision: Precision::Bf16,
        };
        assert_eq!(holds(bf16, bf16, "calibrate"), Ok(()));
        let reason = holds(Placement::REFERENCE, bf16, "calibrate m")
            .unwrap_err()
            .to_string();
        for part in [
            "--device cpu --precision f32",
            "calibrate m --device openvino --precision bf16",
        ] {
            assert!(reason.contains(part), "{reason}");
        }
    }
}
