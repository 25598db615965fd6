//! Versions that run on another device or at another precision than the reference: the processor, at full precision.
//!
//! Such a version is first proved at the reference, as strictly as anywhere, and then where it is to serve. In between
//! lies how far its golden numbers move. At full precision they may not move beyond their tolerance; at less they move
//! as far as the manifest declares, and no further.

use super::{Case, Gate, GateError};
use crate::{
    families::{findings::Findings, manifest::Tolerance},
    model::info::{Change, Computed},
    runtime::Precision,
};

/// Proofs under which what was found is kept.
const REFERENCE: &str = "reference";
const CHANGES: &str = "changes";

/// Golden numbers at the reference, and how far those from elsewhere are from them.
pub(super) struct Comparison {
    /// In the order in which they are asked for.
    reference: Vec<Vec<f64>>,
    changes: Vec<Change>,
}

/// Proves a version at the reference, if that is not where its graphs run anyway.
pub(super) fn compared(case: Case<'_>, findings: &mut Findings) -> Result<Option<Comparison>, GateError> {
    let contract = &case.snapshot.manifest.contract;
    // What is made of other versions is computed where these are.
    if case.resources.engine.reference().is_none() || contract.graphs().is_empty() {
        return Ok(None);
    }
    let reference = match findings.get(REFERENCE) {
        Some(settled) => settled.value,
        None => {
            let resources = case.resources.at_reference();
            let mut own = Findings::default();
            let case = Case {
                resources: &resources,
                ..case
            };
            let gate = Gate::new(case, &mut own);
            let mut gate = Gate {
                is_comparison: true,
                ..gate
            };
            contract.prove(&mut gate)?;
            gate.answered()?;
            // What the manifest does not name it does not stand for.
            if gate.unlisted.is_empty() {
                findings.add(REFERENCE, &gate.numbers, &[]);
            }
            gate.numbers
        }
    };
    Ok(Some(Comparison {
        reference,
        changes: findings.get(CHANGES).map(|settled| settled.value).unwrap_or_default(),
    }))
}

impl Gate<'_> {
    /// Takes note of golden numbers, and how far they are from those at the reference. Answers how far they may be from
    /// the golden ones.
    pub(super) fn compare(
        &mut self,
        (what, unit): (&'static str, &'static str),
        tolerance: Tolerance,
        actual: &[f64],
    ) -> Result<Tolerance, GateError> {
        let at = self.numbers.len();
        self.numbers.push(actual.to_vec());
        let (placement, is_known) = (self.placement(), self.unlisted.is_empty());
        let Some(comparison) = &mut self.comparison else {
            return Ok(tolerance);
        };
        let Some(reference) = comparison.reference.get(at) else {
            return Ok(tolerance);
        };
        let change = change((what, unit.trim()), reference, actual);
        // An earlier start that did not come to an end may have left some.
        comparison.changes.truncate(at);
        comparison.changes.push(change.clone());
        if is_known {
            self.findings.add(CHANGES, &comparison.changes, &[]);
        }
        let is_within = reference
            .iter()
            .all(|&expected| expected.is_infinite() || change.largest <= tolerance.allows(expected));
        let finding = format!("on {placement} {change}, beside those on the processor at f32");
        if placement.precision == Precision::F32 || is_within {
            self.passed("precision", finding);
            return Ok(tolerance);
        }
        match tolerance.at_bf16 {
            Some(declared) if change.largest <= declared => {
                self.passed("precision", format!("{finding}; bf16_tolerance allows {declared}"));
                Ok(Tolerance {
                    absolute: tolerance.absolute + declared,
                    ..tolerance
                })
            }
            declared => Err(GateError::Moved {
                placement,
                change,
                declared,
            }),
        }
    }

    /// An error of a proof elsewhere that the reference has passed.
    pub(super) fn elsewhere(&self, error: GateError) -> GateError {
        if self.comparison.is_none() || error.is_of_time() || matches!(error, GateError::Moved { .. }) {
            return error;
        }
        GateError::Elsewhere {
            placement: self.placement(),
            cause: Box::new(error),
        }
    }

    /// Where its numbers are computed, and what that changes.
    pub(super) fn computed(&self) -> Computed {
        let placement = self.placement();
        let changes = self.comparison.as_ref().filter(|_| !placement.is_reference());
        Computed {
            device: placement.device.name(),
            precision: placement.precision.name(),
            changes: changes.map(|own| own.changes.clone()).unwrap_or_default(),
        }
    }
}

/// What there is to say of numbers that are not computed at full precision.
pub(super) fn weakness(computed: &Computed) -> Option<String> {
    let Computed {
        device,
        precision,
        changes,
    } = computed;
    if *precision == Precision::F32.name() {
        return None;
    }
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    let moved = if changes.is_empty() {
        String::new()
    } else {
        format!(": {}", changes.join("; "))
    };
    Some(format!("it is computed at {precision} on {device}{moved}"))
}

fn change((of, unit): (&str, &str), reference: &[f64], actual: &[f64]) -> Change {
    let differences = reference.iter().zip(actual).map(|(&one, &other)| {
        // Infinite numbers that are the same have moved by nothing.
        if one == other { 0.0 } else { (one - other).abs() }
    });
    let (mut sum, mut largest) = (0.0, 0.0f64);
    for difference in differences {
        sum += difference;
        // Written so that NaN is kept.
        largest = if largest.is_nan() || difference <= largest {
            largest
        } else {
            difference
        };
    }
    Change {
        of: of.to_owned(),
        unit: unit.to_owned(),
        count: reference.len(),
        mean: sum / reference.len().max(1) as f64,
        largest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_the_mean_and_the_largest_difference() {
        let change = |reference: &[f64], actual: &[f64]| change(("golden scores", "nats"), reference, actual);
        let moved = change(&[-1.0, -2.0, f64::NEG_INFINITY], &[-1.5, -2.0, f64::NEG_INFINITY]);
        assert_eq!((moved.mean, moved.largest), (0.5 / 3.0, 0.5));
        let text = moved.to_string();
        assert_eq!(
            text,
            "golden scores move by 0.167 nats on average and by 0.5 at most, of 3"
        );
        assert_eq!(change(&[-1.0], &[f64::NEG_INFINITY]).largest, f64::INFINITY);
        assert!(change(&[-1.0, -1.0], &[f64::NAN, -1.0]).largest.is_nan());
    }

    #[test]
    fn only_less_than_full_precision_is_a_weakness() {
        let computed = |precision| Computed {
            device: "openvino",
            precision,
            changes: vec![change(("golden codes", ""), &[1.0], &[1.5])],
        };
        assert_eq!(weakness(&computed("f32")), None);
        let text = weakness(&computed("bf16")).unwrap();
        assert!(
            text.contains("bf16 on openvino: golden codes move by 0.5 on average"),
            "{text}"
        );
    }
}
