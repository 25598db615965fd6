//! When to look for new and removed versions: after changes that the system tells of, once they have come to rest, and
//! at intervals.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};

use crate::repository::watch::{Sight, Watch};

/// A copy pauses for less between two files.
const REST: Duration = Duration::from_millis(300);

/// However busy a folder is, it is looked at so often.
const LONGEST: Duration = Duration::from_secs(5);

/// How often a folder is looked at whose changes cannot be seen.
const UNSEEN: Duration = Duration::from_secs(5);

/// The changes of a repository.
#[derive(Debug)]
pub struct Changes {
    interval: Duration,
    watch: Option<Watch>,
    seen: Arc<Seen>,
}

/// What the watch has told since it was asked.
#[derive(Debug, Default)]
struct Seen {
    changed: Notify,
    blind: Mutex<Option<String>>,
}

impl Seen {
    fn tell(&self, sight: Sight) {
        if let Sight::Blind(reason) = sight {
            *self.blind.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        }
        self.changed.notify_one();
    }

    fn is_blind(&self) -> bool {
        self.blind.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn take_blindness(&self) -> Option<String> {
        self.blind.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Changes {
    /// The changes of a folder that is watched, or else looked at in intervals; zero for never.
    pub(super) fn of(folder: &Path, watched: bool, interval: Duration) -> Self {
        let seen = Arc::<Seen>::default();
        let mut changes = Self {
            interval,
            watch: None,
            seen: Arc::clone(&seen),
        };
        if watched {
            let teller = Arc::clone(&seen);
            match Watch::start(folder, move |sight| teller.tell(sight)) {
                Ok(watch) => changes.watch = Some(watch),
                Err(reason) => seen.tell(Sight::Blind(reason)),
            }
        }
        changes
    }

    /// Comes when it is time to look.
    pub async fn next(&mut self) {
        loop {
            if let Some(reason) = self.seen.take_blindness() {
                self.look_instead(&reason);
            }
            tokio::select! {
                () = tick(self.interval) => return,
                () = self.seen.changed.notified() => {}
            }
            // After the last word of a watch, too: something may have been missed.
            if self.seen.is_blind() {
                self.seen.changed.notify_one();
                continue;
            }
            return self.rest().await;
        }
    }

    /// Waits until nothing has changed for a while.
    async fn rest(&self) {
        let latest = Instant::now() + LONGEST;
        loop {
            let rest = (Instant::now() + REST).min(latest);
            tokio::select! {
                biased;
                () = sleep_until(rest) => return,
                () = self.seen.changed.notified() => {}
            }
        }
    }

    fn look_instead(&mut self, reason: &str) {
        self.watch = None;
        if self.interval.is_zero() {
            self.interval = UNSEEN;
        }
        let seconds = self.interval.as_secs_f64();
        tracing::warn!(
            reason,
            "the repository cannot be watched: it is looked at every {seconds} s instead"
        );
    }
}

async fn tick(interval: Duration) {
    if interval.is_zero() {
        return std::future::pending().await;
    }
    sleep(interval).await;
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn blind_or_not(interval: Duration) -> Changes {
        Changes::of(Path::new("/"), false, interval)
    }

    async fn took(changes: &mut Changes) -> Duration {
        let before = Instant::now();
        changes.next().await;
        before.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn changes_are_looked_at_when_they_have_come_to_rest_or_go_on_for_too_long() {
        let mut changes = blind_or_not(Duration::ZERO);
        for _ in 0..3 {
            changes.seen.tell(Sight::Changed);
        }
        assert!(took(&mut changes).await < 2 * REST);
        let seen = Arc::clone(&changes.seen);
        let busy = tokio::spawn(async move {
            loop {
                seen.tell(Sight::Changed);
                sleep(REST / 2).await;
            }
        });
        let time = took(&mut changes).await;
        assert!(LONGEST <= time && time < LONGEST + REST, "{time:?}");
        busy.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_watched_is_looked_at_in_intervals() {
        let nowhere = Path::new("/nowhere/at/all");
        let mut changes = Changes::of(nowhere, true, Duration::ZERO);
        assert!(took(&mut changes).await < UNSEEN, "something may have been missed");
        assert!(took(&mut changes).await >= UNSEEN);
        let mut changes = blind_or_not(Duration::from_secs(60));
        changes.seen.tell(Sight::Blind("too many watches".to_owned()));
        changes.next().await;
        assert!(
            took(&mut changes).await >= Duration::from_secs(60),
            "as the operator wants it"
        );
        assert!(changes.watch.is_none());
    }

    #[tokio::test]
    async fn a_file_that_is_written_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let mut changes = Changes::of(folder.path(), true, Duration::ZERO);
        assert!(changes.watch.is_some());
        fs::create_dir_all(folder.path().join("a/1")).unwrap();
        changes.next().await;
        fs::write(folder.path().join("a/1/model.toml"), "").unwrap();
        changes.next().await;
    }
}
