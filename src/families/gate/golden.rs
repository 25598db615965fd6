//! Golden numbers: what the training framework gave must come out here, to within what the manifest allows.

use super::{
    Gate, GateError,
    units::{self, Tolerated},
};
use crate::families::manifest::Tolerance;

impl Gate<'_> {
    /// Compares numbers with the golden ones.
    pub fn golden(
        &mut self,
        (what, unit): (&'static str, &'static str),
        tolerance: Tolerance,
        expected: &[f64],
        actual: &[f64],
    ) -> Result<(), GateError> {
        let tolerance = self.compare((what, unit), tolerance, actual)?;
        let size = expected
            .iter()
            .map(|value| value.abs())
            .filter(|value| value.is_finite());
        let span = (size.sum::<f64>() / expected.len().max(1) as f64).max(1.0);
        let allowed = expected.iter().map(|&value| tolerance.allows(value));
        match units::tolerated(allowed.filter(|allowed| !allowed.is_infinite()), span) {
            Tolerated::Little => {}
            Tolerated::Much(allowed) => {
                self.warn(format!(
                    "{what}: the tolerance allows {allowed:.1e}, which proves little"
                ));
            }
            Tolerated::Anything(allowed) => return Err(GateError::Tolerance { what, allowed }),
        }
        let mut largest = 0.0f64;
        for (index, (&expected, &actual)) in expected.iter().zip(actual).enumerate() {
            let allowed = tolerance.allows(expected);
            let difference = (actual - expected).abs();
            // Written so that NaN fails.
            let reproduced = actual == expected || difference <= allowed;
            if !reproduced {
                return Err(GateError::Golden {
                    what,
                    unit,
                    index,
                    expected,
                    actual,
                    allowed,
                });
            }
            if difference.is_finite() {
                largest = largest.max(difference);
            }
        }
        self.passed(
            what,
            format!("{} reproduced to within {largest:.1e}{unit}", expected.len()),
        );
        Ok(())
    }
}
