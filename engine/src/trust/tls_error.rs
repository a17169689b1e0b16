//! Why TLS ends a connection, in words for operators.

use super::fingerprint::Fingerprint;
use super::shown::TrustError;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
use understudy_session::NodeName;

/// Why TLS ends a connection.
#[derive(thiserror::Error, Clone, PartialEq, Debug)]
pub enum TlsError {
    /// The peer's certificate is not taken.
    #[error("The other end is not trusted: {0}")]
    Untrusted(TrustError),
    /// The authority's certificate has expired, was revoked, or is not valid yet.
    #[error("The other end is not trusted: its certificate is no good by the authority's word: {0}")]
    NotVouched(CertificateError),
    /// The peer does not accept our certificate.
    #[error(
        "The other end does not trust this end's certificate ({0:?}); put own.crt of here into its directory as \
         trust/NAME.crt, with the name that this end has, and reload it"
    )]
    NotTrusted(AlertDescription),
    /// The peer does not speak TLS.
    #[error(
        "The other end does not speak TLS; start both ends with --tls, or neither, and check the address"
    )]
    NotTls,
    /// The peer closed the connection before it had shown who it is.
    #[error(
        "The other end closed the connection before it had shown a certificate; check that it is an understudy engine, and \
         started with --tls as this end is"
    )]
    EndedEarly,
    /// The peer shows no certificate.
    #[error(
        "The other end shows no certificate; check that it is an understudy engine of this or a later version"
    )]
    NoCertificate,
    /// The peer speaks another protocol inside TLS.
    #[error("The other end speaks TLS and is no understudy engine; check the address")]
    NotALink,
    /// A node joined by an invitation; the connection has served its purpose.
    #[error("{name} joined by its invitation, with the certificate {fingerprint}")]
    Joined { name: NodeName, fingerprint: Fingerprint },
    /// A node tried to join and was refused.
    #[error("Somebody wanted to join: {0}")]
    NotJoined(String),
    /// The certificates were reloaded during the handshake.
    #[error("The certificates were read anew; connecting again")]
    Reloaded,
    /// The peer's certificate was removed while the link was up.
    #[error("The certificate of {0} is not trusted any more: it was removed here, or taken back")]
    Revoked(String),
    /// Anything else: versions, damage, an alert.
    #[error("TLS ended the connection: {0}")]
    Failed(Error),
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidCertificate(CertificateError::Other(other)) => {
                match other.0.downcast_ref::<TrustError>() {
                    Some(why) => Self::Untrusted(why.clone()),
                    None => Self::Failed(Error::InvalidCertificate(CertificateError::Other(other))),
                }
            }
            Error::InvalidCertificate(why) => Self::NotVouched(why),
            Error::InvalidMessage(InvalidMessage::InvalidContentType) => Self::NotTls,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::NoApplicationProtocol | Error::AlertReceived(AlertDescription::NoApplicationProtocol) => {
                Self::NotALink
            }
            Error::AlertReceived(
                alert @ (AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied),
            ) => Self::NotTrusted(alert),
            error => Self::Failed(error),
        }
    }
}

impl TlsError {
    /// Whether a retry is useless until an operator has changed something.
    pub fn needs_a_person(&self) -> bool {
        !matches!(self, Self::EndedEarly | Self::Reloaded | Self::Failed(_))
    }
}
