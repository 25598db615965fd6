//! The signals that the server answers. Those that come while it starts wait until it can answer them: by their
//! default, which is to end the process, they would end it without a word, or be lost on the first process of a
//! container.

use std::{io, ptr};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// All that say something to the server, or would end it though they say nothing.
fn all() -> [SignalKind; 6] {
    [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
        SignalKind::user_defined1(),
        SignalKind::user_defined2(),
        // What is written beyond a limit of size then fails like any other write.
        SignalKind::from_raw(libc::SIGXFSZ),
    ]
}

/// From now on they wait. Must be called before there are other threads, which take over that they wait.
pub(super) fn hold() -> io::Result<()> {
    mask(libc::SIG_BLOCK)
}

fn mask(how: libc::c_int) -> io::Result<()> {
    // SAFETY: the set is filled before it is read, by functions that get nothing but a pointer to it and numbers of
    // signals, and the system keeps no pointer to it. A set of zeros is a valid value of the type.
    #[allow(unsafe_code)]
    let failed = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for kind in all() {
            libc::sigaddset(&raw mut set, kind.as_raw_value());
        }
        libc::pthread_sigmask(how, &raw const set, ptr::null_mut())
    };
    match failed {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// What has come of them, those included that waited.
pub(super) struct Signals {
    /// Those that end the server.
    pub(super) stops: Stops,
    /// Asks for a look at the repository.
    pub(super) rescan: Signal,
    /// Asks for keys and certificates to be read again.
    pub(super) reload: Signal,
}

impl Signals {
    /// Must be called on the thread that held them, within the asynchronous runtime.
    pub(super) fn listen() -> io::Result<Self> {
        for kind in all() {
            // To most nobody listens; the system's own answer, the end, is taken away all the same.
            drop(signal(kind)?);
        }
        let own = Self {
            stops: Stops {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            rescan: signal(SignalKind::hangup())?,
            reload: signal(SignalKind::hangup())?,
        };
        mask(libc::SIG_UNBLOCK)?;
        Ok(own)
    }
}

/// The signals that end the server.
pub(super) struct Stops {
    terminate: Signal,
    interrupt: Signal,
}

impl Stops {
    pub(super) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
