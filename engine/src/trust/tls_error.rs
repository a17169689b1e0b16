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
    /// The authority's word is not good any more, or not yet.
    #[error("The other end is not trusted: its certificate is no good by the authority's word: {0}")]
    NotVouched(CertificateError),
    /// The peer does not take ours.
    #[error(
        "The other end does not trust this end's certificate ({0:?}); put own.crt of here into its directory as \
         trust/NAME.crt, with the name that this end has, and reload it"
    )]
    NotTrusted(AlertDescription),
    /// The peer speaks something else.
    #[error(
        "The other end does not speak TLS; start both ends with --tls, or neither, and check the address"
    )]
    NotTls,
    /// The peer has gone before anybody knew who it is.
    #[error(
        "The other end closed the connection before it had shown a certificate; check that it is an understudy engine, and \
         started with --tls as this end is"
    )]
    EndedEarly,
    /// The peer shows nothing.
    #[error(
        "The other end shows no certificate; check that it is an understudy engine of this or a later version"
    )]
    NoCertificate,
    /// TLS with something else inside.
    #[error("The other end speaks TLS and is no understudy engine; check the address")]
    NotALink,
    /// Somebody joined by an invitation: this was all that the connection was for.
    #[error("{name} joined by its invitation, with the certificate {fingerprint}")]
    Joined {
        /// Its name.
        name: NodeName,
        /// What it shows.
        fingerprint: Fingerprint,
    },
    /// Somebody wanted to.
    #[error("Somebody wanted to join: {0}")]
    NotJoined(String),
    /// Whom to trust was read anew while a handshake was under way.
    #[error("The certificates were read anew; connecting again")]
    Reloaded,
    /// The certificate was taken back while the link stood.
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
    /// Whether trying again is of no use before a person has done something.
    pub fn needs_a_person(&self) -> bool {
        !matches!(self, Self::EndedEarly | Self::Reloaded | Self::Failed(_))
    }
}
