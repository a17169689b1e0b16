//! What settings name: another node, and what runs guests.

use serde::Deserialize;
use std::net::SocketAddr;
use understudy_session::NodeName;

/// Another node and where it listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its name.
    pub name: NodeName,
    /// Where it listens.
    pub address: SocketAddr,
}

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
