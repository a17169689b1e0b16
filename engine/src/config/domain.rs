//! A Xen guest that runs here and is to be protected: `--domain name=web,peer=b`.

use super::human::parse_span;
use super::pacing::{BudgetSettings, PacingSettings, budgets_from_text};
use super::text::span_from_text;
use super::{ConfigError, check_new_name};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use understudy_session::primary::Pacing;
use understudy_session::{NodeName, Span};

/// How the pages that a guest changed are found.
#[derive(clap::ValueEnum, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "lowercase")]
pub enum FindChanges {
    /// In Xen's log of them.
    #[default]
    Log,
    /// By comparing all pages in each pause: for PV guests where Xen has no log. Takes as much memory as the guest has.
    Compare,
}

/// A guest as a flag or a `[[domain]]` table gives it.
#[derive(Deserialize, Clone, Default, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct DomainSettings {
    /// Its name, as `xl list` shows it.
    pub name: Option<String>,
    /// Which peer holds its copy; needed only if there are several.
    pub peer: Option<String>,
    /// From the end of one pause to the beginning of the next; else as the node.
    #[serde(deserialize_with = "span_from_text")]
    pub interval: Option<Span>,
    /// Budgets, if checkpoints go by output; else as the node.
    #[serde(deserialize_with = "budgets_from_text")]
    pub pacing: Option<BudgetSettings>,
    /// How changed pages are found; else in Xen's log.
    pub find_changes: Option<FindChanges>,
}

/// A guest, decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DomainConfig {
    /// Its name.
    pub name: String,
    /// Which peer holds its copy.
    pub peer: NodeName,
    /// What decides when its checkpoints begin.
    pub pacing: Pacing,
    /// How changed pages are found.
    pub find_changes: FindChanges,
}

impl FromStr for DomainSettings {
    type Err = String;

    /// Reads `key=value,key=value`; each key once.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut domain = Self::default();
        for pair in text.split(',') {
            let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is not KEY=VALUE"))?;
            let is_given_twice = match key {
                "name" => domain.name.replace(value.to_owned()).is_some(),
                "peer" => domain.peer.replace(value.to_owned()).is_some(),
                "interval" => {
                    let interval = parse_span(value).map_err(|error| error.to_string())?;
                    domain.interval.replace(interval).is_some()
                }
                "find-changes" => {
                    let how = FindChanges::from_str(value, false)
                        .map_err(|_| format!("{value:?} is not one of log, compare"))?;
                    domain.find_changes.replace(how).is_some()
                }
                "pacing" if value == "output" => {
                    let is_given_twice = domain.pacing.is_some();
                    domain.pacing.get_or_insert_default();
                    is_given_twice
                }
                _ if BudgetSettings::KEYS.contains(&key) => {
                    domain.pacing.get_or_insert_default().set(key, value)?
                }
                _ => {
                    return Err(format!(
                        "{key:?} is not one of name, peer, find-changes, interval, pacing=output, {}",
                        BudgetSettings::KEYS.join(", ")
                    ));
                }
            };
            if is_given_twice {
                return Err(format!("{key} is given twice"));
            }
        }
        Ok(domain)
    }
}

impl DomainSettings {
    /// Decides a guest of a node that has these peers, and this pacing where the guest's own is not said.
    pub(crate) fn decide(
        self,
        peers: &BTreeMap<NodeName, SocketAddr>,
        pacing: Pacing,
    ) -> Result<DomainConfig, ConfigError> {
        let name = self.name.ok_or_else(|| ConfigError::Conflict("A domain needs a name".into()))?;
        check_new_name(&name)?;
        let refuse = |why: String| Err(ConfigError::Conflict(format!("Domain {name} {why}")));
        let peer = match self.peer {
            Some(peer) if peers.contains_key(&NodeName(peer.clone())) => NodeName(peer),
            Some(peer) => return refuse(format!("names the peer {peer}, which is not configured")),
            None if peers.len() == 1 => peers.keys().next().expect("one peer").clone(),
            None => return refuse("needs peer=NAME, a peer that is configured".into()),
        };
        let pacing = PacingSettings { interval: self.interval, budgets: self.pacing }.decide(pacing)?;
        let find_changes = self.find_changes.unwrap_or_default();
        Ok(DomainConfig { name, peer, pacing, find_changes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: Pacing = Pacing::Clock { interval: Span::from_ms(25) };

    fn decide(text: &str, peers: &[&str]) -> Result<DomainConfig, String> {
        let address: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let peers = peers.iter().map(|name| (NodeName((*name).into()), address)).collect();
        text.parse::<DomainSettings>()?.decide(&peers, NODES).map_err(|error| error.to_string())
    }

    #[test]
    fn a_domain_is_read_from_one_flag() {
        let domain = decide("name=web", &["b"]).unwrap();
        assert_eq!((domain.name.as_str(), domain.peer.0.as_str()), ("web", "b"));
        assert_eq!(domain.pacing, NODES);
        let slower = decide("name=web,interval=200ms", &["b"]).unwrap();
        assert_eq!(slower.pacing, Pacing::Clock { interval: Span::from_ms(200) });
        let paced = decide("name=web,pacing=output,interval-max=50ms", &["b"]).unwrap();
        assert!(matches!(paced.pacing, Pacing::Output(budgets) if budgets.interval_max == Span::from_ms(50)));
        assert_eq!(slower.find_changes, FindChanges::Log);
        let compared = decide("name=web,find-changes=compare", &["b"]).unwrap();
        assert_eq!(compared.find_changes, FindChanges::Compare);
        for (text, peers, reason) in [
            ("name=web,find-changes=guess", &["b"][..], "not one of log, compare"),
            ("name=web,interval=200", &["b"], "such as 25ms"),
            ("name=web,interval=0ms", &["b"], "interval is 0ns"),
            ("name=web,interval=1000s", &["b"], "to 60s"),
            ("name=web,interval=1s,interval=1s", &["b"], "twice"),
            ("name=web,interval=1s,interval-max=1s", &["b"], "give one of them"),
            ("name=web,pacing=clock", &["b"], "pacing=output"),
            ("peer=b", &["b"], "needs a name"),
            ("name=web", &["b", "c"], "needs peer=NAME"),
            ("name=web,peer=d", &["b"], "not configured"),
            ("name=web,name=web", &["b"], "twice"),
            ("size=3", &["b"], "not one of"),
        ] {
            let error = decide(text, peers).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
