//! This host's own lease, and the watchdog that is set by it.
//!
//! ```text
//!   Idle ── needed ──► Reading ── told ──► Holding: renewed, and by that the watchdog ── taken away ──► Lost
//!     ▲                                       │
//!     └──────────── Returning ◄── not needed ─┘
//! ```
//!
//! Not here: how the watchdog is set ([`timer`](super::timer)).

use super::ids::RequestIds;
use super::timer::Timer;
use super::{Held, Need};
use crate::guest::HostError;
use crate::node::context::Context;
use std::num::NonZeroU32;
use understudy_session::lease::{Holder, HolderOutput, Lease, LeaseReply, LeaseRequest, Standing, Terms};
use understudy_session::{NodeName, RequestId, Span, Time, WitnessOutcome};

/// How often an unanswered request is repeated.
const ASK_EVERY: Span = Span::from_ms(500);

#[derive(Debug)]
enum Own {
    Idle,
    /// The witness is asked for the lease as it is.
    Reading {
        first: RequestId,
        ask_at: Time,
    },
    Holding {
        holder: Holder,
        first: RequestId,
        /// The watchdog that may still run was set by these terms, or by shorter ones.
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

/// The lease of this host.
#[derive(Debug)]
pub(super) struct OwnLease {
    node: NodeName,
    terms: Terms,
    timer: Timer,
    need: Need,
    own: Own,
    /// Why the lease is not held, or the watchdog not set.
    trouble: Option<String>,
}

impl OwnLease {
    pub(super) fn new(node: NodeName, terms: Terms, timer: Timer) -> Self {
        Self { node, terms, timer, need: Need::Nothing, own: Own::Idle, trouble: None }
    }

    pub(super) fn held(&self) -> Held {
        match &self.own {
            Own::Holding { is_near: true, .. } | Own::Lost => Held::Near,
            Own::Holding { armed: Some(_), .. } => Held::Armed,
            Own::Holding { holder, .. } if holder.is_held() => Held::Renewed,
            Own::Holding { .. } | Own::Idle | Own::Reading { .. } | Own::Returning { .. } => Held::No,
        }
    }

    pub(super) fn need(&self) -> Need {
        self.need
    }

    pub(super) fn node(&self) -> &NodeName {
        &self.node
    }

    /// Why the lease is not held, or the watchdog not set.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The lease's number, if it is held; and when the watchdog runs out at the latest, if it is set.
    pub(super) fn number_and_armed(&self) -> (Option<u64>, Option<Time>) {
        match &self.own {
            Own::Holding { holder, armed, .. } => (Some(holder.number()), *armed),
            _ => (None, None),
        }
    }

    /// Finds out whether the watchdog can be set at all, by setting it for a moment.
    pub(super) fn probe(&mut self) -> Result<(), HostError> {
        if matches!(&self.own, Own::Holding { armed: Some(_), .. }) || self.timer.is_left() {
            return Ok(());
        }
        let seconds = NonZeroU32::new((self.terms.watchdog().0 / 1_000_000_000) as u32);
        let probed = self.timer.set(seconds.unwrap_or(NonZeroU32::MIN)).and_then(|()| self.timer.disarm());
        probed.inspect_err(|why| self.trouble = Some(format!("the watchdog cannot be set: {why}")))
    }

    /// One iteration. Guests here need this much.
    pub(super) fn run(&mut self, need: Need, ids: &mut RequestIds, cx: &mut dyn Context) {
        let now = cx.now();
        let need = need.max(self.timer.needed_by_an_earlier_engine(now));
        self.needs(need, now, ids);
        self.note_a_silent_witness(cx);
        match &mut self.own {
            Own::Reading { ask_at, .. } if *ask_at <= now => {
                *ask_at = now + ASK_EVERY;
                cx.ask_lease(&self.node, LeaseRequest::Read { id: ids.take() });
            }
            Own::Returning { ask_at, number, .. } if *ask_at <= now => {
                *ask_at = now + ASK_EVERY;
                let (expect, terms) = (*number, self.terms);
                let new = Lease { number: expect + 1, standing: Standing::Released, terms };
                cx.ask_lease(&self.node, LeaseRequest::Swap { id: ids.take(), expect, new });
            }
            Own::Idle | Own::Lost | Own::Reading { .. } | Own::Returning { .. } => {}
            Own::Holding { holder, .. } => {
                if holder.next_timeout().is_some_and(|at| at <= now) {
                    holder.handle_timeout(now);
                }
                self.perform(ids, cx);
            }
        }
    }

    fn note_a_silent_witness(&mut self, cx: &dyn Context) {
        if cx.keeps_leases() || matches!(self.own, Own::Idle) {
            return;
        }
        let why = match cx.is_witness_up() {
            true => "the witness is of an older version, which keeps no leases; upgrade it",
            false => "the witness does not answer",
        };
        if self.trouble.as_deref() != Some(why) {
            self.trouble = Some(why.into());
        }
    }

    /// When [`run`](Self::run) has something to do.
    pub(super) fn next_timeout(&self) -> Option<Time> {
        let own = match &self.own {
            Own::Idle | Own::Lost => None,
            Own::Reading { ask_at, .. } | Own::Returning { ask_at, .. } => Some(*ask_at),
            Own::Holding { holder, .. } => holder.next_timeout(),
        };
        own.into_iter().chain(self.timer.next_timeout()).min()
    }

    fn needs(&mut self, need: Need, now: Time, ids: &RequestIds) {
        let before = std::mem::replace(&mut self.need, need);
        if before == need {
            return;
        }
        if need < Need::Arm {
            // No guest that needs the watchdog runs here any more. Other hosts wait for nothing else.
            self.stop_watchdog();
        }
        match (&self.own, need) {
            (Own::Idle | Own::Lost, Need::Renew | Need::Arm) => self.begin(now, ids),
            (Own::Holding { holder, .. }, Need::Nothing) => {
                let (number, first) = (holder.number(), ids.next());
                self.own = Own::Returning { first, number, ask_at: now };
            }
            (Own::Reading { .. } | Own::Lost, Need::Nothing) => self.own = Own::Idle,
            // A lease that is being given back is taken again after that.
            _ => {}
        }
    }

    fn begin(&mut self, now: Time, ids: &RequestIds) {
        self.trouble = None;
        self.own = Own::Reading { first: ids.next(), ask_at: now };
    }

    /// Takes a reply of the witness about this host's lease.
    pub(super) fn told(&mut self, reply: LeaseReply, ids: &mut RequestIds, cx: &mut dyn Context) {
        let now = cx.now();
        match &mut self.own {
            Own::Reading { first, .. } if reply.id >= *first && reply.outcome == WitnessOutcome::Told => {
                self.hold(reply.lease, now, ids);
            }
            Own::Returning { first, number, .. } if reply.id >= *first => {
                let newer = reply.lease.filter(|lease| lease.number > *number);
                match newer {
                    Some(lease) if lease.standing == Standing::Held => {
                        // An older renewal of this host was under way.
                        *number = lease.number;
                    }
                    Some(_) => {
                        self.own = Own::Idle;
                        if self.need > Need::Nothing {
                            self.begin(now, ids);
                        }
                    }
                    None => {}
                }
            }
            Own::Holding { first, .. } if reply.id >= *first => self.renewed(reply, now, ids),
            _ => {}
        }
        if matches!(self.own, Own::Holding { .. }) {
            self.perform(ids, cx);
        }
    }

    fn hold(&mut self, before: Option<Lease>, now: Time, ids: &RequestIds) {
        let number = before.map_or(0, |lease| lease.number);
        // An engine before this one may have set the watchdog by longer terms.
        let earlier = before.filter(|lease| lease.standing == Standing::Held).map(|lease| lease.terms);
        let told = earlier.map_or(self.terms, |terms| terms.max(self.terms));
        let (holder, first) = (Holder::new(self.terms, number, now), ids.next());
        self.own = Own::Holding { holder, first, told, armed: None, is_near: false };
    }

    fn renewed(&mut self, reply: LeaseReply, now: Time, ids: &RequestIds) {
        let Own::Holding { holder, .. } = &mut self.own else { return };
        let next = holder.number() + 1;
        match (reply.outcome, reply.lease) {
            (WitnessOutcome::Swapped, Some(lease)) => {
                self.trouble = None;
                holder.renewed(now, lease.number);
            }
            // The reply to an earlier renewal was lost. Before the first renewal, that may be one of an engine before this
            // one, which asked earlier than this one would count from.
            (WitnessOutcome::Conflict, Some(lease))
                if lease.standing == Standing::Held && lease.number == next && holder.has_begun() =>
            {
                self.trouble = None;
                holder.renewed(now, lease.number);
            }
            (WitnessOutcome::Conflict, lease) if !holder.has_begun() => {
                if lease.map_or(0, |lease| lease.number) + 1 != next {
                    self.hold(lease, now, ids);
                }
            }
            (WitnessOutcome::Conflict, Some(lease)) if lease.standing == Standing::Taken => holder.taken(),
            // A reply that came late.
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

    fn perform(&mut self, ids: &mut RequestIds, cx: &mut dyn Context) {
        while let Own::Holding { holder, told, armed, .. } = &mut self.own
            && let Some(output) = holder.poll_output()
        {
            match output {
                HolderOutput::Renew { number } => {
                    let new = Lease { number, standing: Standing::Held, terms: *told };
                    cx.ask_lease(&self.node, LeaseRequest::Swap { id: ids.take(), expect: number - 1, new });
                }
                HolderOutput::Arm { until } if self.need == Need::Arm => self.arm(until, cx),
                HolderOutput::Arm { .. } => (*armed, *told) = (None, self.terms),
                HolderOutput::Stop => self.near(true),
                HolderOutput::Go => self.near(false),
                HolderOutput::Lost => self.lost(cx.now(), ids),
            }
        }
    }

    /// The watchdog is near, or not any more.
    fn near(&mut self, now_near: bool) {
        let Own::Holding { is_near, .. } = &mut self.own else { return };
        *is_near = now_near;
        let why = self.trouble.as_deref().unwrap_or("its renewal is late");
        match (now_near, self.need) {
            (false, _) => tracing::warn!("This host's lease is confirmed again in time"),
            (true, Need::Arm) => {
                tracing::error!(
                    why,
                    "The watchdog resets this host soon: guests that need fencing stand still"
                );
            }
            (true, Need::Renew | Need::Nothing) => tracing::warn!(
                why,
                "This host's lease is late; if a guest that needs fencing ran here, the host would be reset soon"
            ),
        }
    }

    /// Another host has taken this host's lease away.
    fn lost(&mut self, now: Time, ids: &RequestIds) {
        self.trouble = Some("another host has taken this host's lease away".into());
        if self.need == Need::Arm {
            tracing::error!("Another host has taken this host's lease away: the watchdog resets this host");
            self.own = Own::Lost;
        } else {
            tracing::warn!("Another host has taken this host's lease away; it takes it anew");
            self.begin(now, ids);
        }
    }

    fn arm(&mut self, until: Time, cx: &dyn Context) {
        match self.timer.set_until(until, cx) {
            Ok(false) => {}
            Ok(true) => {
                let Own::Holding { armed, told, .. } = &mut self.own else { return };
                if armed.is_none() {
                    let watchdog_ms = self.terms.watchdog().0 / 1_000_000;
                    tracing::info!(watchdog_ms, "The watchdog of this host is set");
                }
                (*armed, *told) = (Some(until), self.terms);
            }
            Err(why) => {
                let why = format!("the watchdog cannot be set: {why}");
                if self.trouble.as_ref() != Some(&why) {
                    tracing::error!(why, "No guest that needs fencing is protected here");
                }
                self.trouble = Some(why);
            }
        }
    }

    /// Stops the watchdog: no guest that needs it runs here.
    pub(super) fn stop_watchdog(&mut self) {
        if let Err(why) = self.timer.disarm() {
            tracing::error!(%why, "The watchdog of this host cannot be stopped: it resets the host");
        }
        if let Own::Holding { armed, .. } = &mut self.own {
            *armed = None;
        }
    }
}
