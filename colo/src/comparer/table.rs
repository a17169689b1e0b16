//! Flows, found by one hash of what makes them one; bounded.
//!
//! A new flow in a full table takes the place of another of which nothing waits: of one that is closed, else of one that
//! was not used since the table was last searched. If of every flow that was looked at something waits, there is no room.
//!
//! Not here: what is compared in a flow (`tcp`, `datagram`).

use super::Number;
use super::head::Head;
use super::output::Full;
use super::tcp::{Offer, Stream};
use super::waiting::Queues;
use crate::packet::{Address, Card, Flow, Protocol};
use hashbrown::HashTable;
use std::collections::VecDeque;
use understudy_checkpoint::Epoch;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How many flows are looked at to find one that can be forgotten.
const SEARCH_MAX: usize = 64;

/// A flow, and how its frames are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Key([u64; 6]);

impl Key {
    pub(super) fn new(flow: &Flow, is_stream: bool) -> Self {
        let (class, protocol) = match flow.protocol {
            Protocol::Ip(number) => (0, u16::from(number)),
            Protocol::Fragment(number) => (1, u16::from(number)),
            Protocol::Ethernet(ether_type) => (2, ether_type),
        };
        // Identifiers of VLANs have 12 bits.
        let [outer, inner] = flow.vlan.map(|id| id.unwrap_or(u16::MAX));
        let word = |words: [u16; 4]| words.into_iter().fold(0, |all, one| all << 16 | u64::from(one));
        let (guest, world) = (u128::from(flow.guest), u128::from(flow.world));
        Self([
            (guest >> 64) as u64,
            guest as u64,
            (world >> 64) as u64,
            world as u64,
            word([flow.guest_port, flow.world_port, flow.card.0, outer]),
            word([inner, protocol, class, u16::from(is_stream)]),
        ])
    }

    /// The flow.
    pub(super) fn flow(&self) -> Flow {
        let [guest_high, guest_low, world_high, world_low, ends, kind] = self.0;
        let address = |high: u64, low: u64| Address::from(u128::from(high) << 64 | u128::from(low));
        let word = |all: u64, at: u32| (all >> (16 * at)) as u16;
        let vlan = |id: u16| (id != u16::MAX).then_some(id);
        let number = word(kind, 2);
        Flow {
            card: Card(word(ends, 1)),
            vlan: [vlan(word(ends, 0)), vlan(word(kind, 3))],
            protocol: match word(kind, 1) {
                0 => Protocol::Ip(number as u8),
                1 => Protocol::Fragment(number as u8),
                _ => Protocol::Ethernet(number),
            },
            guest: address(guest_high, guest_low),
            world: address(world_high, world_low),
            guest_port: word(ends, 3),
            world_port: word(ends, 2),
        }
    }
}

/// Hashes keys by multiplying them with numbers that are secret.
struct Hasher([u64; 6]);

impl Hasher {
    fn new(seed: u64) -> Self {
        Self(std::array::from_fn(|at| xxh3_64_with_seed(&[at as u8], seed)))
    }

    #[inline]
    fn hash(&self, key: &Key) -> u64 {
        let fold = |one: u64, other: u64| {
            let product = u128::from(one) * u128::from(other);
            (product >> 64) as u64 ^ product as u64
        };
        let pair = |at: usize| fold(key.0[at] ^ self.0[at], key.0[at + 1] ^ self.0[at + 1]);
        fold(pair(0) ^ self.0[5], pair(2) ^ pair(4).rotate_left(32) ^ self.0[0])
    }
}

/// What a flow's frames are.
pub(super) enum Kind {
    Tcp(Stream),
    Datagrams,
}

/// What leaves by its epoch's ack and is not compared any more, since the guests differ or there was no room.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Lost {
    /// The newest epoch of which it was.
    pub(super) through: Epoch,
    /// TCP: where the guest's stream stands after it.
    pub(super) end: Option<Number>,
    /// TCP: what it acknowledges.
    pub(super) own: Option<Offer>,
}

/// A flow. Of many flows none is in the processor's cache, and each line of it that a frame needs is waited for: so there are five,
/// what finds the flow is in the first, and what few frames need is in the last.
#[repr(C, align(64))]
pub(super) struct Slot {
    pub(super) key: Key,
    /// Unlike that of any other flow that had this place.
    pub(super) tenant: u64,
    /// The base to which the rest belongs, as the count of bases.
    pub(super) round: u32,
    was_used: bool,
    is_listed_closed: bool,
    pub(super) lost: Option<Box<Lost>>,
    pub(super) queues: Queues,
    pub(super) kind: Kind,
    /// Of the guest's newest frame; TCP.
    pub(super) head: Option<Head>,
}

const _: () = assert!(size_of::<Slot>() == 5 * 64);

impl Slot {
    fn new(key: Key, is_stream: bool, tenant: u64) -> Self {
        let kind = if is_stream { Kind::Tcp(Stream::default()) } else { Kind::Datagrams };
        Self {
            key,
            queues: Queues::default(),
            kind,
            round: 0,
            was_used: true,
            is_listed_closed: false,
            lost: None,
            tenant,
            head: None,
        }
    }

    fn is_idle(&self) -> bool {
        self.lost.is_none() && self.queues.iter().all(|list| list.count == 0)
    }

    fn is_closed(&self) -> bool {
        matches!(&self.kind, Kind::Tcp(stream) if stream.is_closed)
    }
}

pub(super) struct Table {
    index: HashTable<u32>,
    slots: Vec<Slot>,
    closed: VecDeque<u32>,
    hand: usize,
    flows_max: usize,
    /// Flows that had a place so far.
    tenants: u64,
    hasher: Hasher,
}

impl Table {
    pub(super) fn new(flows_max: usize, seed: u64) -> Self {
        let flows_max = flows_max.clamp(1, u32::MAX as usize - 1);
        Self {
            index: HashTable::with_capacity(flows_max),
            slots: Vec::with_capacity(flows_max),
            closed: VecDeque::with_capacity(flows_max),
            hand: 0,
            flows_max,
            tenants: 0,
            hasher: Hasher::new(seed),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    #[inline]
    pub(super) fn slot(&mut self, at: u32) -> &mut Slot {
        &mut self.slots[at as usize]
    }

    #[inline]
    pub(super) fn slot_of(&self, at: u32) -> &Slot {
        &self.slots[at as usize]
    }

    /// A TCP flow that is known.
    pub(super) fn find_stream(&self, flow: &Flow) -> Option<&Slot> {
        let key = Key::new(flow, true);
        let at = self.index.find(self.hasher.hash(&key), |at| self.slots[*at as usize].key == key)?;
        self.slots.get(*at as usize)
    }

    /// The place of a flow, which is made known if it is not.
    #[inline]
    pub(super) fn place(&mut self, flow: &Flow, is_stream: bool) -> Result<u32, Full> {
        let key = Key::new(flow, is_stream);
        let hash = self.hasher.hash(&key);
        if let Some(at) = self.index.find(hash, |at| self.slots[*at as usize].key == key) {
            self.slots[*at as usize].was_used = true;
            return Ok(*at);
        }
        self.tenants += 1;
        let slot = Slot::new(key, is_stream, self.tenants);
        let at = if self.slots.len() < self.flows_max {
            self.slots.push(slot);
            self.slots.len() as u32 - 1
        } else {
            let at = self.replaceable().ok_or(Full::Flows)?;
            self.forget(at);
            self.slots[at as usize] = slot;
            at
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.index.insert_unique(hash, at, |at| hasher.hash(&slots[*at as usize].key));
        Ok(at)
    }

    /// A flow that is closed is the first to be forgotten.
    #[inline]
    pub(super) fn note_closed(&mut self, at: u32) {
        let slot = &mut self.slots[at as usize];
        if slot.is_closed() && !slot.is_listed_closed {
            slot.is_listed_closed = true;
            self.closed.push_back(at);
        }
    }

    fn replaceable(&mut self) -> Option<u32> {
        for _ in 0..SEARCH_MAX.min(self.closed.len()) {
            let at = self.closed.pop_front()?;
            let slot = &mut self.slots[at as usize];
            slot.is_listed_closed = false;
            if slot.is_closed() && slot.is_idle() {
                return Some(at);
            }
        }
        for _ in 0..SEARCH_MAX.min(2 * self.slots.len()) {
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &mut self.slots[self.hand];
            // A place in the other list stays a place of one flow only.
            if !std::mem::take(&mut slot.was_used) && slot.is_idle() && !slot.is_listed_closed {
                return Some(self.hand as u32);
            }
        }
        None
    }

    fn forget(&mut self, at: u32) {
        let key = &self.slots[at as usize].key;
        let hash = self.hasher.hash(key);
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == at) {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_is_all_that_a_flow_is(
            card: u16,
            vlan in proptest::array::uniform2(proptest::option::of(0u16..4096)),
            (class, number) in (0u8..3, any::<u16>()),
            addresses: [u128; 2],
            ports: [u16; 2],
        ) {
            let protocol = match class {
                0 => Protocol::Ip(number as u8),
                1 => Protocol::Fragment(number as u8),
                _ => Protocol::Ethernet(number),
            };
            let [guest, world] = addresses.map(Address::from);
            let [guest_port, world_port] = ports;
            let flow = Flow { card: Card(card), vlan, protocol, guest, world, guest_port, world_port };
            prop_assert_eq!(Key::new(&flow, true).flow(), flow);
            prop_assert_ne!(Key::new(&flow, true), Key::new(&flow, false));
        }
    }
}
