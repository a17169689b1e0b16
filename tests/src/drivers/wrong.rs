//! What mutants do between an engine and its surroundings: to what it receives from the other host, and to the work of
//! its receive threads. Mutants of what it sends are in `context` and `turn`, those of its guests in `guest` and
//! `yard`.

use super::HostId;
use super::cluster::Cluster;
use super::facts::Fact;
use super::frame::Frame;
use super::guest::SharedDomain;
use super::harm::Gaps;
use super::host::Engine;
use super::mutant::Mutant;
use super::names::{guest_name, guest_of, name};
use understudy::guest::{HeldOutput, Report, SteppedReplica, Work};
use understudy::node::{Context, Glance, GuestPackets, Inbound};
use understudy_checkpoint::epoch::EpochPart;
use understudy_checkpoint::{PAGE_SIZE, PageEntry, PageType, Pfn};
use understudy_link::{GuestFrame, PacketList};
use understudy_netbuf::HeldId;
use understudy_session::{ToPrimary, ToSecondary};

/// Enough work for the mutant that stops a link for one guest.
const ENOUGH: usize = 3;

impl Engine {
    /// For a mutant: a link is not read while a guest has enough work.
    pub(super) fn stops_for_one(&self) -> bool {
        self.mutant == Some(Mutant::LinkStopsForOne)
            && self.bench.get().replicas.iter().flatten().any(|holding| holding.waiting.len() >= ENOUGH)
    }

    /// Whether the engine receives this message.
    pub(super) fn lets_in(&self, name: &str, what: &Inbound) -> bool {
        let glance = self.guests.glance(name);
        match (self.mutant, what) {
            (Some(Mutant::OfferDropsImage), Inbound::Offer(..)) => {
                let guest = super::names::guest_of(name);
                let mut bench = self.bench.get();
                if let Some(holding) = bench.replicas.iter_mut().flatten().rfind(|it| it.guest == guest) {
                    holding.waiting.push_back(Work::DropImage);
                }
                true
            }
            (Some(Mutant::RivalIgnored), Inbound::Offer(..) | Inbound::ToSecondary(_)) => {
                !matches!(glance, Some(Glance::Primary { .. }))
            }
            // Its copy says nothing, for a frame that the copy sends as well, or otherwise, does not wait.
            (Some(Mutant::WaitsForEver), Inbound::Packets(GuestPackets::Output { .. })) => false,
            _ => true,
        }
    }

    /// For a mutant: what a copy sends is heard as what the guest holds at the same place.
    pub(super) fn twinned(&self, name: &str, what: Inbound) -> Inbound {
        let Inbound::Packets(GuestPackets::Output { generation, base, first, packets }) = &what else {
            return what;
        };
        if self.mutant != Some(Mutant::AnyTwin) {
            return what;
        }
        let guest = super::names::guest_of(name);
        let bench = self.bench.get();
        let capturing = bench.captures.iter().flatten().rfind(|it| it.guest == guest);
        let output = capturing.map(|capturing| capturing.domain.get().output.clone());
        let mut held = Vec::new();
        if let Some(compared) = output.as_ref().and_then(HeldOutput::compared) {
            compared.look(HeldId(0), &mut |_, _, bytes| held.push(bytes.to_vec()));
        }
        let mut list = PacketList::default();
        for packet in packets.packets().iter().flat_map(|packets| packets.iter()) {
            let counter = |bytes: &[u8]| Frame::from_bytes(bytes).counter;
            let own = held.iter().find(|own| counter(own) == counter(packet));
            let _ = list.push(own.map_or(packet, |own| own));
        }
        let (generation, base, first) = (*generation, *base, *first);
        Inbound::Packets(GuestPackets::Output { generation, base, first, packets: list })
    }

    /// For a mutant: packets that a guest has heard come one after the other, whatever is missing between them.
    pub(super) fn closed_up(&mut self, name: &str, mut what: Inbound) -> Inbound {
        let Gaps { next, unseen } = &mut self.gaps[guest_of(name)];
        match &mut what {
            _ if self.mutant != Some(Mutant::GapUnseen) => {}
            Inbound::Offer(..) => (*next, *unseen) = (None, 0),
            Inbound::Packets(GuestPackets::Input { first, packets, .. }) => {
                let count = packets.packets().map_or(0, |packets| packets.iter().count() as u64);
                *unseen += next.map_or(0, |next| first.saturating_sub(next));
                *next = Some(*first + count);
                *first = first.saturating_sub(*unseen);
            }
            Inbound::Packets(GuestPackets::Taken { next, .. } | GuestPackets::Cut { next, .. }) => {
                *next = next.saturating_sub(*unseen);
            }
            _ => {}
        }
        what
    }

    /// For a mutant: an epoch that is whole is acked at once.
    pub(super) fn acks_early(&mut self, guest: usize) {
        if self.mutant != Some(Mutant::AckBeforeHalt) {
            return;
        }
        let whole = self.reports.iter().rev().find_map(|(_, report)| match report {
            Report::Complete { generation, epoch } => Some((*generation, *epoch)),
            _ => None,
        });
        let live = matches!(
            self.guests.glance(guest_name(guest)),
            Some(Glance::Secondary { live_base: Some(_), .. })
        );
        let number = self.cx.number_of(&name(0), &guest_name(guest).into());
        if let (Some((generation, epoch)), true, Some(number)) = (whole, live, number) {
            let ack = ToPrimary::Ack { generation, epoch };
            self.cx.send(&name(0), &GuestFrame::ToPrimary(ack).of(number));
        }
    }

    /// For a mutant: heartbeats keep coming from a connection that has ended.
    pub(super) fn hear_the_dead(&mut self, host: HostId) {
        if self.mutant != Some(Mutant::DeadPeerSpeaks) {
            return;
        }
        for guest in 0..super::GUESTS {
            if let Some(Glance::Secondary { generation, .. }) = self.guests.glance(guest_name(guest)) {
                let beat = Inbound::ToSecondary(ToSecondary::Heartbeat { generation });
                self.guests.arrived(name(1 - host), guest_name(guest).into(), beat, &mut self.cx);
            }
        }
    }
}

impl Cluster {
    /// For a mutant: what a copy sends leaves its host.
    pub(super) fn on_the_bridge(&mut self, at: HostId, copy: &SharedDomain) {
        if self.mutant != Some(Mutant::CopyOnBridge) {
            return;
        }
        let frame = {
            let copy = copy.get();
            Frame {
                guest: copy.guest,
                host: at,
                generation: copy.stamp,
                epoch: copy.open,
                counter: copy.state.counter,
                says: copy.state.digest(),
                by_copy: true,
            }
        };
        self.state_fact(frame.guest, &Fact::Left(frame));
    }

    /// Mutants of a receive thread's work.
    pub(super) fn wrong_work(&mut self, at: HostId, guest: usize, work: &Work, replica: &mut SteppedReplica) {
        if replica.receiver().committed().is_none() {
            return;
        }
        let words = match (self.mutant, work) {
            (Some(Mutant::CommitPartial), Work::Part(EpochPart::Pages(_))) => {
                let domain = self.hosts[1 - at].yard.get().domains[guest].clone();
                domain.and_then(|domain| domain.get().captured).map(|state| state.words)
            }
            (Some(Mutant::DamageUnnoticed), Work::Commit(_)) => {
                self.hosts[at].harm.take().map(|_| [0x40; super::guest::WORDS])
            }
            _ => None,
        };
        for (pfn, word) in words.into_iter().flatten().enumerate() {
            let mut page = [0; PAGE_SIZE];
            page[..8].copy_from_slice(&word.to_le_bytes());
            let entry = PageEntry::new(Pfn(pfn as u64), PageType::Normal);
            replica.receiver_mut().sink_mut().apply_page(entry, Some(&page));
        }
    }
}
