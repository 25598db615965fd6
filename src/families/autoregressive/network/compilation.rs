//! What the analysis of a network's graph came to, and whether the compiled program reproduces the graph.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Evaluation, Given, Network, agreement::Agreement};
use crate::{
    domain::image::ImageShape,
    families::{NetworkError, autoregressive::wavefront::Wavefront},
    runtime::Threads,
};

/// What the analysis of the graph came to.
#[derive(Debug)]
pub enum Compilation {
    /// It is causal, and images are coded along wavefronts, and drawn so unless full passes are quicker.
    Wavefront(Arc<Wavefront>),
    /// It is causal, but has no program, for this reason; images are drawn by fixed-point iteration.
    Causal(String),
    /// It could not be analysed, for this reason; images are drawn by fixed-point iteration.
    Unknown(String),
}

/// What following an image through the compiled program showed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// See [`Network::numerics`].
    numerics: u64,
    /// Why the program is not used.
    given_up: Option<String>,
}

/// Why a program does not draw.
pub const SLOWER: &str = "its layers over all pixels take fewer multiplications in these than steps for each pixel do";

/// Of the hash FNV-1a, here over words of 32 bits.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
/// Likewise.
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Golden images in whose company the first one is verified, at most.
const VERIFIED_COMPANY: usize = 8;

impl Compilation {
    /// That of a network without a program, for this reason.
    pub(super) fn without_program(is_proven: bool, reason: String) -> Self {
        if is_proven {
            Self::Causal(reason)
        } else {
            Self::Unknown(reason)
        }
    }

    /// The program, if there is one.
    pub fn program(&self) -> Option<&Arc<Wavefront>> {
        match self {
            Self::Wavefront(program) => Some(program),
            Self::Causal(_) | Self::Unknown(_) => None,
        }
    }

    /// Whether the analysis proved that the network is causal.
    pub fn is_proven(&self) -> bool {
        match self {
            Self::Wavefront(wavefront) => wavefront.assumptions().is_empty(),
            Self::Causal(_) => true,
            Self::Unknown(_) => false,
        }
    }
}

impl fmt::Display for Compilation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wavefront(wavefront) => {
                let cost = wavefront.cost();
                if wavefront.is_slower_than_passes() {
                    write!(f, "by fixed-point iteration over full passes: {SLOWER}; coded ")?;
                }
                write!(
                    f,
                    "along wavefronts: lag {}, {} steps, {:.3e} multiply-adds",
                    cost.lag, cost.steps, cost.multiply_adds as f64
                )?;
                if cost.row_multiply_adds > 0 {
                    write!(
                        f,
                        " ({:.3e} of them for whole rows at once)",
                        cost.row_multiply_adds as f64
                    )?;
                }
                write!(f, " and {} kB of memory an image", cost.bytes.div_ceil(1000))?;
                for assumption in wavefront.assumptions() {
                    write!(f, "; taken for granted: {assumption}")?;
                }
                Ok(())
            }
            Self::Causal(reason) | Self::Unknown(reason) => {
                write!(f, "by fixed-point iteration over full passes: {reason}")
            }
        }
    }
}

impl Network {
    /// Follows an image through the compiled program and compares its logits with those of a full pass. A program that
    /// does not reproduce them is given up, with the reason; the network itself is sound.
    ///
    /// Where there are no full passes, the logits must be those that the image has in company. If they are not, the
    /// graph lets pixels of the same step see each other, and that is an error.
    pub fn verify_program(&self, golden: &[Given<'_>]) -> Result<Verdict, NetworkError> {
        let (Compilation::Wavefront(wavefront), Some(given)) = (&self.compilation, golden.first()) else {
            return Ok(Verdict::default());
        };
        let expected = match &self.evaluation {
            Evaluation::Passes(passes) => passes.logits_to_verify(&[*given], Threads::All)?,
            Evaluation::Walks(_) => {
                let unlike = unlike(given.levels, self.shape);
                let company: Vec<Given<'_>> = golden
                    .iter()
                    .take(VERIFIED_COMPANY)
                    .copied()
                    .chain([unlike[..].into()])
                    .collect();
                self.logits(&company, Threads::All)?
            }
        };
        let mut walk = wavefront.start(given.levels.to_vec(), given.label);
        let mut agreement = Agreement::default();
        let mut numerics = FNV_OFFSET;
        wavefront.advance(&mut [&mut walk], wavefront.steps(), &mut |known| {
            for (&actual, expected) in known.values.iter().zip(expected.at(0, known.index)) {
                agreement.see(actual, expected);
                numerics = (numerics ^ u64::from(actual.to_bits())).wrapping_mul(FNV_PRIME);
            }
            known.level
        })?;
        wavefront.finish(walk);
        let difference = agreement.difference();
        let verdict = match self.evaluation {
            _ if agreement.holds() => Verdict {
                numerics,
                given_up: None,
            },
            Evaluation::Passes(_) => Verdict {
                numerics,
                given_up: Some(format!("the compiled program differs from the graph by {difference:e}")),
            },
            Evaluation::Walks(_) => return Err(NetworkError::Company(difference)),
        };
        Ok(verdict)
    }

    /// Goes by a verdict on the same graph, runtime and processor.
    pub fn accept(&mut self, verdict: &Verdict) {
        self.numerics = verdict.numerics;
        if let Some(reason) = &verdict.given_up {
            self.compilation = Compilation::without_program(self.compilation.is_proven(), reason.clone());
        }
    }
}

/// An image that differs everywhere.
fn unlike(levels: &[u8], shape: ImageShape) -> Vec<u8> {
    let (count, half) = (shape.levels(), shape.levels() / 2);
    levels
        .iter()
        .map(|&level| ((usize::from(level) + half) % count) as u8)
        .collect()
}
