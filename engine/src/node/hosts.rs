//! Chooses the host that a node's guests run on, by its configuration: nothing else in the node names a host.
//!
//! Not here: what a host is (`guest/host.rs`), and looking for guests again and again ([`discovery`](super::discovery)).

use super::NodeError;
use super::discovery::Discovery;
use super::new_primary::NewPrimary;
use super::system;
use crate::config::{FindChanges, GuestConfigs, NodeConfig};
use crate::guest::{Compare, Host, LabCards, LabHost, OutputMaker, XenHost};
use std::sync::Arc;

/// The host that runs guests, and the discovery of guests to protect.
pub(super) fn configured(
    config: &NodeConfig,
    outputs: OutputMaker,
) -> Result<(Arc<dyn Host>, Discovery), NodeError> {
    let GuestConfigs::Xen(guests) = &config.guests else {
        return Ok((Arc::new(lab(config, &outputs)), Discovery::none()));
    };
    let waker = outputs.waker.clone();
    let compared = guests.iter().filter(|guest| guest.find_changes == FindChanges::Compare);
    let compare = Compare {
        names: compared.map(|guest| guest.name.clone()).collect(),
        bytes_max: config.limits.compare_bytes_max,
    };
    let host = XenHost::open(outputs, compare).map_err(|error| NodeError::Hypervisor(error.into()))?;
    let mut discovery = Discovery::start(host.clone(), waker).map_err(system("No thread can be had"))?;
    for guest in guests.clone() {
        discovery.want(guest).map_err(|why| NodeError::Hypervisor(why.into()))?;
    }
    Ok((Arc::new(host), discovery))
}

/// The guests that begin with the node: those of the lab.
pub(super) fn first_guests(config: &NodeConfig, outputs: &OutputMaker) -> Result<Vec<NewPrimary>, NodeError> {
    let guests = config.guests.lab();
    if !guests.is_empty() && config.uplink.is_none() && config.taps.is_none() {
        tracing::warn!("The guests are plugged in nowhere, and nobody hears them; give --taps or --uplink");
    }
    let host = lab(config, outputs);
    let begin = |guest| match host.start(guest) {
        Ok(activated) => {
            let beginning = NewPrimary::of(&guest.name, activated, guest.peer.clone());
            Ok(NewPrimary { mode: guest.mode, fence: guest.fence, ..beginning })
        }
        Err(why) => Err(NodeError::Guest { name: guest.name.clone(), reason: why.to_string() }),
    };
    guests.iter().map(begin).collect()
}

fn lab(config: &NodeConfig, outputs: &OutputMaker) -> LabHost {
    LabHost::new(LabCards::new(outputs.clone(), config.taps.clone()))
        .under(config.lab)
        .with_disks(config.lab_disks.clone(), config.limits.disk_sync_bytes_per_s)
}
