//! How the process ends.

use std::io::{self, Write};

/// Ends the process with this exit code, whatever other threads do.
///
/// A load gate that is under way, or work that was dropped, may still be inside ONNX Runtime. The ordinary end of a
/// process destroys the library's state under it, which crashes: exit code 139 instead of 0.
pub fn leave(code: u8) -> ! {
    crate::logging::end();
    // Whoever has closed the other end has been told of what was written before.
    let _ = io::stdout().flush();
    #[cfg(unix)]
    // SAFETY: `_exit` takes a number, touches no memory of the process and does not return.
    #[allow(unsafe_code)]
    unsafe {
        libc::_exit(code.into())
    }
    #[cfg(not(unix))]
    std::process::exit(code.into())
}
