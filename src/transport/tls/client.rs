//! The certificate that a client showed when it connected, for as long as the connection stands: lists of revoked
//! certificates and roots are read again meanwhile, and time goes on. What becomes of the connection is up to those who
//! serve it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::time::sleep;

use super::{Current, Tls, Validity};

/// How often the machine's clock is looked at, which may be set.
const LOOK: Duration = Duration::from_secs(60);

/// What one client showed.
#[derive(Debug, Clone)]
pub(crate) struct ClientCertificate(Arc<Shown>);

#[derive(Debug)]
struct Shown {
    tls: Arc<Tls>,
    chain: Vec<CertificateDer<'static>>,
    validity: Option<Validity>,
    judged: Mutex<Judged>,
}

/// What was found with the files of one generation.
#[derive(Debug, Clone, Copy)]
struct Judged {
    generation: u64,
    is_good: bool,
}

impl ClientCertificate {
    /// What was good by the files of this generation.
    pub(super) fn new(tls: &Arc<Tls>, chain: &[CertificateDer<'_>], generation: u64) -> Self {
        Self(Arc::new(Shown {
            tls: Arc::clone(tls),
            chain: chain.iter().map(|own| own.clone().into_owned()).collect(),
            validity: Validity::of(chain),
            judged: Mutex::new(Judged {
                generation,
                is_good: true,
            }),
        }))
    }

    /// Whether its client would be let in now.
    pub(crate) fn is_good(&self) -> bool {
        self.0.is_good(now())
    }

    /// Comes when its client would not be let in any more.
    pub(crate) async fn withdrawn(&self) {
        let mut changed = self.0.tls.changed.subscribe();
        loop {
            let now = now();
            if !self.0.is_good(now) {
                return;
            }
            let rest = self.0.validity.map_or(LOOK, |own| {
                Duration::from_secs((own.end + 1).saturating_sub(now)).min(LOOK)
            });
            tokio::select! {
                // The sender lives for as long as what this has of it.
                _ = changed.changed() => {}
                () = sleep(rest) => {}
            }
        }
    }
}

impl Shown {
    fn is_good(&self, now: u64) -> bool {
        self.validity.is_none_or(|own| now <= own.end) && self.is_trusted()
    }

    /// Whether the files that were read last have nothing against it.
    fn is_trusted(&self) -> bool {
        let current = self.tls.current.load();
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        if judged.generation != current.generation {
            *judged = Judged {
                generation: current.generation,
                is_good: self.would_be_let_in(&current),
            };
        }
        judged.is_good
    }

    fn would_be_let_in(&self, current: &Current) -> bool {
        let (Some(clients), Some((own, between))) = (&current.clients, self.chain.split_first()) else {
            return true;
        };
        clients.verify_client_cert(own, between, UnixTime::now()).is_ok()
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
