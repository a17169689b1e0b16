//! Where an etcd cluster is, as people write it: `etcd://10.0.0.1:2379,10.0.0.2:2379,10.0.0.3:2379/prefix`.

use crate::config::human::{HumanError, parse_remote};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// What an address of etcd begins with.
const SCHEME: &str = "etcd://";

/// What keys begin with unless it is said.
const PREFIX_DEFAULT: &str = "understudy";

/// More members than this no etcd has.
const MEMBERS_MAX: usize = 9;

/// The longest prefix: it is a part of every key.
const PREFIX_BYTES_MAX: usize = 128;

/// Members of a cluster, and what keys of ours begin with there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EtcdAddress {
    /// Its members, at least one, each once.
    pub members: Vec<SocketAddr>,
    /// Begins every key, before a `/`.
    pub prefix: String,
}

/// Why a text names no cluster.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum EtcdAddressError {
    /// One of its members.
    #[error(transparent)]
    Member(#[from] HumanError),
    /// The same one again.
    #[error("{0} is given twice; give each member of etcd once")]
    Twice(SocketAddr),
    /// Too many.
    #[error("{0} members are given; give {MEMBERS_MAX} of etcd's at most")]
    Members(usize),
    /// A prefix that cannot be one.
    #[error(
        "{0:?} cannot begin the keys in etcd; use up to {PREFIX_BYTES_MAX} letters, digits, '-', '_', '.' and '/', and no '/' at \
         the end"
    )]
    Prefix(String),
}

impl EtcdAddress {
    /// Whether a text is meant as an address of etcd, well or badly written.
    pub fn is_meant_by(text: &str) -> bool {
        text.starts_with(SCHEME)
    }

    /// This cluster, with keys that begin with more: no other node uses them.
    pub fn below(&self, part: &str) -> Self {
        Self { members: self.members.clone(), prefix: format!("{}/{part}", self.prefix) }
    }
}

impl FromStr for EtcdAddress {
    type Err = EtcdAddressError;

    fn from_str(text: &str) -> Result<Self, EtcdAddressError> {
        let rest = text.strip_prefix(SCHEME).unwrap_or(text);
        let (members, prefix) = rest.split_once('/').unwrap_or((rest, PREFIX_DEFAULT));
        let mut address = Self { members: Vec::new(), prefix: prefix.to_owned() };
        for member in members.split(',') {
            let member = parse_remote(member)?;
            if address.members.contains(&member) {
                return Err(EtcdAddressError::Twice(member));
            }
            address.members.push(member);
        }
        if address.members.len() > MEMBERS_MAX {
            return Err(EtcdAddressError::Members(address.members.len()));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        let usable = (1..=PREFIX_BYTES_MAX).contains(&prefix.len())
            && prefix.chars().all(plain)
            && !prefix.ends_with('/');
        if usable { Ok(address) } else { Err(EtcdAddressError::Prefix(prefix.to_owned())) }
    }
}

impl fmt::Display for EtcdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members: Vec<_> = self.members.iter().map(SocketAddr::to_string).collect();
        write!(f, "{SCHEME}{}/{}", members.join(","), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_what_keys_begin_with_are_read() {
        let read = |text: &str| text.parse::<EtcdAddress>().unwrap();
        let three = read("etcd://10.0.0.1:2379,10.0.0.2:2379,[::1]:2379/site/guests");
        assert_eq!((three.members.len(), &*three.prefix), (3, "site/guests"));
        assert_eq!(three.to_string(), "etcd://10.0.0.1:2379,10.0.0.2:2379,[::1]:2379/site/guests");
        let bare = read("etcd://127.0.0.1:2379");
        assert_eq!(bare.prefix, "understudy");
        assert_eq!(read(&bare.to_string()), bare);
        assert_eq!(bare.below("drill-7").prefix, "understudy/drill-7");
    }

    #[test]
    fn what_names_no_cluster_is_refused_with_what_would() {
        for (text, words) in [
            ("etcd://", "such as 127.0.0.1:7000"),
            ("etcd://etcd1:2379", "names are not looked up"),
            ("etcd://10.0.0.1:2379,", "such as 127.0.0.1:7000"),
            ("etcd://10.0.0.1:0", "has the port 0"),
            ("etcd://10.0.0.1:1,10.0.0.1:1", "given twice"),
            ("etcd://10.0.0.1:1/", "cannot begin the keys"),
            ("etcd://10.0.0.1:1/a/", "no '/' at the end"),
            ("etcd://10.0.0.1:1/a b", "cannot begin the keys"),
        ] {
            let error = text.parse::<EtcdAddress>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let many: Vec<_> = (1..=10).map(|port| format!("127.0.0.1:{port}")).collect();
        assert!(format!("etcd://{}", many.join(",")).parse::<EtcdAddress>().is_err());
    }
}
