//! The leases of hosts at the witness: its real records, a disk, and the way there and back.
//!
//! ```text
//!   engine ── LeaseRequest ──► Arbiter ── persist ──► disk          what was fsynced survives a crash; a write that was under
//!          ◄── LeaseReply ────────┘◄───── done ────────┘            way then may or may not have reached the disk
//! ```
//!
//! Not here: the records of guests ([`witness_turn`](super::witness_turn)).

use super::HostId;
use super::cluster::Cluster;
use super::events::Event;
use super::host::Item;
use super::mutant::Mutant;
use super::names;
use super::network::{WITNESS, Wire};
use understudy_session::lease::{Input, LeaseReply, LeaseRequest, Output, Standing};
use understudy_session::{NodeName, Span};

impl Cluster {
    /// A request about the lease of `of` reaches the witness, over a connection or after its end.
    pub(super) fn witness_hears_of_lease(
        &mut self,
        via: Option<(usize, u64)>,
        from: HostId,
        of: NodeName,
        request: LeaseRequest,
    ) {
        if self.nodes[WITNESS].down {
            return;
        }
        self.note(WITNESS, || format!("◄ {}: lease of {of}: {request:?}", names::name(from)));
        // Connection numbers start at 1: client 0 is nobody.
        let client = via.map_or(0, |(channel, conn)| (conn << 8) | channel as u64);
        self.lease_input(Input::Request { client, from: names::name(from), host: of, request });
    }

    fn lease_input(&mut self, input: Input) {
        self.witness.leases.arbiter.handle(input);
        while let Some(output) = self.witness.leases.arbiter.poll_output() {
            match output {
                Output::Persist { host, lease } => {
                    self.note(WITNESS, || format!("  ► persist lease of {host}: {lease:?}"));
                    self.witness.leases.writing.insert(host.clone(), lease);
                    let (takes, life) = (self.rng.span_us(50, 3_000), self.witness.life);
                    self.agenda.add(self.now + takes, Event::LeaseWritten { life, of: host });
                }
                Output::NoRoom { host } => panic!("two hosts fit into a witness, and {host} does not"),
                Output::Reply { client, host, reply } => {
                    let (channel, conn) = ((client & 0xFF) as usize, client >> 8);
                    if self.replies_to(channel, conn) {
                        self.send(channel, WITNESS, Wire::LeaseReply(host, reply), Span(0));
                    }
                }
            }
        }
    }

    pub(super) fn lease_written(&mut self, life: u64, of: NodeName) {
        if life != self.witness.life {
            return;
        }
        if let Some(lease) = self.witness.leases.writing.remove(&of) {
            self.witness.leases.disk.insert(of.clone(), lease);
            self.lease_input(Input::Persisted { host: of, done: true });
        }
    }

    /// The witness's reply about a lease reaches a host.
    pub(super) fn told_of_lease(&mut self, at: HostId, of: NodeName, mut reply: LeaseReply) {
        if self.mutant == Some(Mutant::FenceUnawaited)
            && of != names::name(at)
            && let Some(lease) = &mut reply.lease
        {
            lease.standing = Standing::Released;
        }
        self.turn(at, Item::LeaseReply(of, reply));
    }
}
