//! Trials of a graph on images made up for the purpose, as steps of the gate.

use std::time::Instant;

use super::{
    Gate, GateError, causality,
    company::{self, Broken},
    failed, units,
};
use crate::{
    domain::{
        image::ImageShape,
        random::{Random, Stream},
    },
    network::NetworkError,
};

/// Others that item 0 is run behind.
const OTHERS: usize = 2;
/// The place of noise among images that are made up.
const NOISE: usize = 1;

impl Gate<'_> {
    /// Numbers for trials of the graph in `file`: others for every graph.
    pub(super) fn probe(&self, file: &str, number: u64) -> Random {
        Random::new(self.seed(file), Stream::Probe, number)
    }

    fn seed(&self, file: &str) -> u64 {
        self.seeds.get(file).copied().unwrap_or_default()
    }

    /// Tries whether items 0 to 2 give the same alone and in company. Answers the numbers of items 1 and 2.
    pub(super) fn keeps_apart(
        &mut self,
        file: &str,
        run: &mut company::Run<'_, NetworkError>,
    ) -> Result<Vec<Vec<f32>>, GateError> {
        let refused = |cause| failed(file, cause);
        if self.declared.random {
            self.warn(format!(
                "{file} draws random numbers, as declared: no two answers are the same"
            ));
            return run(&[1, 2]).map_err(refused);
        }
        match company::probe(OTHERS, run).map_err(refused)? {
            Ok((kept, others)) => {
                self.passed("company", format!("{file}: {kept}"));
                Ok(others)
            }
            Err(Broken::Random) => Err(GateError::Random {
                file: file.to_owned(),
                nodes: match self.drawing.as_slice() {
                    [] => String::new(),
                    nodes => format!(", drawn by {}", nodes.join(", ")),
                },
                cure: self.cure_of_chance(),
            }),
            Err(Broken::Company(difference)) => Err(GateError::Company {
                file: file.to_owned(),
                difference,
                also: String::new(),
            }),
        }
    }

    fn cure_of_chance(&self) -> &'static str {
        if self.is_density {
            ""
        } else {
            ", or say [declared] random = true"
        }
    }

    /// Tries causality. Answers at how many places.
    pub(super) fn is_causal(
        &mut self,
        file: &str,
        (shape, outcomes): (ImageShape, usize),
        images: &[(&[u8], u32)],
        logits: &mut causality::Logits<'_, NetworkError>,
    ) -> Result<usize, GateError> {
        let trial = causality::Trial {
            shape,
            outcomes,
            images,
            seed: self.seed(file),
            thorough: self.settings.thorough,
        };
        let (start, limit) = (Instant::now(), self.settings.trial_limit());
        let thorough = self.settings.thorough;
        let mut enough = || !thorough && start.elapsed() > limit;
        match causality::probe(&trial, logits, &mut enough).map_err(|cause| failed(file, cause))? {
            Ok(places) => Ok(places),
            Err(leak) => Err(GateError::Leak {
                file: file.to_owned(),
                predicted: causality::describe(leak.predicted, shape),
                changed: causality::describe(leak.changed, shape),
            }),
        }
    }

    /// Whether noise, by the log-probabilities of the images that [`company::images`] makes, has no more probability than there is.
    pub(super) fn noise_is_improbable(
        &self,
        file: &str,
        shape: ImageShape,
        others: &[Vec<f32>],
    ) -> Result<(), GateError> {
        let noise = others.get(NOISE).into_iter();
        let scores: Vec<f64> = noise
            .map(|map| map.iter().map(|&value| f64::from(value)).sum())
            .collect();
        match units::noise(&scores, shape.dimensions(), shape.levels()) {
            None => Ok(()),
            Some((actual, most)) => Err(GateError::Noise {
                file: file.to_owned(),
                actual,
                most,
            }),
        }
    }
}
