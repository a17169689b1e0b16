//! A guest of Xen, which the node protects whenever it runs here: `--guest name=web,peer=b`.

use super::{ConfigError, FenceChoice, GuestSettings};
use crate::config::{PacingSettings, Peers};
use serde::{Deserialize, Serialize};
use understudy_session::primary::Pacing;
use understudy_session::{Mode, NodeName};

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

/// A guest, decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct XenGuestConfig {
    pub name: String,
    /// Which peer holds its copy.
    pub peer: NodeName,
    /// How it is protected.
    pub mode: Mode,
    /// Whether this host is fenced before it is started elsewhere.
    pub fence: FenceChoice,
    /// What decides when its checkpoints begin.
    pub pacing: Pacing,
    /// How changed pages are found.
    pub find_changes: FindChanges,
}

impl GuestSettings {
    /// Decides a guest of a node that has these peers, and this pacing where the guest's own is not said.
    pub(crate) fn decide_xen(self, peers: &Peers, pacing: Pacing) -> Result<XenGuestConfig, ConfigError> {
        let name = self.checked_name()?.to_owned();
        self.check_no_lab(&name)?;
        let peer = self.decide_peer(&name, peers)?;
        let mode = self.decide_mode();
        let pacing = PacingSettings { interval: self.interval, budgets: self.pacing }.decide(pacing)?;
        let find_changes = self.find_changes.unwrap_or_default();
        let fence = self.fence.unwrap_or_default();
        Ok(XenGuestConfig { name, peer, mode, fence, pacing, find_changes })
    }

    fn check_no_lab(&self, name: &str) -> Result<(), ConfigError> {
        let given = [
            ("memory", self.memory.is_some()),
            ("mac", self.mac.is_some()),
            ("ip", self.ip.is_some()),
            ("load", self.load.is_some()),
            ("disk", self.disk.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            None => Ok(()),
            Some((key, _)) => Err(ConfigError::Conflict(format!(
                "Guest {name}: {key} is for guests of the lab, and this node's are Xen's (--hypervisor xen)"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_session::Span;

    const NODES: Pacing = Pacing::Clock { interval: Span::from_ms(25) };

    fn decide(text: &str, peers: &[&str]) -> Result<XenGuestConfig, String> {
        let address: std::net::SocketAddr = "127.0.0.1:1".parse().unwrap();
        let peers = peers.iter().map(|name| (NodeName((*name).into()), vec![address.into()])).collect();
        let settings = text.parse::<GuestSettings>().map_err(|error| error.to_string())?;
        settings.decide_xen(&peers, NODES).map_err(|error| error.to_string())
    }

    #[test]
    fn a_guest_is_read_from_one_flag() {
        let guest = decide("name=web", &["b"]).unwrap();
        assert_eq!((guest.name.as_str(), guest.peer.0.as_str()), ("web", "b"));
        assert_eq!(guest.pacing, NODES);
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
