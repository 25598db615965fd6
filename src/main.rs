//! The binary: sets what must be set before any thread exists, then hands over to the command line.

use std::env;

fn main() -> ! {
    // SAFETY: this is the first statement of the process. No other thread exists that could read or write the
    // environment at the same time.
    #[allow(unsafe_code)]
    unsafe {
        // Official builds of ONNX Runtime send usage data unless this is set before they are loaded.
        env::set_var("ORT_DISABLE_TELEMETRY", "1");
    }
    density_server::cli::run(env::args_os())
}
