//! Densities judged by the two-sided conformal p-value of one statistic. False alarms are bounded, not misses: an image
//! that the statistic does not tell from the inliers passes, whatever it shows.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

use crate::{
    domain::{
        conformal::{Calibration, CalibrationError},
        image::Image,
        likelihood,
    },
    model::{
        Call, PerImage, Reason, Refusal,
        detect::{Calibrated, CalibrationScores, JudgeAsk, Judges, Measured, Measures, Verdict},
        info::CalibrationInfo,
        value::Number,
    },
};

/// Scores of held-out inliers, in nats, that are strange on both sides.
#[derive(Debug, Clone)]
pub(super) struct TwoSided {
    pub(super) calibration: Calibration,
    pub(super) info: CalibrationInfo,
    pub(super) dimensions: usize,
}

/// A density that is judged by its own statistic.
pub(super) struct Judge {
    pub(super) measures: Arc<dyn Measures>,
    pub(super) scores: TwoSided,
}

#[async_trait]
impl Judges for Judge {
    async fn judge(&self, images: Vec<Image>, ask: &JudgeAsk, call: &Call) -> Result<PerImage<Verdict>, Refusal> {
        self.scores.check(ask)?;
        let statistics = self.measures.measure(images, call).await?;
        Ok(self.scores.judge(ask, statistics))
    }

    fn has_maps(&self) -> bool {
        false
    }

    fn calibration(&self) -> CalibrationScores {
        self.scores.scores()
    }
}

impl TwoSided {
    /// Refuses what only a detector can do, and rates that the scores do not support.
    fn check(&self, ask: &JudgeAsk) -> Result<(), Refusal> {
        let asked = [
            ("confidence", ask.confidence.is_some()),
            ("fdr", ask.false_discovery_rate.is_some()),
            ("map", ask.map),
        ];
        if let Some((option, _)) = asked.into_iter().find(|(_, given)| *given) {
            let reason = "only a detector has it; this model is judged by its likelihood alone";
            return Err(Refusal::option(option, reason));
        }
        self.calibration
            .supports_two_sided(ask.false_alarm_rate)
            .map_err(refused)
    }

    /// What p-values are measured against.
    fn scores(&self) -> CalibrationScores {
        CalibrationScores {
            statistic: self.info.statistic,
            two_sided: true,
            size: self.calibration.size(),
            description: self.info.description.clone(),
            scores: self.calibration.scores().to_vec(),
            labels: None,
        }
    }

    /// Verdicts on the statistics of images.
    fn judge(&self, ask: &JudgeAsk, statistics: PerImage<f64>) -> PerImage<Verdict> {
        let verdict = |value: f64| {
            if value.is_nan() {
                return Err(Refusal::not_a_number("the log-likelihood"));
            }
            let p_value = self.calibration.two_sided_p_value(value);
            let bits_per_dim = likelihood::bits_per_dim(value, self.dimensions);
            let measured = Measured {
                value: Number(value),
                p_value,
                bits_per_dim: Some(Number(bits_per_dim)),
            };
            Ok(Verdict {
                reject: p_value <= ask.false_alarm_rate,
                p_value,
                threshold: Some(ask.false_alarm_rate),
                calibration: Calibrated {
                    size: self.calibration.size(),
                    description: self.info.description.clone(),
                    label: None,
                },
                strangeness: -p_value.ln(),
                statistics: BTreeMap::from([(self.info.statistic.to_owned(), measured)]),
                bits_per_dim: Some(bits_per_dim),
                map: None,
            })
        };
        statistics.into_iter().map(|value| verdict(value?)).collect()
    }
}

/// The reason why a version without a calibration judges nothing.
pub(super) fn no_calibration() -> Reason {
    "this version has no calibration: without scores of held-out inliers no false-alarm rate can be promised".into()
}

/// A rate that a calibration does not support.
pub(super) fn refused(error: CalibrationError) -> Refusal {
    let option = match error {
        CalibrationError::Confidence(_) => "confidence",
        _ => "false_alarm_rate",
    };
    Refusal::option(option, error)
}
