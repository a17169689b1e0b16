//! This host's lease and its watchdog, and the leases of hosts that are gone: the driver of [`lease`](understudy_session::lease)
//! on a node. `docs/FENCING.md` has the rules.
//!
//! ```text
//!   guests here ── need ──► Own: Idle ─► Reading ─► Holding ──► watchdog        need: nothing │ renew │ arm
//!                             ▲ given back            │ taken away ─► Lost
//!   copies that wait ─► Taking, one for each host ── look, wait, take away ─► fenced
//! ```
//!
//! Not here: which guests need it ([`fence`](super::fence)), and when a copy may take over (its session).

use super::context::Context;
use crate::control::status::{FencedHostStatus, FencingStatus, WatchdogState};
use crate::guest::watchdog::Watchdog;
use crate::guest::{Host, HostError};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use understudy_session::lease::{
    Holder, HolderOutput, Lease, LeaseReply, LeaseRequest, Standing, Taker, TakerOutput, Terms,
};
use understudy_session::{NodeName, RequestId, Span, Time, WitnessOutcome};

/// What guests of this host need, from little to much.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) enum Need {
    /// None of them needs a lease.
    #[default]
    Nothing,
    /// The lease is renewed, and no watchdog set: nothing that needs it runs here.
    Renew,
    /// A guest that runs here, or is about to, needs the watchdog.
    Arm,
}

/// How this host's lease stands, for guests that need it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Held {
    /// Not yet, or not any more in order.
    No,
    /// The lease is confirmed, and no watchdog is set.
    Renewed,
    /// The watchdog is set, and not near.
    Armed,
    /// The watchdog is near, or the lease was taken away: guests that need it stand still.
    Near,
}

/// How often an unanswered question is repeated.
const ASK_EVERY: Span = Span::from_ms(500);

/// A watchdog is set to run out this much before it has to, for the time from reading the clock to setting it.
const EARLY: Span = Span::from_ms(50);

#[derive(Debug)]
enum Own {
    Idle,
    /// The lease is looked for.
    Reading {
        first: RequestId,
        ask_at: Time,
    },
    Holding {
        holder: Holder,
        first: RequestId,
        /// What may still run was set by these terms, or by shorter ones.
        told: Terms,
        /// When the watchdog runs out at the latest, if it is set.
        armed: Option<Time>,
        /// Whether the log has said that the watchdog is near.
        is_near: bool,
    },
    /// The lease is given back; the watchdog is stopped already.
    Returning {
        first: RequestId,
        number: u64,
        ask_at: Time,
    },
    /// Another host has taken it away.
    Lost,
}

/// What an engine before this one has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Left {
    Unasked,
    Nothing,
    /// A watchdog that runs, until this time for its guests to be found.
    Runs {
        until: Time,
    },
}

/// How long the guests of an engine before this one may take to be found.
const FOUND_MAX: Span = Span::from_ms(60_000);

#[derive(Debug)]
struct Taking {
    taker: Taker,
    first: RequestId,
    is_fenced: bool,
}

/// Leases and the watchdog, as one node drives them.
#[derive(Debug)]
pub(super) struct Fencing {
    node: NodeName,
    terms: Terms,
    host: Arc<dyn Host>,
    state: PathBuf,
    watchdog: Option<Box<dyn Watchdog>>,
    need: Need,
    /// An engine before this one has left the watchdog running: it is set anew until the guests of that engine are found.
    left: Left,
    own: Own,
    takings: BTreeMap<NodeName, Taking>,
    ids_used: u64,
    /// Why the lease is not held, or the watchdog not set.
    trouble: Option<String>,
}

impl Fencing {
    pub(super) fn new(node: NodeName, terms: Terms, host: Arc<dyn Host>, state: PathBuf) -> Self {
        Self {
            node,
            terms,
            host,
            state,
            watchdog: None,
            need: Need::Nothing,
            left: Left::Unasked,
            own: Own::Idle,
            takings: BTreeMap::new(),
            ids_used: 0,
            trouble: None,
        }
    }

    /// How the lease of this host stands.
    pub(super) fn held(&self) -> Held {
        match &self.own {
            Own::Holding { is_near: true, .. } | Own::Lost => Held::Near,
            Own::Holding { armed: Some(_), .. } => Held::Armed,
            Own::Holding { holder, .. } if holder.is_held() => Held::Renewed,
            Own::Holding { .. } | Own::Idle | Own::Reading { .. } | Own::Returning { .. } => Held::No,
        }
    }

    /// Why it is not held, or the watchdog not set.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Whether the watchdog is set, if a guest here needs that; and how many hosts are being fenced.
    pub(super) fn measured(&self) -> (Option<bool>, usize) {
        let armed = (self.need == Need::Arm).then(|| self.held() == Held::Armed);
        (armed, self.takings.len())
    }

    /// For an operator; nothing if no guest needs it.
    pub(super) fn status(&self, now: Time) -> Option<FencingStatus> {
        if self.need == Need::Nothing && self.takings.is_empty() {
            return None;
        }
        let (number, armed) = match &self.own {
            Own::Holding { holder, armed, .. } => (Some(holder.number()), *armed),
            _ => (None, None),
        };
        let left_ms = |until: Time| (until - now).0 / 1_000_000;
        let waits = |(host, taking): (&NodeName, &Taking)| FencedHostStatus {
            node: host.0.clone(),
            left_ms: taking.taker.waits_until().map(left_ms),
        };
        Some(FencingStatus {
            watchdog: match self.held() {
                Held::No => WatchdogState::Off,
                Held::Renewed => WatchdogState::Renewed,
                Held::Armed => WatchdogState::Armed,
                Held::Near => WatchdogState::Near,
            },
            left_ms: armed.map(left_ms),
            lease: number,
            reason: self.trouble.clone().unwrap_or_default(),
            waits_for: self.takings.iter().map(waits).collect(),
        })
    }

    /// Whether the watchdog can be set at all, found out by setting it for a moment. Says why not.
    pub(super) fn probe(&mut self) -> Result<(), HostError> {
        if matches!(&self.own, Own::Holding { armed: Some(_), .. }) || matches!(self.left, Left::Runs { .. })
        {
            return Ok(());
        }
        let seconds = NonZeroU32::new((self.terms.watchdog().0 / 1_000_000_000) as u32);
        let probed = self.set(seconds.unwrap_or(NonZeroU32::MIN)).and_then(|()| self.disarm());
        probed.inspect_err(|why| self.trouble = Some(format!("the watchdog cannot be set: {why}")))
    }

    /// One iteration: guests here need this much.
    pub(super) fn run(&mut self, need: Need, cx: &mut dyn Context) {
        let now = cx.now();
        let need = need.max(self.needed_by_an_earlier_engine(now));
        self.needs(need, now);
        if self.need == Need::Nothing && matches!(self.own, Own::Idle) && self.takings.is_empty() {
            return;
        }
        if !cx.keeps_leases() && !matches!(self.own, Own::Idle) {
            let why = match cx.is_witness_up() {
                true => "the witness is of an older version, which keeps no leases; upgrade it",
                false => "the witness does not answer",
            };
            if self.trouble.as_deref() != Some(why) {
                self.trouble = Some(why.into());
            }
        }
        match &mut self.own {
            Own::Idle | Own::Lost => {}
            Own::Reading { ask_at, .. } if *ask_at <= now => {
                *ask_at = now + ASK_EVERY;
                let request = LeaseRequest::Read { id: self.next_id() };
                cx.ask_lease(&self.node, request);
            }
            Own::Returning { ask_at, number, .. } if *ask_at <= now => {
                *ask_at = now + ASK_EVERY;
                let (expect, terms) = (*number, self.terms);
                let new = Lease { number: expect + 1, standing: Standing::Released, terms };
                let request = LeaseRequest::Swap { id: self.next_id(), expect, new };
                cx.ask_lease(&self.node, request);
            }
            Own::Reading { .. } | Own::Returning { .. } => {}
            Own::Holding { holder, .. } => {
                if holder.next_timeout().is_some_and(|at| at <= now) {
                    holder.handle_timeout(now);
                }
                self.perform(cx);
            }
        }
        self.run_takings(cx);
    }

    /// When [`run`](Self::run) has something to do.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        let left = match self.left {
            Left::Runs { until } => Some(until),
            Left::Unasked | Left::Nothing => None,
        };
        let own = match &self.own {
            Own::Idle | Own::Lost => None,
            Own::Reading { ask_at, .. } | Own::Returning { ask_at, .. } => Some(*ask_at),
            Own::Holding { holder, .. } => holder.next_timeout(),
        };
        let takings = self.takings.values().filter_map(|taking| taking.taker.next_timeout());
        own.into_iter().chain(left).chain(takings).min()
    }

    fn needed_by_an_earlier_engine(&mut self, now: Time) -> Need {
        match self.left {
            Left::Unasked => {
                let is_left = self.host.has_left_watchdog(&self.state);
                self.left = if is_left { Left::Runs { until: now + FOUND_MAX } } else { Left::Nothing };
                if is_left { Need::Arm } else { Need::Nothing }
            }
            Left::Runs { until } if now < until => Need::Arm,
            Left::Runs { .. } | Left::Nothing => {
                self.left = Left::Nothing;
                Need::Nothing
            }
        }
    }

    fn needs(&mut self, need: Need, now: Time) {
        let before = std::mem::replace(&mut self.need, need);
        if before == need {
            return;
        }
        if need < Need::Arm {
            // Nothing that needs it runs here any more: what others wait for has happened.
            self.stop_watchdog();
        }
        match (&self.own, need) {
            (Own::Idle | Own::Lost, Need::Renew | Need::Arm) => self.begin(now),
            (Own::Holding { holder, .. }, Need::Nothing) => {
                let (number, first) = (holder.number(), self.first_id());
                self.own = Own::Returning { first, number, ask_at: now };
            }
            (Own::Reading { .. } | Own::Lost, Need::Nothing) => self.own = Own::Idle,
            // What is being given back is taken again once that is through.
            _ => {}
        }
    }

    fn begin(&mut self, now: Time) {
        self.trouble = None;
        self.own = Own::Reading { first: self.first_id(), ask_at: now };
    }

    /// An answer of the witness.
    pub(super) fn told(&mut self, host: &NodeName, reply: LeaseReply, cx: &mut dyn Context) {
        let now = cx.now();
        if let Some(taking) = self.takings.get_mut(host) {
            if let (true, Some(lease)) = (reply.id >= taking.first, reply.lease) {
                taking.taker.told(now, lease);
            }
            return self.run_takings(cx);
        }
        if *host != self.node {
            return;
        }
        match &mut self.own {
            Own::Reading { first, .. } if reply.id >= *first && reply.outcome == WitnessOutcome::Told => {
                self.hold(reply.lease, now);
            }
            Own::Returning { first, number, .. } if reply.id >= *first => {
                let is_through = reply
                    .lease
                    .is_some_and(|lease| lease.number > *number && lease.standing != Standing::Held);
                if is_through {
                    self.own = Own::Idle;
                    if self.need > Need::Nothing {
                        self.begin(now);
                    }
                } else if let Some(lease) = reply.lease.filter(|lease| lease.number > *number) {
                    // An older renewal of this host was under way.
                    *number = lease.number;
                }
            }
            Own::Holding { first, .. } if reply.id >= *first => self.renewed(reply, now),
            _ => {}
        }
        if matches!(self.own, Own::Holding { .. }) {
            self.perform(cx);
        }
    }

    fn hold(&mut self, before: Option<Lease>, now: Time) {
        let number = before.map_or(0, |lease| lease.number);
        // An engine before this one may have set the watchdog by longer terms.
        let earlier = before.filter(|lease| lease.standing == Standing::Held).map(|lease| lease.terms);
        let told = earlier.map_or(self.terms, |terms| terms.max(self.terms));
        let (holder, first) = (Holder::new(self.terms, number, now), self.first_id());
        self.own = Own::Holding { holder, first, told, armed: None, is_near: false };
    }

    fn renewed(&mut self, reply: LeaseReply, now: Time) {
        let Own::Holding { holder, .. } = &mut self.own else { return };
        let next = holder.number() + 1;
        match (reply.outcome, reply.lease) {
            (WitnessOutcome::Swapped, Some(lease)) => {
                self.trouble = None;
                holder.renewed(now, lease.number);
            }
            // The answer to an earlier renewal was lost. Before the first one it may be that of an engine before this one,
            // which asked earlier than this one would count from.
            (WitnessOutcome::Conflict, Some(lease))
                if lease.standing == Standing::Held && lease.number == next && holder.has_begun() =>
            {
                self.trouble = None;
                holder.renewed(now, lease.number);
            }
            (WitnessOutcome::Conflict, lease) if !holder.has_begun() => {
                if lease.map_or(0, |lease| lease.number) + 1 != next {
                    self.hold(lease, now);
                }
            }
            (WitnessOutcome::Conflict, Some(lease)) if lease.standing == Standing::Taken => holder.taken(),
            // An answer that came late.
            (_, Some(lease)) if lease.number < next => {}
            (outcome, lease) => {
                self.trouble = Some(format!(
                    "the witness does not renew this host's lease ({outcome:?}, it has {lease:?}); was it restored from a backup, or \
                     is another node called {}?",
                    self.node
                ));
            }
        }
    }

    fn perform(&mut self, cx: &mut dyn Context) {
        while let Own::Holding { holder, told, armed, is_near, .. } = &mut self.own
            && let Some(output) = holder.poll_output()
        {
            match output {
                HolderOutput::Renew { number } => {
                    let new = Lease { number, standing: Standing::Held, terms: *told };
                    let request = LeaseRequest::Swap { id: self.next_id(), expect: number - 1, new };
                    cx.ask_lease(&self.node, request);
                }
                HolderOutput::Arm { until } => {
                    if self.need == Need::Arm {
                        self.arm(until, cx);
                    } else {
                        (*armed, *told) = (None, self.terms);
                    }
                }
                HolderOutput::Stop => {
                    *is_near = true;
                    let why = self.trouble.as_deref().unwrap_or("its renewal is late");
                    if self.need == Need::Arm {
                        tracing::error!(
                            why,
                            "The watchdog resets this host soon: guests that need fencing stand still"
                        );
                    } else {
                        tracing::warn!(
                            why,
                            "This host's lease is late; if a guest that needs fencing ran here, the host would be reset soon"
                        );
                    }
                }
                HolderOutput::Go => {
                    *is_near = false;
                    tracing::warn!("This host's lease is confirmed again in time");
                }
                HolderOutput::Lost => {
                    self.trouble = Some("another host has taken this host's lease away".into());
                    if self.need == Need::Arm {
                        tracing::error!(
                            "Another host has taken this host's lease away: the watchdog resets this host"
                        );
                        self.own = Own::Lost;
                    } else {
                        tracing::warn!("Another host has taken this host's lease away; it takes it anew");
                        self.begin(cx.now());
                    }
                }
            }
        }
    }

    /// Sets the watchdog. The clock is read just before, and once more after it: whoever stands still in between would set
    /// it to run out too late.
    fn arm(&mut self, until: Time, cx: &mut dyn Context) {
        for _ in 0..3 {
            let seconds = (until - (cx.fresh_now() + EARLY)).0 / 1_000_000_000;
            let Some(seconds) = u32::try_from(seconds).ok().and_then(NonZeroU32::new) else { return };
            if let Err(why) = self.set(seconds) {
                let why = format!("the watchdog cannot be set: {why}");
                if self.trouble.as_ref() != Some(&why) {
                    tracing::error!(why, "No guest that needs fencing is protected here");
                }
                self.trouble = Some(why);
                return;
            }
            if cx.fresh_now() + Span(u64::from(seconds.get()) * 1_000_000_000) <= until {
                if let Own::Holding { armed, told, .. } = &mut self.own {
                    if armed.is_none() {
                        tracing::info!(
                            watchdog_ms = self.terms.watchdog().0 / 1_000_000,
                            "The watchdog of this host is set"
                        );
                    }
                    (*armed, *told) = (Some(until), self.terms);
                }
                return;
            }
        }
        // The host is too slow to be sure of anything: the shortest one is the nearest to what it has to be.
        let _ = self.set(NonZeroU32::MIN);
    }

    fn set(&mut self, seconds: NonZeroU32) -> Result<(), HostError> {
        if self.watchdog.is_none() {
            self.watchdog = Some(self.host.watchdog(&self.state)?);
        }
        let Some(watchdog) = &mut self.watchdog else { return Ok(()) };
        watchdog.set(seconds)
    }

    fn disarm(&mut self) -> Result<(), HostError> {
        let Some(watchdog) = &mut self.watchdog else { return Ok(()) };
        watchdog.disarm()
    }

    /// Nothing that needs it runs here.
    fn stop_watchdog(&mut self) {
        if let Err(why) = self.disarm() {
            tracing::error!(%why, "The watchdog of this host cannot be stopped: it resets the host");
        }
        if let Own::Holding { armed, .. } = &mut self.own {
            *armed = None;
        }
    }

    /// The node ends. The watchdog runs on while a guest that needs it may be here.
    pub(super) fn leave(&mut self, need: Need) {
        if need < Need::Arm {
            return self.stop_watchdog();
        }
        tracing::warn!(
            "Guests that need fencing stay on this host: its watchdog resets it unless an engine is back in time"
        );
    }

    /// Takes the leases of these hosts away, for guests whose copies wait for that.
    pub(super) fn take_from(&mut self, hosts: &BTreeSet<NodeName>, cx: &mut dyn Context) {
        self.takings.retain(|host, _| hosts.contains(host));
        for host in hosts {
            if !self.takings.contains_key(host) {
                tracing::warn!(%host, "The host has to be fenced before its guests are started here: its lease is waited for");
                let (taker, first) = (Taker::new(cx.now()), self.first_id());
                self.takings.insert(host.clone(), Taking { taker, first, is_fenced: false });
            }
        }
        self.run_takings(cx);
    }

    /// Whether nothing of this host runs any more.
    pub(super) fn is_fenced(&self, host: &NodeName) -> bool {
        self.takings.get(host).is_some_and(|taking| taking.is_fenced)
    }

    /// What was found out of this host is used; whoever needs it again asks again.
    pub(super) fn forget(&mut self, host: &NodeName) {
        self.takings.remove(host);
    }

    fn run_takings(&mut self, cx: &mut dyn Context) {
        let now = cx.now();
        let mut ids_used = self.ids_used;
        let mut next_id = || {
            ids_used += 1;
            RequestId(ids_used)
        };
        for (host, taking) in &mut self.takings {
            if taking.taker.next_timeout().is_some_and(|at| at <= now) {
                taking.taker.handle_timeout(now);
            }
            while let Some(output) = taking.taker.poll_output() {
                match output {
                    TakerOutput::Look => cx.ask_lease(host, LeaseRequest::Read { id: next_id() }),
                    TakerOutput::TakeAway { lease } => {
                        let new = Lease { number: lease.number + 1, standing: Standing::Taken, ..lease };
                        cx.ask_lease(host, LeaseRequest::Swap { id: next_id(), expect: lease.number, new });
                    }
                    TakerOutput::Fenced => {
                        tracing::warn!(%host, "The host is fenced: nothing that it ran runs any more");
                        taking.is_fenced = true;
                    }
                }
            }
        }
        self.ids_used = ids_used;
    }

    fn next_id(&mut self) -> RequestId {
        self.ids_used += 1;
        RequestId(self.ids_used)
    }

    /// The number that the next request will have: answers to earlier ones do not count.
    fn first_id(&self) -> RequestId {
        RequestId(self.ids_used + 1)
    }
}

#[cfg(test)]
mod tests;
