//! Which witness a node has: ours, or etcd with what it asks of its clients.
//!
//! ```text
//!   witness = "127.0.0.1:7100"                        our own
//!   witness = "etcd://10.0.0.1:2379,10.0.0.2:2379/p"  etcd; table `etcd` has certificates and a user
//! ```

use super::ConfigError;
use super::human::{HumanError, parse_remote};
use crate::connection::{Transport, TransportError};
use crate::control::status::WitnessKind;
use crate::etcd::{Certificates, EtcdAddress, EtcdAddressError, EtcdConfig, User};
use serde::Deserialize;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// A witness as it may be given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WitnessAddress {
    /// Ours, and where it listens.
    Own(SocketAddr),
    /// etcd.
    Etcd(EtcdAddress),
}

impl FromStr for WitnessAddress {
    type Err = WitnessAddressError;

    fn from_str(text: &str) -> Result<Self, WitnessAddressError> {
        if EtcdAddress::is_meant_by(text) {
            return Ok(Self::Etcd(text.parse()?));
        }
        Ok(Self::Own(parse_remote(text)?))
    }
}

/// Why a text names no witness.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum WitnessAddressError {
    /// It begins as etcd's do.
    #[error(transparent)]
    Etcd(#[from] EtcdAddressError),
    /// It could be either.
    #[error("{0}; or etcd's members, such as etcd://10.0.0.1:2379,10.0.0.2:2379")]
    Own(#[from] HumanError),
}

/// What etcd asks of its clients, as it may be given.
#[derive(clap::Args, Deserialize, Clone, Default, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct EtcdSettings {
    /// With etcd as witness: a file in PEM with the authority that signed its servers' certificates.
    #[arg(long = "etcd-ca", value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// With etcd as witness: a file in PEM with this node's certificate for it.
    #[arg(long = "etcd-certificate", value_name = "FILE")]
    pub certificate: Option<PathBuf>,
    /// With etcd as witness: a file in PEM with that certificate's key.
    #[arg(long = "etcd-key", value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// With etcd as witness: the user to log in as, where etcd has users.
    #[arg(long = "etcd-user", value_name = "NAME")]
    pub user: Option<String>,
    /// With etcd as witness: a file with that user's password.
    #[arg(long = "etcd-password-file", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// A witness, decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WitnessConfig {
    /// Ours, and where it listens.
    Own(SocketAddr),
    /// etcd.
    Etcd(EtcdConfig),
}

impl WitnessConfig {
    /// Decides which witness there is, if any.
    pub fn decide(
        address: Option<WitnessAddress>,
        etcd: EtcdSettings,
        transport: &Transport,
    ) -> Result<Option<Self>, ConfigError> {
        match address {
            Some(WitnessAddress::Etcd(address)) => etcd.decide(address).map(Self::Etcd).map(Some),
            _ if etcd.says_something() => Err(ConfigError::Conflict(
                "Certificates or a user for etcd are given, and the witness is not etcd; give witness etcd://…, or leave them out"
                    .into(),
            )),
            Some(WitnessAddress::Own(address)) => Ok(Some(Self::Own(transport.admit(address)?))),
            None => Ok(None),
        }
    }

    /// What it is.
    pub fn kind(&self) -> WitnessKind {
        match self {
            Self::Own(_) => WitnessKind::Own,
            Self::Etcd(_) => WitnessKind::Etcd,
        }
    }

    /// Where our own witness listens; `None` if it is another.
    pub fn own(&self) -> Option<SocketAddr> {
        match self {
            Self::Own(address) => Some(*address),
            Self::Etcd(_) => None,
        }
    }
}

impl fmt::Display for WitnessConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(address) => address.fmt(f),
            Self::Etcd(config) => config.fmt(f),
        }
    }
}

impl EtcdSettings {
    pub(super) fn over(self, below: Self) -> Self {
        Self {
            ca: self.ca.or(below.ca),
            certificate: self.certificate.or(below.certificate),
            key: self.key.or(below.key),
            user: self.user.or(below.user),
            password_file: self.password_file.or(below.password_file),
        }
    }

    fn says_something(&self) -> bool {
        self.ca.is_some()
            || self.certificate.is_some()
            || self.key.is_some()
            || self.user.is_some()
            || self.password_file.is_some()
    }

    fn decide(self, address: EtcdAddress) -> Result<EtcdConfig, ConfigError> {
        let certificates = match (self.ca, self.certificate, self.key) {
            (Some(ca), Some(certificate), Some(key)) => Some(Certificates { ca, certificate, key }),
            (None, None, None) => None,
            _ => {
                return Err(ConfigError::Conflict(
                    "etcd is reached with an authority, a certificate and its key, or with none of them; give etcd-ca, \
                     etcd-certificate and etcd-key together"
                        .into(),
                ));
            }
        };
        let user = match (self.user, self.password_file) {
            (Some(name), Some(password_file)) => Some(User { name, password_file }),
            (None, None) => None,
            _ => {
                return Err(ConfigError::Conflict(
                    "A user of etcd has a name and a password; give etcd-user and etcd-password-file together".into(),
                ));
            }
        };
        // A plain connection proves nothing about its other end, whoever that is.
        if certificates.is_none() {
            for member in &address.members {
                Transport::PlainLoopback.admit(*member).map_err(|TransportError::PlainBeyondLoopback(member)| {
                    ConfigError::Conflict(format!(
                        "etcd at {member} is not on this machine, so it must be reached with certificates; give etcd-ca, \
                         etcd-certificate and etcd-key"
                    ))
                })?;
            }
        }
        Ok(EtcdConfig { address, certificates, user })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(witness: &str, etcd: &str) -> Result<Option<WitnessConfig>, ConfigError> {
        let etcd = toml::from_str(etcd).unwrap();
        WitnessConfig::decide(Some(witness.parse().unwrap()), etcd, &Transport::PlainLoopback)
    }

    #[test]
    fn a_witness_is_ours_or_etcd() {
        let own = decided("127.0.0.1:7000", "").unwrap().unwrap();
        assert_eq!((own.to_string(), own.own().is_some()), ("127.0.0.1:7000".into(), true));
        let files = "ca = \"/c\"\ncertificate = \"/n\"\nkey = \"/k\"\nuser = \"u\"\npassword_file = \"/p\"";
        let etcd = decided("etcd://10.0.0.1:2379/site", files).unwrap().unwrap();
        assert_eq!((etcd.to_string(), etcd.own()), ("etcd://10.0.0.1:2379/site".into(), None));
        assert_eq!(decided("etcd://127.0.0.1:2379", "").unwrap().unwrap().own(), None);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_what_would() {
        for (witness, etcd, words) in [
            ("etcd://10.0.0.1:2379", "", "must be reached with certificates"),
            ("etcd://10.0.0.1:2379", "ca = \"/c\"", "together"),
            ("etcd://127.0.0.1:2379", "user = \"u\"", "together"),
            ("127.0.0.1:7000", "user = \"u\"", "the witness is not etcd"),
            ("192.0.2.1:7000", "", "mutual TLS"),
        ] {
            let error = decided(witness, etcd).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
        for text in ["etcd://", "7000", "http://127.0.0.1:2379"] {
            assert!(text.parse::<WitnessAddress>().is_err(), "{text}");
        }
    }
}
