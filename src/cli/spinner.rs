//! A line on standard error, if that is a terminal, that tells what a command is at work on and for how long.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// The line; it goes away with its owner.
pub(super) struct Spinner(ProgressBar);

impl Spinner {
    /// One that tells of this work.
    pub(super) fn new(work: String) -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg}: {elapsed}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        let bar = ProgressBar::new_spinner().with_style(style).with_message(work);
        bar.enable_steady_tick(Duration::from_millis(500));
        Self(bar)
    }

    /// Tells of the next work from here on.
    pub(super) fn go_on(&self, work: &str) {
        self.0.set_message(work.to_owned());
        self.0.reset_elapsed();
    }

    /// Does something that writes to the terminal, with the line out of its way.
    pub(super) fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
