//! When to look for new and removed versions: after changes that the system tells of, once they have come to rest, and
//! at intervals.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

use crate::repository::watch::{Sight, Watch};

/// A copy pauses for less between two files.
const REST: Duration = Duration::from_millis(300);

/// However busy a folder is, it is looked at so often.
const LONGEST: Duration = Duration::from_secs(5);

/// How often a folder is looked at whose changes cannot be seen, and how often one that is watched may have been
/// exchanged for another.
const UNSEEN: Duration = Duration::from_secs(5);

/// The changes of a repository.
#[derive(Debug)]
pub struct Changes {
    folder: PathBuf,
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
        let mut changes = Self {
            folder: folder.to_owned(),
            interval,
            watch: None,
            seen: Arc::default(),
        };
        if watched {
            match changes.start() {
                Ok(watch) => changes.watch = Some(watch),
                Err(reason) => changes.seen.tell(Sight::Blind(reason)),
            }
        }
        changes
    }

    fn start(&self) -> Result<Watch, String> {
        let teller = Arc::clone(&self.seen);
        Watch::start(&self.folder, move |sight| teller.tell(sight))
    }

    /// Comes when it is time to look.
    pub async fn next(&mut self) {
        let mut begin = Instant::now();
        loop {
            if let Some(reason) = self.seen.take_blindness() {
                self.look_instead(&reason);
                begin = Instant::now();
            }
            let watched = self.watch.as_ref().map_or(Duration::ZERO, |_| UNSEEN);
            tokio::select! {
                () = tick(begin, self.interval) => return,
                () = self.seen.changed.notified() => {}
                () = tick(Instant::now(), watched) => {
                    if self.watch_elsewhere() {
                        return;
                    }
                    continue;
                }
            }
            // After the last word of a watch, too: something may have been missed.
            if self.seen.is_blind() {
                self.seen.changed.notify_one();
                continue;
            }
            return self.rest().await;
        }
    }

    /// Watches what the folder's path leads to now, and answers whether that is something else.
    fn watch_elsewhere(&mut self) -> bool {
        let is_outdated = self.watch.as_ref().is_some_and(|watch| watch.is_outdated(&self.folder));
        if is_outdated {
            match self.start() {
                Ok(watch) => {
                    self.watch = Some(watch);
                    tracing::info!(folder = %self.folder.display(), "the repository is another folder now");
                }
                Err(reason) => self.look_instead(&reason),
            }
        }
        is_outdated
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

/// Comes once an interval is over; never, if it is zero.
async fn tick(begin: Instant, interval: Duration) {
    if interval.is_zero() {
        return std::future::pending().await;
    }
    sleep_until(begin + interval).await;
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tokio::time::sleep;

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

    /// As git-sync and the mounts of Kubernetes do it.
    #[cfg(unix)]
    #[tokio::test(start_paused = true)]
    async fn a_repository_that_is_exchanged_is_looked_at_and_watched_from_then_on() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let link = |to: &str| {
            std::os::unix::fs::symlink(at(to), at("next")).unwrap();
            fs::rename(at("next"), at("models")).unwrap();
        };
        for folder in ["first", "second"] {
            fs::create_dir(at(folder)).unwrap();
        }
        link("first");
        // Looks at intervals come as before, however often the place is looked at.
        let mut changes = Changes::of(&at("models"), true, 3 * UNSEEN);
        assert!(took(&mut changes).await >= 3 * UNSEEN);
        link("second");
        let time = took(&mut changes).await;
        assert!(UNSEEN <= time && time < 2 * UNSEEN, "{time:?}");
        assert!(!changes.watch.as_ref().unwrap().is_outdated(&at("models")));
        // A folder that is away is no other one.
        fs::rename(at("second"), at("away")).unwrap();
        assert!(!changes.watch_elsewhere());
        fs::create_dir(at("second")).unwrap();
        assert!(changes.watch_elsewhere());
    }
}
