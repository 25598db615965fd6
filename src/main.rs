//! The binary: sets what must be set before any thread exists, then hands over to the command line.

use std::env;

/// Blocks of so many bytes go back to the system when they are freed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BLOCK: libc::c_int = 512 << 10;

/// How many there are for this process, two where nobody knows.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn processors() -> libc::c_int {
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    libc::c_int::try_from(processors.max(2)).unwrap_or(libc::c_int::MAX)
}

fn main() -> ! {
    // SAFETY: this is the first statement of the process. No other thread exists that could read or write the
    // environment at the same time.
    #[allow(unsafe_code)]
    unsafe {
        // Official builds of ONNX Runtime send usage data unless this is set before they are loaded.
        env::set_var("ORT_DISABLE_TELEMETRY", "1");
        // Left to itself, the allocator takes weights for something that comes again: once a large block was freed, it
        // keeps blocks of that size, and what a model needed while it loaded stays taken.
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BLOCK);
        // Each heap of its own reserves 64 MB of addresses, and what is free in one is of no use to the others. More of
        // them than processors spare no waiting; left to itself, the allocator makes eight for each.
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        libc::mallopt(libc::M_ARENA_MAX, processors());
    }
    density_server::cli::run(env::args_os())
}
