//! Files and connections that the process may have open at once.

use crate::settings::Settings;

/// Descriptors that the server has open beside connections.
const OWN: u64 = 128;

/// What the server would have open at most.
pub fn wanted(settings: &Settings) -> u64 {
    settings.http.max_connections as u64 + OWN
}

/// What may be open at most, if there is a limit: the server raises a lower one that its user was given so far itself.
pub fn most() -> Option<u64> {
    #[cfg(unix)]
    return rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    #[cfg(not(unix))]
    None
}

/// Raises what may be open to what is wanted, as far as it goes.
pub fn raise(settings: &Settings) {
    let wanted = wanted(settings);
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let possible = maximum.map_or(wanted, |maximum| wanted.min(maximum));
        if current.is_some_and(|current| current < possible) {
            let raised = Rlimit {
                current: Some(possible),
                maximum,
            };
            if let Err(error) = setrlimit(Resource::Nofile, raised) {
                tracing::warn!(%error, "the limit of open files cannot be raised");
            }
        }
    }
    if let Some(most) = most().filter(|&most| most < wanted) {
        tracing::warn!(
            most,
            wanted,
            "few files may be open: beyond that, connections wait; raise `ulimit -Hn`, or lower --max-connections"
        );
    }
}
