//! How values of flags and of the file are read: each the same way, and what is wrong is told with what would be right.
//!
//! Not here: the units and forms themselves (`human`), and whether values fit each other (`settings`).

use super::human::{HumanError, parse_address, parse_remote, parse_size, parse_span};
use super::named::Peer;
use super::witness::WitnessAddress;
use crate::connection::PeerAddress;
use crate::names::{NameError, check_new_name};
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use understudy_lab::Divergence;
use understudy_session::{NodeName, Span};

/// Reads `NAME=ADDR[@FROM],…`.
pub(super) fn parse_peer(text: &str) -> Result<Peer, PeerError> {
    let (name, addresses) = text.split_once('=').ok_or_else(|| PeerError::Form(text.to_owned()))?;
    check_new_name(name)?;
    let addresses = addresses.split(',').map(parse_peer_address).collect::<Result<_, _>>()?;
    Ok(Peer { name: NodeName(name.to_owned()), addresses })
}

/// Reads `ADDR[@FROM]`.
fn parse_peer_address(text: &str) -> Result<PeerAddress, PeerError> {
    let Some((remote, from)) = text.split_once('@') else { return Ok(parse_remote(text)?.into()) };
    let remote = parse_remote(remote)?;
    let no_host = || PeerError::From { text: text.to_owned(), remote };
    let from: IpAddr = from.parse().map_err(|_| no_host())?;
    let fits = from.is_ipv4() == remote.is_ipv4() && !from.is_unspecified() && !from.is_multicast();
    if fits { Ok(PeerAddress { remote, from: Some(from) }) } else { Err(no_host()) }
}

/// Why a text names no peer.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub(super) enum PeerError {
    #[error("{0:?} is not NAME=ADDR, such as b=127.0.0.1:7002")]
    Form(String),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(
        "In {text:?}, what is behind the @ has to be an address of this host without a port, of the same kind as {remote}, \
         such as 192.0.2.2:7002@192.0.2.1"
    )]
    From { text: String, remote: SocketAddr },
    #[error(transparent)]
    Address(#[from] HumanError),
}

/// A text, or a number that stands for one: `64` in the file is told what a number lacks, as `"64"` is.
struct Words;

impl Visitor<'_> for Words {
    type Value = String;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a text in quotes")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

/// One text, or a list of them.
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Vec<String>;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a text in quotes, or a list of such")
            }

            fn visit_str<E>(self, text: &str) -> Result<Vec<String>, E> {
                Ok(vec![text.to_owned()])
            }

            fn visit_i64<E>(self, number: i64) -> Result<Vec<String>, E> {
                Ok(vec![number.to_string()])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<String>, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(texts)
            }
        }
        from.deserialize_any(OneOrMore).map(Self)
    }
}

fn read<'de, D: Deserializer<'de>, T>(
    from: D,
    parse: fn(&str) -> Result<T, HumanError>,
) -> Result<T, D::Error> {
    parse(&from.deserialize_any(Words)?).map_err(Error::custom)
}

pub(super) fn span_from_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Span>, D::Error> {
    read(from, parse_span).map(Some)
}

pub(super) fn divergence_from_text<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Divergence>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(Error::custom)
}

pub(super) fn size_from_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    read(from, parse_size).map(Some)
}

pub(super) fn addresses_from_text<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<SocketAddr>, D::Error> {
    let read = |text: &String| parse_address(text).map_err(Error::custom);
    Texts::deserialize(from)?.0.iter().map(read).collect()
}

pub(super) fn address_from_text<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SocketAddr>, D::Error> {
    read(from, parse_address).map(Some)
}

pub(super) fn witness_from_text<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<WitnessAddress>, D::Error> {
    from.deserialize_any(Words)?.parse().map(Some).map_err(Error::custom)
}

pub(super) fn peers_from_table<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Peer>, D::Error> {
    let table = BTreeMap::<String, Texts>::deserialize(from)?;
    let peer = |(name, addresses): (String, Texts)| {
        parse_peer(&format!("{name}={}", addresses.0.join(","))).map_err(Error::custom)
    };
    table.into_iter().map(peer).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::Settings;

    #[test]
    fn what_is_wrong_in_a_file_is_told_with_what_would_be_right() {
        for (text, words) in [
            ("[timing]\ninterval = 25", "\"25\" is not a length of time; write a whole number and ns, us"),
            ("[limits]\nstaging = true", "a text in quotes"),
            ("listen = \"localhost:7000\"", "such as 127.0.0.1:7000"),
            ("listen = 7000", "such as 127.0.0.1:7000"),
            ("witness = \"127.0.0.1:0\"", "has the port 0"),
            ("metrics = \"127.0.0.1:99999\"", "such as 127.0.0.1:7000"),
            ("[peers]\nb = \"127.0.0.1\"", "such as 127.0.0.1:7000"),
            ("[peers]\n\"a b\" = \"127.0.0.1:1\"", "usable name"),
            ("[peers]\nb = []", "such as 127.0.0.1:7000"),
            ("[peers]\nb = \"192.0.2.2:7002@192.0.2.1:1\"", "without a port"),
            ("[peers]\nb = \"192.0.2.2:7002@2001:db8::1\"", "of the same kind"),
            ("listen = [\"127.0.0.1:1\", \"b\"]", "such as 127.0.0.1:7000"),
        ] {
            let error = toml::from_str::<Settings>(text).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("line"), "{error}");
        }
        let ways = "listen = [\"192.0.2.1:1\", \"[2001:db8::1]:1\"]\n[peers]\nb = [\"192.0.2.2:2@192.0.2.1\", \"[2001:db8::2]:2\"]";
        let settings: Settings = toml::from_str(ways).unwrap();
        let [first, second] = settings.peers[0].addresses[..] else { panic!("{:?}", settings.peers) };
        assert_eq!(
            (first.to_string(), second.to_string()),
            ("192.0.2.2:2@192.0.2.1".into(), "[2001:db8::2]:2".into())
        );
        assert_eq!(settings.listen.len(), 2);
        // Bytes need no unit, in quotes or without.
        let settings: Settings = toml::from_str("[limits]\nstaging = 1048576").unwrap();
        assert_eq!(settings.limits.staging, Some(1 << 20));
    }
}
