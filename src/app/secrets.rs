//! Keys and certificates of a running server: their files are read again when somebody asks for it.

use std::sync::Arc;

use crate::{access::Access, transport::tls::Tls};

/// Keys and certificates, which are read again while the server runs.
#[derive(Debug)]
pub struct Secrets {
    access: Arc<Access>,
    tls: Option<Arc<Tls>>,
    /// What was wrong at the last look: it is told once.
    wrong: Option<String>,
}

impl Secrets {
    pub(super) fn new(access: &Arc<Access>, tls: Option<&Arc<Tls>>) -> Self {
        Self {
            access: Arc::clone(access),
            tls: tls.cloned(),
            wrong: None,
        }
    }

    /// Whether there is anything to look at.
    pub fn are_watched(&self) -> bool {
        self.access.has_keys() || self.tls.is_some()
    }

    /// Takes what the files hold now. What cannot be used is told, and changes nothing.
    pub fn reload(&mut self) {
        let keys = self.access.reload().map_err(|error| error.to_string());
        let tls = self.tls.as_ref().map_or(Ok(false), |tls| tls.reload());
        let tls = tls.map_err(|error| error.to_string());
        if let Ok(Some(count)) = keys {
            tracing::info!(count, "keys are read again");
        }
        if tls == Ok(true) {
            tracing::info!("certificates are read again");
        }
        let wrong = keys.err().or(tls.err());
        if let Some(wrong) = wrong.as_ref().filter(|&wrong| self.wrong.as_ref() != Some(wrong)) {
            tracing::error!(error = wrong, "keys and certificates stay as they are");
        }
        self.wrong = wrong;
    }
}
