//! Threads where memory may be short. One that has started and then lacks some of what it needs ends the process.

use std::{
    hint::black_box,
    io,
    sync::mpsc,
    thread::{self, Scope, ScopedJoinHandle},
};

/// Bytes for the stacks of a thread, and some for what others take meanwhile.
const NEEDED: usize = 16 << 20;

/// Whether there is memory for a thread.
pub(super) fn room_for_one() -> io::Result<()> {
    let mut room = Vec::<u8>::new();
    let reserved = room.try_reserve_exact(NEEDED);
    // What nobody looks at is not even reserved.
    black_box(room);
    reserved.map_err(|_| io::ErrorKind::OutOfMemory.into())
}

/// Starts a thread, and waits until it runs: what the caller takes next cannot be what the thread lacks.
///
/// # Errors
/// Where there is no memory for it, or the system has no more threads.
pub(super) fn start_scoped<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    room_for_one()?;
    let (runs, starts) = mpsc::sync_channel(1);
    let thread = thread::Builder::new().spawn_scoped(scope, move || {
        // Whoever starts it waits for this.
        let _ = runs.send(());
        work()
    })?;
    // It fails only after a panic of the thread, which whoever joins it learns.
    let _ = starts.recv();
    Ok(thread)
}
