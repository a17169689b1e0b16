//! What reaches the witness and its disk, and what comes back, in the cluster.

use super::cluster::Cluster;
use super::events::Event;
use super::facts::Fact;
use super::faults::Amnesia;
use super::mutant::Mutant;
use super::names;
use super::network::{WITNESS, Wire};
use super::{GUESTS, GuestId, HostId};
use understudy_session::witness::{Input, Output, Witness};
use understudy_session::{Record, Span, WitnessRequest};

impl Cluster {
    /// A request reaches the witness, over a connection or after its end.
    pub(super) fn witness_hears(
        &mut self,
        via: Option<(usize, u64)>,
        from: HostId,
        guest: GuestId,
        request: WitnessRequest,
    ) {
        if self.nodes[WITNESS].down {
            return;
        }
        self.note(WITNESS, || format!("◄ {}: {request:?}", names::name(from)));
        let request = if self.mutant == Some(Mutant::NoRevision) {
            self.without_revision(guest, request)
        } else {
            request
        };
        // Connection numbers start at 1: client 0 is nobody.
        let client = via.map_or(0, |(channel, conn)| (conn << 8) | channel as u64);
        let input = Input::Request {
            client,
            from: names::name(from),
            guest: names::guest_name(guest).to_owned(),
            request,
        };
        self.witness_input(input);
    }

    /// The mutant: a swap matches any record that says the same as the one it was made for.
    fn without_revision(&self, guest: GuestId, request: WitnessRequest) -> WitnessRequest {
        let WitnessRequest::Swap { id, expect, mut new } = request else { return request };
        let says = |record: &Record| (record.generation, record.owner.clone(), record.copy.clone());
        let meant = self.witness.past[guest].iter().find(|record| record.revision == expect);
        match (meant, &self.witness.disk[guest]) {
            (Some(meant), Some(held)) if says(meant) == says(held) => {
                new.revision = held.revision + 1;
                WitnessRequest::Swap { id, expect: held.revision, new }
            }
            _ => WitnessRequest::Swap { id, expect, new },
        }
    }

    fn witness_input(&mut self, input: Input) {
        self.witness.session.handle(input);
        while let Some(output) = self.witness.session.poll_output() {
            match output {
                Output::Persist { ticket, record, guest } => {
                    let guest = names::guest_of(&guest);
                    self.note(WITNESS, || format!("  ► persist {record:?}"));
                    self.witness.writing.insert(ticket, (guest, record));
                    let life = self.witness.life;
                    let early = self.mutant == Some(Mutant::ReplyBeforeFsync);
                    let takes = if early { Span::from_ms(15) } else { self.rng.span_us(50, 3_000) };
                    self.agenda.add(self.now + takes, Event::PersistEnds { life, ticket });
                    if early {
                        self.witness_input(Input::Persisted { ticket });
                    }
                }
                Output::NoRoom { guest, .. } => {
                    panic!("a few guests fit into a witness, and {guest} does not")
                }
                Output::Reply { client, reply, guest } => {
                    let guest = names::guest_of(&guest);
                    let (channel, conn) = ((client & 0xFF) as usize, client >> 8);
                    if self.replies_to(channel, conn) && !self.is_deaf() {
                        self.note(WITNESS, || format!("  ► {:?}: {:?}", reply.outcome, reply.record));
                        self.send(channel, WITNESS, Wire::Reply(guest, reply), Span(0));
                    }
                }
            }
        }
    }

    /// The mutant that must be caught by liveness: after a while no answer gets anywhere.
    fn is_deaf(&self) -> bool {
        self.mutant == Some(Mutant::DeafToWitness) && self.now.0 > 100_000_000
    }

    pub(super) fn persist_ends(&mut self, life: u64, ticket: u64) {
        if life != self.witness.life {
            return;
        }
        let Some((guest, record)) = self.witness.writing.remove(&ticket) else { return };
        let fails = std::mem::take(&mut self.witness.persist_fails);
        if !fails || self.rng.chance(50) {
            self.write(guest, record);
        }
        if fails {
            self.witness_input(Input::PersistFailed { ticket });
        } else {
            self.witness_input(Input::Persisted { ticket });
        }
    }

    fn write(&mut self, guest: GuestId, record: Record) {
        self.witness.past[guest].push(record.clone());
        self.state_fact(guest, &Fact::Recorded(record.clone()));
        self.witness.disk[guest] = Some(record);
    }

    /// The witness is stopped, something happens to its disk, and it begins anew.
    pub(super) fn witness_is_amnesic(&mut self, how: Amnesia) {
        if how == Amnesia::NotDurable {
            self.witness.is_not_durable = true;
            return;
        }
        for guest in 0..GUESTS {
            let past = self.witness.past[guest].len() as u64;
            let older = (how == Amnesia::RolledBack && past > 1).then(|| self.rng.below(past - 1) as usize);
            self.witness.disk[guest] = older.map(|index| self.witness.past[guest][index].clone());
        }
        self.begin_witness_anew();
    }

    /// Its clients ask again what was not answered.
    fn begin_witness_anew(&mut self) {
        self.witness.life += 1;
        self.witness.writing.clear();
        if !self.nodes[WITNESS].down {
            self.witness_restarts();
        }
    }

    /// Memory is gone. A write that was under way has reached the disk or not, unless nobody had started it.
    pub(super) fn witness_crashes(&mut self) {
        self.witness.life += 1;
        let under_way = std::mem::take(&mut self.witness.writing).into_values().next_back();
        if let Some((guest, record)) = under_way
            && self.mutant != Some(Mutant::ReplyBeforeFsync)
            && self.rng.chance(50)
        {
            self.write(guest, record);
        }
        if std::mem::take(&mut self.witness.is_not_durable) {
            for guest in 0..GUESTS {
                let older = self.witness.past[guest].len().checked_sub(2);
                self.witness.disk[guest] = older.map(|index| self.witness.past[guest][index].clone());
            }
        }
        self.witness.session = Witness::new([]);
        let rng = &mut self.rng;
        self.witness.leases.crash(|| rng.chance(50));
    }

    pub(super) fn witness_restarts(&mut self) {
        let held = self.witness.disk.clone().into_iter().enumerate();
        let held = held.filter_map(|(guest, record)| Some((names::guest_name(guest).to_owned(), record?)));
        self.witness.session = Witness::new(held.collect::<Vec<_>>());
        self.witness.leases.restart();
    }
}
