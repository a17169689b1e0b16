//! What settings name: another node with the ways to it, and what runs guests.

use crate::connection::PeerAddress;
use serde::Deserialize;
use std::collections::BTreeMap;
use understudy_session::NodeName;

/// Another node and where it listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    pub name: NodeName,
    /// Where it listens, the network that is preferred first.
    pub addresses: Vec<PeerAddress>,
}

/// All peers of a node, and where they listen.
pub type Peers = BTreeMap<NodeName, Vec<PeerAddress>>;

/// What runs guests on a host.
#[derive(clap::ValueEnum, Deserialize, Clone, Copy, PartialEq, Eq, Default, Debug)]
#[serde(rename_all = "lowercase")]
pub enum Hypervisor {
    /// The lab: guests live in this process.
    #[default]
    Lab,
    /// Xen.
    Xen,
}
