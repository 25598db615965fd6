//! Lines of the log on their way out. While a server runs, a thread of its own writes them: whoever logs only leaves a
//! line here, so that no request waits for whoever reads the log, not even for one that has stopped reading. Lines for
//! which there is no room any more are lost, and their number is told.

use std::{
    io::{self, Write},
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Bytes that may wait.
const ROOM: usize = 1 << 20;

/// How long lines gather, since waking a thread for each would take longer than writing it.
const GATHERING: Duration = Duration::from_millis(5);

/// How long the end of the process waits for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Lines on their way.
#[derive(Debug)]
pub(super) struct Lines {
    state: Mutex<State>,
    arrived: Condvar,
    written: Condvar,
}

#[derive(Debug)]
struct State {
    /// Whether a thread writes them; else whoever logs does.
    is_apart: bool,
    waiting: Vec<u8>,
    /// Whether the thread has lines in hand.
    is_writing: bool,
    lost: u64,
}

impl Lines {
    pub(super) const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                is_apart: false,
                waiting: Vec::new(),
                is_writing: false,
                lost: 0,
            }),
            arrived: Condvar::new(),
            written: Condvar::new(),
        }
    }

    /// From now on a thread writes the lines to standard error, until [`Self::end`].
    pub(super) fn begin(&'static self) -> io::Result<()> {
        self.state().is_apart = true;
        let work = || self.work(&mut io::stderr());
        match thread::Builder::new().name("log".to_owned()).spawn(work) {
            Ok(_) => Ok(()),
            Err(error) => {
                self.state().is_apart = false;
                Err(error)
            }
        }
    }

    /// Has the last lines written, if somebody reads them. From now on whoever logs writes.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.is_apart = false;
        self.arrived.notify_all();
        let is_under_way = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        drop(self.written.wait_timeout_while(state, LAST_LINES, is_under_way));
    }

    /// Takes a line. Does not wait.
    fn leave(&self, line: &[u8], mut now: impl Write) -> io::Result<()> {
        let mut state = self.state();
        if !state.is_apart {
            drop(state);
            return now.write_all(line);
        }
        if state.waiting.len() + line.len() > ROOM {
            state.lost += 1;
            return Ok(());
        }
        let is_first = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if is_first {
            self.arrived.notify_all();
        }
        Ok(())
    }

    /// Writes what comes, until the end.
    fn work(&self, out: &mut dyn Write) {
        let mut lines = Vec::new();
        loop {
            let is_idle = |state: &mut State| state.is_apart && state.waiting.is_empty();
            let state = self.arrived.wait_while(self.state(), is_idle);
            let mut state = state.unwrap_or_else(PoisonError::into_inner);
            if state.waiting.is_empty() {
                return;
            }
            if state.is_apart {
                drop(state);
                thread::sleep(GATHERING);
                state = self.state();
            }
            mem::swap(&mut state.waiting, &mut lines);
            state.is_writing = true;
            drop(state);
            // Where nobody listens there is nobody to tell.
            let _ = out.write_all(&lines);
            lines.clear();
            let mut state = self.state();
            let lost = mem::take(&mut state.lost);
            state.is_writing = false;
            drop(state);
            self.written.notify_all();
            if lost > 0 {
                tracing::warn!(
                    lost,
                    "lines of the log were lost: they are not read as fast as they are written"
                );
            }
        }
    }

    // A panic while it was held left at worst half a line.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for &Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.leave(bytes, io::stderr()).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Tells what is written, and goes on when it may.
    struct Stalling(mpsc::Sender<Vec<u8>>, mpsc::Receiver<()>);

    impl Write for Stalling {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            self.1.recv().unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_and_what_there_is_no_room_for_is_counted() {
        let lines = Lines::new();
        lines.state().is_apart = true;
        let (told, writes) = mpsc::channel();
        let (goes_on, may) = mpsc::channel();
        let leave = |line: &[u8]| lines.leave(line, io::sink()).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| lines.work(&mut Stalling(told, may)));
            leave(b"first\n");
            assert_eq!(writes.recv().unwrap(), b"first\n");
            // The reader stands still.
            let line = [b'x'; 1 << 10];
            (0..ROOM / line.len() + 7).for_each(|_| leave(&line));
            assert_eq!(lines.state().lost, 7);
            goes_on.send(()).unwrap();
            assert_eq!(writes.recv().unwrap().len(), ROOM);
            assert_eq!(lines.state().lost, 0, "told");
            leave(b"last\n");
            goes_on.send(()).unwrap();
            assert_eq!(writes.recv().unwrap(), b"last\n");
            goes_on.send(()).unwrap();
            lines.end();
        });
    }

    #[test]
    fn without_a_thread_whoever_logs_writes() {
        let lines = Lines::new();
        let mut out = Vec::new();
        lines.leave(b"now\n", &mut out).unwrap();
        assert_eq!(out, b"now\n");
        lines.end();
    }
}
