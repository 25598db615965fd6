//! Keys and certificates of a running server: their files are read again when somebody asks for it, and what is wrong
//! with them is told before it hurts.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::{
    access::Access,
    metrics::Metrics,
    transport::tls::{Tls, Validity},
};

const DAY: u64 = 24 * 60 * 60;

/// Days before the end of a certificate from which on it is spoken of.
const SOON: u64 = 7;

/// What is spoken of, in the log and as a label.
const KEYS: &str = "keys";
const CERTIFICATES: &str = "certificates";

/// Keys and certificates, which are read again while the server runs.
#[derive(Debug)]
pub struct Secrets {
    access: Arc<Access>,
    tls: Option<Arc<Tls>>,
    metrics: Arc<Metrics>,
    /// What was wrong at the last look, by what it is: it is told once.
    wrong: BTreeMap<&'static str, String>,
    is_asked: bool,
    warned: BTreeSet<String>,
}

impl Secrets {
    pub(super) fn new(access: &Arc<Access>, tls: Option<&Arc<Tls>>, metrics: &Arc<Metrics>) -> Self {
        let kinds = [(KEYS, access.has_keys()), (CERTIFICATES, tls.is_some())];
        for (kind, _) in kinds.into_iter().filter(|(_, is_used)| *is_used) {
            metrics.secrets_failing.with_label_values(&[kind]).set(0);
        }
        Self {
            access: Arc::clone(access),
            tls: tls.cloned(),
            metrics: Arc::clone(metrics),
            wrong: BTreeMap::new(),
            is_asked: false,
            warned: BTreeSet::new(),
        }
    }

    /// Whether there is anything to look at.
    pub fn are_watched(&self) -> bool {
        self.access.has_keys() || self.tls.is_some()
    }

    /// Takes what the files hold now. What cannot be used changes nothing, and is told: once, and whenever somebody has
    /// asked.
    pub fn reload(&mut self, is_asked: bool) {
        self.is_asked = is_asked;
        if self.access.has_keys() {
            let keys = self.access.reload().map_err(|error| error.to_string());
            if let Some(Some(count)) = self.told(KEYS, keys) {
                tracing::info!(count, "keys are read again");
            }
        }
        if let Some(tls) = self.tls.clone() {
            let certificates = tls.reload().map_err(|error| error.to_string());
            if self.told(CERTIFICATES, certificates) == Some(true) {
                tracing::info!("certificates are read again");
            }
        }
        self.look();
    }

    /// Tells what was wrong with the files of one kind, once, and when nothing is any more.
    fn told<T>(&mut self, what: &'static str, outcome: Result<T, String>) -> Option<T> {
        let failing = self.metrics.secrets_failing.with_label_values(&[what]);
        failing.set(i64::from(outcome.is_err()));
        match outcome {
            Ok(found) => {
                if self.wrong.remove(what).is_some() {
                    tracing::info!("files of {what} can be used again");
                }
                Some(found)
            }
            Err(error) => {
                if self.is_asked || self.wrong.get(what) != Some(&error) {
                    tracing::error!(error, "{what} stay as they are");
                    self.wrong.insert(what, error);
                }
                None
            }
        }
    }

    /// Tells the log of new warnings, and the metrics how long the certificate holds.
    pub fn look(&mut self) {
        if let Some(Validity { end, .. }) = self.tls.as_ref().and_then(|tls| tls.validity()) {
            let expiry = self.metrics.tls_expiry.with_label_values::<&str>(&[]);
            expiry.set(i64::try_from(end).unwrap_or(i64::MAX));
        }
        let warnings: BTreeSet<String> = self.warnings().into_iter().collect();
        for warning in warnings.difference(&self.warned) {
            tracing::warn!("{warning}");
        }
        self.warned = warnings;
    }

    /// What is dangerous or about to end, and what to do about it.
    pub fn warnings(&self) -> Vec<String> {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let keys = self.access.file().into_iter().flat_map(|file| {
            let (is_exposed, file) = (allows(file, 0o022), file.display());
            let exposed = is_exposed.then(|| {
                format!(
                    "others than its owner can write the file of keys {file}, and so let anybody in: chmod go-w {file}"
                )
            });
            let empty = self.access.is_closed().then(|| {
                format!("there is no key in the file of keys {file}: nobody is let in; `density-server key` makes one")
            });
            exposed.into_iter().chain(empty)
        });
        let tls = self.tls.iter().flat_map(|tls| {
            let (certificate, key) = (&tls.files().certificate, &tls.files().key);
            let exposed = allows(key, 0o004).then(|| {
                let key = key.display();
                format!("every user of this machine can read the private key {key}: chmod o-r {key}")
            });
            let term = tls.validity().and_then(|validity| term(certificate, validity, now));
            exposed.into_iter().chain(term)
        });
        keys.chain(tls).collect()
    }
}

/// What is to be said of a certificate's time.
fn term(file: &Path, Validity { begin, end }: Validity, now: u64) -> Option<String> {
    let file = file.display();
    let cure = "put a new one there, which is read without a restart";
    if now > end {
        let days = (now - end) / DAY;
        return Some(format!(
            "the certificate {file} expired {days} days ago and clients refuse it: {cure}; or is the clock of this \
             machine wrong?"
        ));
    }
    if now < begin {
        return Some(format!(
            "the certificate {file} does not hold yet: is the clock of this machine right?"
        ));
    }
    let days = (end - now) / DAY;
    (days < SOON).then(|| format!("the certificate {file} expires in {days} days: {cure}"))
}

/// Whether a file may be used in one of these ways.
fn allows(file: &Path, mode: u32) -> bool {
    #[cfg(unix)]
    return file
        .metadata()
        .is_ok_and(|metadata| std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & mode != 0);
    #[cfg(not(unix))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_spoken_of_before_it_begins_when_it_is_about_to_end_and_after() {
        let validity = Validity {
            begin: 100 * DAY,
            end: 200 * DAY,
        };
        let said = |now| term(Path::new("tls.crt"), validity, now);
        assert_eq!(said(150 * DAY), None);
        assert_eq!(said(193 * DAY), None);
        assert!(said(99 * DAY).unwrap().contains("the clock of this machine"));
        assert!(said(193 * DAY + 1).unwrap().contains("expires in 6 days"));
        assert!(said(203 * DAY).unwrap().contains("expired 3 days ago"));
    }
}
