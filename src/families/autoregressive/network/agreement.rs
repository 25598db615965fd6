//! Whether two computations of the same logits agree.

/// Logits may differ by this share of the largest one: rounding in another order.
const TOLERANCE: f32 = 1e-3;

/// How far logits are from those that they should be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Agreement {
    difference: f32,
    scale: f32,
}

impl Default for Agreement {
    fn default() -> Self {
        Self {
            difference: 0.0,
            scale: 1.0,
        }
    }
}

impl Agreement {
    /// Takes note of a logit and what it should be.
    pub(super) fn see(&mut self, actual: f32, expected: f32) {
        // Infinite logits may agree; written so that NaN does not.
        if actual != expected {
            let own = (actual - expected).abs();
            self.difference = if own <= self.difference { self.difference } else { own };
        }
        self.scale = self.scale.max(expected.abs());
    }

    /// The largest difference that was seen.
    pub(super) fn difference(self) -> f32 {
        self.difference
    }

    /// Whether all that was seen is the same but for rounding.
    pub(super) fn holds(self) -> bool {
        self.difference <= TOLERANCE * self.scale
    }
}
