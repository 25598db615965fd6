//! Files on a disk that may stand still, as one of a network does: nobody waits for it longer than a few seconds.

use std::{
    fs, io,
    io::Write,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tempfile::NamedTempFile;

/// How long whoever asks waits for a disk that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce() + Send>;

/// A thread that reads and writes for everybody, one after the other. It begins with the first work. While it is held
/// up by what nobody waits for any more, nothing is asked of it.
#[derive(Debug)]
pub(super) struct Disk {
    patience: Duration,
    thread: Mutex<Option<mpsc::Sender<Work>>>,
    /// What was given up and is not over yet.
    given_up: Mutex<Weak<AtomicBool>>,
}

impl Default for Disk {
    fn default() -> Self {
        Self::with_patience(PATIENCE)
    }
}

impl Disk {
    pub(super) fn with_patience(patience: Duration) -> Self {
        Self {
            patience,
            thread: Mutex::default(),
            given_up: Mutex::default(),
        }
    }

    /// What comes of `work`.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        self.ask_or_undo(work, || ())
    }

    /// The same. If nobody waits any more when it is over, whoever asked was told that it failed, and it is undone.
    pub(super) fn ask_or_undo<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
        undo: impl FnOnce() + Send + 'static,
    ) -> io::Result<T> {
        let silent = || io::Error::new(io::ErrorKind::TimedOut, "its disk does not answer");
        let given_up = || self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        if given_up().strong_count() > 0 {
            return Err(silent());
        }
        // Whoever sends hears whether it was received.
        let (tell, told) = mpsc::sync_channel(0);
        let is_given_up = Arc::new(AtomicBool::new(false));
        let own = Arc::clone(&is_given_up);
        self.begin(Box::new(move || {
            if !own.load(Ordering::Acquire) && tell.send(work()).is_err() {
                undo();
            }
        }))?;
        told.recv_timeout(self.patience).unwrap_or_else(|_| {
            is_given_up.store(true, Ordering::Release);
            *given_up() = Arc::downgrade(&is_given_up);
            Err(silent())
        })
    }

    fn begin(&self, work: Work) -> io::Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        let works = match &*thread {
            Some(works) => works,
            None => {
                let (works, coming) = mpsc::channel::<Work>();
                thread::Builder::new()
                    .name("disk".to_owned())
                    .spawn(move || coming.into_iter().for_each(|work| work()))?;
                thread.insert(works)
            }
        };
        works.send(work).map_err(|_| io::Error::other("its thread has ended"))
    }
}

/// A new file that holds these bytes, in a folder that is made where it is not there. It is gone when it is dropped
/// before it gets a name.
pub(super) fn written(folder: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    fs::create_dir_all(folder)?;
    let mut written = NamedTempFile::new_in(folder)?;
    written.write_all(bytes)?;
    Ok(written)
}

#[cfg(test)]
impl Disk {
    /// Has it stand still until what is answered is dropped.
    pub(super) fn hold_up(&self) -> mpsc::Sender<()> {
        let (back, is_back) = mpsc::channel();
        self.begin(Box::new(move || is_back.recv().unwrap_or_default()))
            .unwrap();
        back
    }

    /// Waits until all is done that was asked for.
    pub(super) fn wait(&self) {
        let (tell, told) = mpsc::channel();
        self.begin(Box::new(move || tell.send(()).unwrap())).unwrap();
        told.recv().unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_stands_still_is_not_waited_for_and_used_again_when_it_is_back() {
        let mut disk = Disk::with_patience(Duration::from_millis(1));
        let back = disk.hold_up();
        let (tell, told) = mpsc::channel();
        let late = disk.ask(move || tell.send(()).map_err(io::Error::other));
        assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        disk.patience = Duration::from_secs(60);
        let next = disk.ask(|| Ok(()));
        assert_eq!(next.unwrap_err().kind(), io::ErrorKind::TimedOut);

        drop(back);
        disk.wait();
        assert!(told.recv().is_err(), "what was given up before it began is not done");
        let on = || disk.ask(|| Ok(thread::current().id())).unwrap();
        assert_eq!(on(), on(), "one thread does it all");
        let failed = disk.ask(|| Err::<(), _>(io::ErrorKind::NotFound.into()));
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_over_when_nobody_waits_any_more_is_undone() {
        let disk = Disk::with_patience(Duration::from_millis(1));
        // It may be given up before it begins.
        loop {
            let (back, is_back) = mpsc::channel::<()>();
            let (undone, is_undone) = mpsc::channel();
            let work = move || {
                is_back.recv().unwrap_or_default();
                Ok(())
            };
            let undo = move || undone.send(()).unwrap();
            assert!(disk.ask_or_undo(work, undo).is_err());
            drop(back);
            if is_undone.recv().is_ok() {
                break;
            }
        }
    }
}
