//! From when to when certificates hold. Nothing here reads files or looks at the clock.
//!
//! rustls keeps dates to itself, but names them when it refuses a certificate; so it is asked about a time before all
//! certificates and one after.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use rustls::{
    CertificateError, Error, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

/// After the last year that a certificate can name, 9999, in seconds since 1970.
const END_OF_TIME: u64 = 253_402_300_800;

/// The time in which all certificates of a chain hold, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub begin: u64,
    /// The last one.
    pub end: u64,
}

impl Validity {
    /// That of a chain; `None` if a certificate is not understood well enough.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let each = chain.iter().map(Self::of_one).collect::<Option<Vec<_>>>()?;
        Some(Self {
            begin: each.iter().map(|own| own.begin).max()?,
            end: each.iter().map(|own| own.end).min()?,
        })
    }

    fn of_one(certificate: &CertificateDer<'_>) -> Option<Self> {
        let begin = match refusal(certificate, 0)? {
            CertificateError::NotValidYetContext { not_before, .. } => not_before.as_secs(),
            _ => 0,
        };
        match refusal(certificate, END_OF_TIME)? {
            CertificateError::ExpiredContext { not_after, .. } => Some(Self {
                begin,
                end: not_after.as_secs(),
            }),
            _ => None,
        }
    }
}

/// Why a certificate is refused at a time. Dates are looked at before anything else, names and issuers included.
fn refusal(certificate: &CertificateDer<'_>, seconds: u64) -> Option<CertificateError> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone().into_owned()).ok()?;
    let provider = Arc::new(default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let nobody = ServerName::from(std::net::IpAddr::from(Ipv4Addr::UNSPECIFIED));
    match verifier.ok()?.verify_server_cert(certificate, &[], &nobody, &[], time) {
        Err(Error::InvalidCertificate(refusal)) => Some(refusal),
        _ => None,
    }
}
