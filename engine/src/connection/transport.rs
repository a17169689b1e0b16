//! Which connections are allowed: the place where the link's security is decided, once.
//!
//! ```text
//!   plain   proves nothing about its other end: loopback only
//!   TLS     both ends have shown a certificate that the other trusts, before a byte of the link: any address
//! ```
//!
//! A node or a witness has one kind for all its connections. Not here: certificates ([`crate::trust`]), and bytes
//! ([`Channel`](super::Channel)).

use crate::trust::{Credentials, CredentialsError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use understudy_session::NodeName;

/// How two engines trust each other's bytes, as it is configured.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Transport {
    /// TCP without any authentication, between processes of one machine.
    #[default]
    PlainLoopback,
    /// Mutual TLS.
    Tls {
        /// Where this end's certificate and those that it trusts are.
        directory: PathBuf,
    },
}

/// Why an address may not be used.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum TransportError {
    /// A plain connection would leave the machine.
    #[error(
        "{0} is not a loopback address, and a link to another machine needs mutual TLS: make a certificate with \
         `understudy keygen`, and give its directory as --tls"
    )]
    PlainBeyondLoopback(SocketAddr),
}

impl Transport {
    /// Whether `address` may be listened on, connected to, or accepted from.
    pub fn admit(&self, address: SocketAddr) -> Result<SocketAddr, TransportError> {
        match self {
            Self::PlainLoopback if !address.ip().to_canonical().is_loopback() => {
                Err(TransportError::PlainBeyondLoopback(address))
            }
            Self::PlainLoopback | Self::Tls { .. } => Ok(address),
        }
    }
}

/// A transport that connections can be made by.
#[derive(Clone, Debug)]
pub enum Security {
    /// Nobody proves anything.
    PlainLoopback,
    /// Each end shows a certificate.
    Tls(Arc<Credentials>),
}

impl Security {
    /// Reads what the transport needs, for the end that is called `this`.
    pub fn open(transport: &Transport, this: &NodeName) -> Result<Self, CredentialsError> {
        Ok(match transport {
            Transport::PlainLoopback => Self::PlainLoopback,
            Transport::Tls { directory } => Self::Tls(Arc::new(Credentials::load(directory, this)?)),
        })
    }

    /// What this end shows and whom it trusts, where connections have TLS.
    pub fn credentials(&self) -> Option<&Credentials> {
        match self {
            Self::PlainLoopback => None,
            Self::Tls(credentials) => Some(credentials),
        }
    }

    /// Until when an authority vouches for this end, in seconds since 1970; `None` if none does.
    pub fn expires_at(&self) -> Option<u64> {
        Some(self.credentials()?.expires_at()?.as_secs())
    }

    /// Whether a connection from this address may be taken.
    pub fn admit(&self, remote: SocketAddr) -> Result<SocketAddr, TransportError> {
        match self {
            Self::PlainLoopback => Transport::PlainLoopback.admit(remote),
            Self::Tls(_) => Ok(remote),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_link_stays_on_the_machine() {
        let tls = Transport::Tls { directory: "/etc/understudy/tls".into() };
        for address in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(Transport::PlainLoopback.admit(address.parse().unwrap()).is_ok(), "{address}");
            assert!(tls.admit(address.parse().unwrap()).is_ok(), "{address}");
        }
        for address in ["0.0.0.0:1", "192.0.2.1:1", "[::]:1", "[2001:db8::1]:1"] {
            assert!(Transport::PlainLoopback.admit(address.parse().unwrap()).is_err(), "{address}");
            assert!(tls.admit(address.parse().unwrap()).is_ok(), "{address}");
        }
    }
}
