//! Stories: two hosts, a witness and one guest, with faults chosen by the story and not by chance.
//!
//! ```text
//!   let mut pair = Pair::protected();
//!   pair.checkpoint();
//!   pair.lose_link(Span::from_ms(400));
//!   pair.takeover();
//!   pair.ends_well();
//! ```

use super::HostId;
use super::cluster::Cluster;
use super::faults::Fault;
use super::judge::Violation;
use super::network::LINK;
use super::options::Options;
use super::rng::Rng;
use super::run::{finish, plain_settings};
use understudy::control::Wish;
use understudy::node::Glance;
use understudy_checkpoint::Epoch;
use understudy_session::primary::State;
use understudy_session::{Span, Time};

/// Nothing in a story takes longer than this.
const LONG: Span = Span::from_ms(2_000);

/// The host on which the guest starts.
pub const A: HostId = 0;
/// The host that holds the copy at first.
pub const B: HostId = 1;

/// A story.
#[derive(Debug)]
pub struct Pair(Cluster);

impl Pair {
    /// Both hosts have just started; at most `in_flight_max` epochs are in flight.
    pub fn begun(in_flight_max: u32) -> Self {
        let settings = super::settings::Settings { in_flight_max, ..plain_settings() };
        Self(Cluster::new(Rng::new(1), settings, Options::default()))
    }

    /// The guest is protected.
    pub fn protected() -> Self {
        let mut pair = Self::begun(2);
        pair.until("the guest is protected", |pair| pair.state(A) == Some(State::Protected));
        pair
    }

    /// Both hosts have just started, with changed settings.
    pub fn begun_with(change: impl FnOnce(&mut super::settings::Settings)) -> Self {
        let mut settings = plain_settings();
        change(&mut settings);
        Self(Cluster::new(Rng::new(1), settings, Options::default()))
    }

    /// The guest is protected, with changed settings.
    pub fn protected_with(change: impl FnOnce(&mut super::settings::Settings)) -> Self {
        let mut pair = Self::begun_with(change);
        pair.until("the guest is protected", |pair| pair.state(A) == Some(State::Protected));
        pair
    }

    /// A fault is found and repaired: the guest is unprotected for a while, and then protected again.
    pub fn is_protected_again(&mut self, at: HostId) {
        self.until("it is seen", |pair| pair.state(at) != Some(State::Protected));
        self.until("the guest is protected again", |pair| pair.state(at) == Some(State::Protected));
    }

    /// A person has a guest run that is kept paused.
    pub fn reclaim(&mut self) {
        self.strike(Fault::Wish { guest: 0, wish: Wish::Reclaim });
    }

    /// Runs until a condition holds. Panics with `what` if it never does.
    pub fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let end = self.0.now + LONG;
        while !is_so(self) {
            assert!(self.0.now < end && self.0.violation.is_none(), "{what}: never; {:?}", self.0.violation);
            let events = self.0.events_handled + 1;
            self.0.run(end, events);
        }
    }

    /// Time passes.
    pub fn pass(&mut self, span: Span) {
        let end = self.0.now + span;
        self.0.run(end, u64::MAX);
    }

    /// The secondary commits one more epoch.
    pub fn checkpoint(&mut self) {
        let before = self.committed();
        self.until("a checkpoint", |pair| pair.committed() > before);
    }

    /// Injects a fault.
    pub fn strike(&mut self, fault: Fault) {
        self.0.inject(fault);
        self.pass(Span(0));
    }

    /// The link delivers nothing for a while.
    pub fn lose_link(&mut self, lasts: Span) {
        self.strike(Fault::Stall { channel: LINK, ends: [true, true], lasts });
    }

    /// Kills a host, which returns after a while or never.
    pub fn lose_host(&mut self, node: HostId, back_after: Option<Span>) {
        self.strike(Fault::Crash { node, silent: true, back_after });
    }

    /// Kills the engine of a host, whose kernel lives and says so.
    pub fn kill_engine(&mut self, node: HostId, back_after: Option<Span>) {
        self.strike(Fault::Crash { node, silent: false, back_after });
    }

    /// A person asks for a switchover.
    pub fn switch_over(&mut self) {
        self.strike(Fault::Wish { guest: 0, wish: Wish::Switchover });
    }

    /// A person confirms that the other host is dead.
    pub fn force_takeover(&mut self, host: HostId) {
        self.strike(Fault::ForceTakeover { host, guest: 0 });
    }

    /// Waits until the other host takes over.
    pub fn takeover(&mut self) {
        self.until("a takeover", |pair| matches!(pair.0.hosts[B].glance(0), Some(Glance::Primary { .. })));
    }

    /// Output of the guest leaves by matches with a copy.
    pub fn matches(&mut self, at: HostId) {
        let is_live = |pair: &Self| {
            matches!(pair.0.hosts[at].glance(0), Some(Glance::Primary { live_base: Some(_), .. }))
        };
        self.until("its copy is live", is_live);
    }

    /// Whether the guest on this host was a copy before.
    pub fn was_copy(&self, at: HostId) -> bool {
        let domain = self.0.hosts[at].yard.get().domains[0].clone();
        domain.is_some_and(|domain| domain.get().port.is_some())
    }

    /// Whether B has a domain of the guest, whether its engine lives or not.
    pub fn is_activated(&self) -> bool {
        self.0.hosts[B].keeps(0)
    }

    /// The state of the primary session on a host, if there is one.
    pub fn state(&self, host: HostId) -> Option<State> {
        match self.0.hosts[host].glance(0) {
            Some(Glance::Primary { state, .. }) => Some(state),
            _ => None,
        }
    }

    /// The epoch of the secondary's image.
    pub fn committed(&self) -> Option<Epoch> {
        self.0.hosts.iter().find_map(|host| host.image(0)).map(|(_, epoch, _)| epoch)
    }

    /// The time of the story.
    pub fn now(&self) -> Time {
        self.0.now
    }

    /// Ends the faults, lets everything settle, and panics unless every judge is content.
    pub fn ends_well(self) {
        assert_eq!(self.ends(), None);
    }

    /// [`ends_well`](Self::ends_well), but returns a judge's violation.
    pub fn ends(mut self) -> Option<Violation> {
        finish(&mut self.0);
        self.0.violation.take()
    }
}
