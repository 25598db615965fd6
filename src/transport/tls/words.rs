//! What is wrong with files of certificates and keys, and why a handshake failed, in words that say what would be
//! right. Nothing here reads files or keeps connections.

use std::{io, path::Path};

use rustls::{CertificateError, Error, InconsistentKeys, pki_types::pem};

/// What is wrong with the PEM of a file that should hold `what`.
pub(super) fn of_pem(error: &pem::Error, what: &str) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            let name = text(end_marker);
            format!(
                "it ends before the line -----END {name}-----, as if it were half written: write it beside, and rename \
                 it into place"
            )
        }
        pem::Error::IllegalSectionStart { line } => {
            let line = text(line);
            format!("{line:?} begins nothing: a line such as -----BEGIN CERTIFICATE----- does")
        }
        pem::Error::Base64Decode(reason) => format!("between its lines of dashes there is no Base64: {reason}"),
        pem::Error::NoItemsFound => format!("there is no {what} in PEM in it"),
        other => other.to_string(),
    }
}

/// What is wrong with a certificate.
pub(super) fn of_certificate(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(CertificateError::BadEncoding) => {
            "what is between its lines of dashes is no X.509 certificate".to_owned()
        }
        other => other.to_string(),
    }
}

/// Why a key is not usable with the certificate of a file, if that is what is wrong.
pub(super) fn of_pair(error: &Error, certificate: &Path) -> Option<String> {
    let certificate = certificate.display();
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => Some(format!(
            "it is not the private key of {certificate}: that certificate was issued for another one"
        )),
        Error::General(reason) => Some(format!(
            "it is no private key that can be used: {reason}; RSA of 2048 bits, ECDSA (P-256, P-384) and Ed25519 can"
        )),
        _ => None,
    }
}

/// Why a handshake failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// One of a few words, for a label.
    pub(crate) reason: &'static str,
    /// What it means.
    pub(crate) meaning: String,
    /// Whether somebody has to do something about it. Who only looks whether the port is open need not.
    pub(crate) is_a_fault: bool,
}

impl Failure {
    fn fault(reason: &'static str, meaning: &str) -> Self {
        Self {
            reason,
            meaning: meaning.to_owned(),
            is_a_fault: true,
        }
    }

    /// The client took too long.
    pub(crate) fn late() -> Self {
        Self::fault("timeout", "the client did not go on with the handshake in time")
    }
}

/// Why a handshake ended in this error.
pub(crate) fn failure(error: &io::Error) -> Failure {
    let Some(own) = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        return Failure {
            reason: "closed",
            meaning: error.to_string(),
            is_a_fault: false,
        };
    };
    match own {
        Error::NoCertificatesPresented => Failure::fault(
            "no_client_certificate",
            "the client showed no certificate, which --tls-client-ca wants of everybody",
        ),
        Error::InvalidCertificate(refusal) => of_client(refusal),
        Error::AlertReceived(alert) => Failure::fault(
            "refused_by_client",
            &format!(
                "the client broke off with {alert:?}: it may not trust the server's certificate, or its name or dates"
            ),
        ),
        Error::InvalidMessage(_) => {
            Failure::fault("no_tls", "the client does not speak TLS: its URL must begin with https")
        }
        Error::PeerIncompatible(reason) => Failure::fault(
            "incompatible",
            &format!(
                "the client knows no version of TLS from 1.2 on, or no cipher of it, that the server knows: {reason:?}"
            ),
        ),
        other => Failure::fault("other", &other.to_string()),
    }
}

/// Why a client's certificate was refused.
fn of_client(refusal: &CertificateError) -> Failure {
    use CertificateError as E;
    match refusal {
        E::Expired | E::ExpiredContext { .. } => Failure::fault(
            "client_certificate_expired",
            "the client's certificate has expired, if the clock of this machine is right",
        ),
        E::NotValidYet | E::NotValidYetContext { .. } => Failure::fault(
            "client_certificate_not_valid_yet",
            "the client's certificate does not hold yet: is the clock of this machine right?",
        ),
        E::Revoked => Failure::fault(
            "client_certificate_revoked",
            "the client's certificate was revoked: its issuer has it in --tls-client-crl",
        ),
        // An issuer of a known name with another key is another one, too.
        E::UnknownIssuer | E::BadSignature => Failure::fault(
            "unknown_issuer",
            "the client's certificate comes from none of the issuers in --tls-client-ca, by name and key, or \
             certificates between are missing",
        ),
        E::UnknownRevocationStatus => Failure::fault(
            "unknown_revocation",
            "--tls-client-crl holds no list of an issuer of the client's certificate: each of them wants one",
        ),
        other => Failure::fault(
            "client_certificate_unusable",
            &format!("the client's certificate is refused: {other}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_of_a_few_words_and_a_look_at_the_port_is_no_fault() {
        let of = |error: Error| failure(&io::Error::new(io::ErrorKind::InvalidData, error));
        let expired = of(Error::InvalidCertificate(CertificateError::Expired));
        assert_eq!(
            (expired.reason, expired.is_a_fault),
            ("client_certificate_expired", true)
        );
        assert!(
            of(Error::InvalidCertificate(CertificateError::UnknownIssuer))
                .meaning
                .contains("--tls-client-ca")
        );
        let closed = failure(&io::ErrorKind::UnexpectedEof.into());
        assert_eq!((closed.reason, closed.is_a_fault), ("closed", false));
    }
}
