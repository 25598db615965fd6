//! Threads that answer beside threads that compute: whoever has something to say to a client does not wait until a
//! worker has used up its time.

/// The time that the system gives such a thread at once, in nanoseconds: the shortest that Linux knows. A thread that
/// wakes up with less to do than the one that runs goes first, without getting more in the long run. Before Linux 6.12
/// it changes nothing.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
const SLICE: u64 = 100_000;

/// Makes the calling thread one that is not kept waiting.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
pub fn be_prompt() {
    if let Some(mut own) = attributes() {
        own.sched_runtime = SLICE;
        // SAFETY: the pointer is to a structure whose size it tells, and the system only reads it, before it returns.
        // Thread 0 is the calling one. Where it is not allowed, all goes on as before.
        #[allow(unsafe_code)]
        let _ = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const own, 0) };
    }
}

/// How the system runs the calling thread, if it does so as it does with ordinary ones.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn attributes() -> Option<libc::sched_attr> {
    let size = std::mem::size_of::<libc::sched_attr>();
    let mut own = libc::sched_attr {
        size: size as u32,
        sched_policy: 0,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: 0,
        sched_runtime: 0,
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: the pointer is to a structure of the size that is told, which the system writes before it returns.
    #[allow(unsafe_code)]
    let failed = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut own, size, 0) };
    (failed == 0 && own.sched_policy == libc::SCHED_OTHER as u32).then_some(own)
}

/// Makes the calling thread one that is not kept waiting, where the system knows how.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
pub fn be_prompt() {}

#[cfg(all(test, target_os = "linux", target_pointer_width = "64"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_answers_has_a_short_turn_and_nothing_else_of_its_own() {
        let before = attributes();
        be_prompt();
        let (Some(before), Some(after)) = (before, attributes()) else {
            return;
        };
        // Older systems tell of no time.
        assert!([0, SLICE].contains(&after.sched_runtime), "{}", after.sched_runtime);
        assert_eq!(after.sched_nice, before.sched_nice);
    }
}
