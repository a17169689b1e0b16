//! The forwarding of the switch: decides where a frame goes. No socket, thread or clock.
//!
//! ```text
//!   frame from port p:  learn  source → p  (a known source moves)
//!                       known destination → its port      unknown, group → every other port
//! ```
//!
//! A cut port stays connected but carries nothing in either direction until it is mended. Cutting goes by name, so a
//! port that reconnects under its name is still cut.

use crate::framing::FrameWriter;
use crate::mac::Mac;
use crate::wire::{ETHERNET_BYTES, destination_of, source_of};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Most addresses that are learnt. Beyond them frames are flooded, which is correct but slower.
const ADDRESSES_MAX: usize = 4096;

/// The number of a port. Not used again after the port is disconnected.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortId(pub usize);

/// What a port has carried.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortCounters {
    /// Frames received from the port.
    pub received: u64,
    /// Frames queued to the port.
    pub sent: u64,
    /// Frames dropped because the queue was full.
    pub dropped_full: u64,
    /// Frames dropped, in both directions, because the port was cut.
    pub dropped_cut: u64,
}

#[derive(Debug)]
struct Port {
    name: Arc<str>,
    outgoing: FrameWriter,
    counters: PortCounters,
}

/// The ports, and the addresses behind them.
#[derive(Debug, Default)]
pub(crate) struct Fabric {
    ports: BTreeMap<PortId, Port>,
    addresses: HashMap<Mac, PortId>,
    cut: HashSet<String>,
}

impl Fabric {
    pub(crate) fn plug(&mut self, port: PortId, name: &str) {
        let port_state =
            Port { name: name.into(), outgoing: FrameWriter::default(), counters: PortCounters::default() };
        let before = self.ports.insert(port, port_state);
        assert!(before.is_none(), "a port is plugged once");
    }

    pub(crate) fn unplug(&mut self, port: PortId) {
        self.ports.remove(&port);
        self.addresses.retain(|_, at| *at != port);
    }

    pub(crate) fn set_cut(&mut self, name: &str, cut: bool) {
        if cut {
            self.cut.insert(name.into());
        } else {
            self.cut.remove(name);
        }
    }

    /// Forwards a frame from a port, and returns the port's name. `None` if the port is cut or the bytes are not a
    /// frame.
    pub(crate) fn forward(&mut self, from: PortId, frame: &[u8]) -> Option<Arc<str>> {
        let port = self.ports.get_mut(&from)?;
        let (source, destination) = (source_of(frame)?, destination_of(frame)?);
        if self.cut.contains(&*port.name) {
            port.counters.dropped_cut += 1;
            return None;
        }
        if frame.len() < ETHERNET_BYTES || source.is_group() {
            return None;
        }
        port.counters.received += 1;
        let name = port.name.clone();
        if self.addresses.len() < ADDRESSES_MAX || self.addresses.contains_key(&source) {
            self.addresses.insert(source, from);
        }
        match self.addresses.get(&destination) {
            // Whoever is behind the port it came from has it already.
            Some(to) if *to == from => (),
            Some(to) => self.queue(*to, frame),
            None => {
                let others: Vec<PortId> = self.ports.keys().copied().filter(|to| *to != from).collect();
                others.into_iter().for_each(|to| self.queue(to, frame));
            }
        }
        Some(name)
    }

    fn queue(&mut self, to: PortId, frame: &[u8]) {
        let port = self.ports.get_mut(&to).expect("addresses of unplugged ports are forgotten");
        if self.cut.contains(&*port.name) {
            port.counters.dropped_cut += 1;
        } else if port.outgoing.push(frame) {
            port.counters.sent += 1;
        } else {
            port.counters.dropped_full += 1;
        }
    }

    /// The queue of frames to a port.
    pub(crate) fn outgoing(&mut self, port: PortId) -> Option<&mut FrameWriter> {
        self.ports.get_mut(&port).map(|port| &mut port.outgoing)
    }

    /// Ports with queued frames.
    pub(crate) fn waiting(&self) -> Vec<PortId> {
        self.ports.iter().filter(|(_, port)| !port.outgoing.is_empty()).map(|(id, _)| *id).collect()
    }

    /// The port where an address was last seen.
    pub(crate) fn port_of(&self, address: Mac) -> Option<(PortId, Arc<str>)> {
        let port = self.addresses.get(&address)?;
        Some((*port, self.ports.get(port)?.name.clone()))
    }

    pub(crate) fn counters(&self) -> Vec<(PortId, String, PortCounters)> {
        self.ports.iter().map(|(id, port)| (*id, port.name.to_string(), port.counters)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{Filled, FrameReader};

    fn frame(destination: u8, source: u8) -> Vec<u8> {
        let address = |number: u8| if number == 0xFF { [0xFF; 6] } else { [2, 0, 0, 0, 0, number] };
        [&address(destination)[..], &address(source), &[0x08, 0x00, 1, 2, 3]].concat()
    }

    /// The number of frames in each port's queue; empties the queues.
    fn drain(fabric: &mut Fabric) -> Vec<usize> {
        (0..3)
            .map(|port| {
                let mut bytes = Vec::new();
                fabric.outgoing(PortId(port)).unwrap().flush(&mut bytes).unwrap();
                let (mut reader, mut stream, mut frames) = (FrameReader::new(), &bytes[..], 0);
                while matches!(reader.fill(&mut stream).unwrap(), Filled::Some | Filled::Last) {
                    while reader.take().unwrap().is_some() {
                        frames += 1;
                    }
                }
                frames
            })
            .collect()
    }

    fn fabric() -> Fabric {
        let mut fabric = Fabric::default();
        ["a", "b", "c"].iter().enumerate().for_each(|(port, name)| fabric.plug(PortId(port), name));
        fabric
    }

    #[test]
    fn unknown_destinations_flood_and_known_ones_do_not() {
        let mut fabric = fabric();
        fabric.forward(PortId(0), &frame(2, 1));
        assert_eq!(drain(&mut fabric), [0, 1, 1]);
        fabric.forward(PortId(1), &frame(1, 2));
        assert_eq!(drain(&mut fabric), [1, 0, 0]);
        fabric.forward(PortId(0), &frame(0xFF, 1));
        assert_eq!(drain(&mut fabric), [0, 1, 1]);
    }

    #[test]
    fn an_address_that_speaks_elsewhere_has_moved() {
        let mut fabric = fabric();
        fabric.forward(PortId(0), &frame(0xFF, 1));
        fabric.forward(PortId(1), &frame(0xFF, 1));
        drain(&mut fabric);
        fabric.forward(PortId(2), &frame(1, 3));
        assert_eq!(drain(&mut fabric), [0, 1, 0]);
        fabric.unplug(PortId(1));
        fabric.plug(PortId(1), "b");
        fabric.forward(PortId(2), &frame(1, 3));
        assert_eq!(drain(&mut fabric), [1, 1, 0]);
    }

    #[test]
    fn a_cut_port_carries_nothing_and_moves_no_address() {
        let mut fabric = fabric();
        fabric.forward(PortId(0), &frame(0xFF, 1));
        drain(&mut fabric);
        fabric.set_cut("b", true);
        assert_eq!(fabric.forward(PortId(1), &frame(3, 1)), None);
        fabric.forward(PortId(2), &frame(0xFF, 3));
        assert_eq!(drain(&mut fabric), [1, 0, 0]);
        assert_eq!(fabric.port_of(Mac([2, 0, 0, 0, 0, 1])).unwrap().0, PortId(0));
        fabric.set_cut("b", false);
        assert!(fabric.forward(PortId(1), &frame(3, 2)).is_some());
        assert_eq!(fabric.counters()[1].2.dropped_cut, 2);
    }

    #[test]
    fn a_port_that_is_not_read_drops_and_counts_and_holds_up_no_other() {
        let mut fabric = fabric();
        let long = [frame(0xFF, 1), vec![0; 8000]].concat();
        (0..1000).for_each(|_| {
            fabric.forward(PortId(0), &long);
            let _ = fabric.outgoing(PortId(2)).unwrap().flush(&mut std::io::sink());
        });
        let counters = fabric.counters();
        assert!(counters[1].2.dropped_full > 800);
        assert_eq!(counters[2].2.sent, 1000);
    }
}
