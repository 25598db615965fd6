//! Whether a short run that waits a moment will have company.
//!
//! Where many requests are under way, those that have come to the same thread gather in one batch if the first of them
//! waits until the thread has looked at the others. Where there is one at a time nobody comes, and the moment costs the
//! waking of another thread that looks for work. What happened last tells which of the two it is.

use std::sync::atomic::{AtomicU32, Ordering};

/// So many runs in a row without company, and it is not waited for any more.
const PATIENCE: u32 = 4;

/// It is tried again with every so many-th run.
const TRIAL: u32 = 16;

/// Runs since one that had company.
#[derive(Debug, Default)]
pub(super) struct Company(AtomicU32);

impl Company {
    /// Whether to wait for it.
    pub(super) fn is_likely(&self) -> bool {
        let alone = self.0.load(Ordering::Relaxed);
        alone < PATIENCE || alone.is_multiple_of(TRIAL)
    }

    /// A run had company, or had not.
    pub(super) fn note(&self, had_company: bool) {
        // Two threads that write at once lose a count, which does not matter.
        let alone = self.0.load(Ordering::Relaxed);
        let alone = if had_company { 0 } else { alone.wrapping_add(1) };
        self.0.store(alone, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_waited_for_until_it_stays_away_and_tried_again() {
        let company = Company::default();
        let waits = |runs: usize| {
            (0..runs)
                .filter(|_| {
                    let waits = company.is_likely();
                    company.note(false);
                    waits
                })
                .count()
        };
        assert_eq!(waits(4), 4);
        assert_eq!(waits(160), 10);
        company.note(true);
        assert_eq!(waits(4), 4);
    }
}
