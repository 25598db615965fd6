//! The binary: sets what must be set before any thread exists, then hands over to the command line.

use std::env;

/// Requests come and go in many small pieces and some of a few kilobytes, on several threads: the allocator of the C
/// library gives a tenth to a sixth fewer answers of a small graph. What ONNX Runtime takes comes from there all the
/// same. On other processors the size of a page would have to be known when this is built.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What is free goes back to the system at once: kept for a second, it doubled what bodies took that grow while they
/// are unpacked. It costs nothing that shows, for small blocks stay with their threads. These tidy up after a megabyte:
/// after 64 KB, as they would, it is a twentieth of what the server itself does for a small request.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[allow(unsafe_code)]
// SAFETY: the allocator reads a string that ends with zero behind the pointer of this name, and nobody else has it.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &[u8; 56] = b"dirty_decay_ms:0,narenas:4,tcache_gc_incr_bytes:1048576\0";

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
