//! One iteration of the loop: wait, take in what happened, let sessions decide, send what they order.

use super::context::Context;
use super::handle::Command;
use super::headline::headline;
use super::link_event::LinkEvent;
use super::new_primary::NewPrimary;
use super::order_error::OrderError;
use super::witness::WitnessEvent;
use super::{Node, SIGNAL, TIMER, WAKER};
use crate::config::{FenceChoice, GuestSettings, PacingSettings};
use crate::control::status::{CertificateStatus, FORMAT, PathStatus, PeerStatus, WitnessStatus};
use crate::control::{self, Protection, Request, Response, Status};
use crate::guest::BoxedSource;
use crate::metrics::http;
use mio::Token;
use mio::event::Event;
use std::io;
use std::time::Duration;
use understudy_checkpoint::Epoch;
use understudy_session::primary::Origin;
use understudy_session::{Mode, Span};

impl Node {
    /// One iteration.
    pub(super) fn iterate(&mut self) -> io::Result<()> {
        self.wait()?;
        self.cx.now = self.clock.now();
        self.sort_events()?;
        self.take_reports();
        self.take_commands();
        self.take_found();
        self.read_witness();
        self.read_links();
        self.read_switch();
        self.run_timers();
        self.let_out();
        self.flush();
        self.note_changes();
        self.stalls.turned(self.cx.now, self.clock.now());
        let (guests, now) = (&mut self.guests, self.cx.now);
        self.supervisor.turned(now, || headline(&guests.status(now)));
        Ok(())
    }

    /// Sleeps until a socket, a worker, or a timer has something.
    fn wait(&mut self) -> io::Result<()> {
        let timeout = if self.cx.links.has_unread() || self.switch.has_unread() {
            Some(Duration::ZERO)
        } else {
            self.clock.wake_at(self.next_timeout())?;
            None
        };
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    fn next_timeout(&self) -> Option<understudy_session::Time> {
        let times = [
            self.guests.next_timeout(),
            self.discovery.next_timeout(),
            self.cx.links.next_timeout(),
            self.cx.witness.next_timeout(),
            self.switch.next_timeout(),
            self.control_server.next_timeout(),
            self.journal.next_timeout(),
            Some(self.doorplate.look_at()),
            self.supervisor.next_timeout(),
            self.metrics_server.as_ref().and_then(|server| server.next_timeout()),
        ];
        times.into_iter().flatten().min()
    }

    fn sort_events(&mut self) -> io::Result<()> {
        let has_ended = |event: &Event| event.is_read_closed() || event.is_error();
        let ready: Vec<(Token, bool)> =
            self.events.iter().map(|event| (event.token(), has_ended(event))).collect();
        for (token, has_ended) in ready {
            match token {
                TIMER => self.clock.rang()?,
                WAKER => {}
                SIGNAL => self.take_signals()?,
                _ if self.control_server.owns(token) => self.answer_operator(token),
                _ if self.metrics_server.as_ref().is_some_and(|server| server.owns(token)) => {
                    self.answer_scrape(token)
                }
                _ => {
                    self.cx.witness.ready(token);
                    self.switch.ready(token, has_ended);
                    self.cx.links.ready(token, has_ended, self.cx.now);
                }
            }
        }
        Ok(())
    }

    fn take_signals(&mut self) -> io::Result<()> {
        let Some(signal) = &mut self.shutdown else { return Ok(()) };
        if let Some(name) = signal.arrived()? {
            tracing::info!(signal = name, "Ending; guests that run here end too, their copies take over");
            self.stopping = true;
        } else if signal.take_reload() {
            self.reload_by_signal();
        }
        Ok(())
    }

    fn take_reports(&mut self) {
        self.waker.answer();
        while let Ok((runtime, report)) = self.reports.try_recv() {
            self.guests.report(runtime, report, &mut self.cx);
        }
    }

    fn take_commands(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.perform(command);
        }
    }

    fn take_found(&mut self) {
        while let Some((guest, found)) = self.discovery.next_seen() {
            let name = guest.name.clone();
            if let Some(found) = found {
                self.guests.found(guest, found, &mut self.cx);
            }
            self.guests.looked_for(&name, &mut self.cx);
        }
    }

    /// The client may have left meanwhile: an answer that nobody reads is dropped.
    fn perform(&mut self, command: Command) {
        match command {
            Command::Status(to) => {
                let _ = to.send(self.status());
            }
            Command::Wish { guest, wish, to } => {
                let _ = to.send(self.wish(&guest, wish, false));
            }
            Command::Add { guest, peer, source, to } => {
                let output = self.guests.outputs.frames(Epoch(0));
                let (name, source) = (guest.as_str().into(), BoxedSource(source));
                let (machine, origin, takeover, pacing) = (None, Origin::Started, None, None);
                let mode = Mode::default();
                let compared_bytes = 0;
                let beginning = NewPrimary {
                    name,
                    peer,
                    source,
                    machine,
                    output,
                    origin,
                    takeover,
                    pacing,
                    mode,
                    fence: FenceChoice::Off,
                    compared_bytes,
                };
                let _ = to.send(self.guests.add(beginning, &mut self.cx));
            }
            Command::ReplayStats { guest, to } => {
                let _ = to.send(self.guests.replay_stats(&guest));
            }
            Command::Copy { guest, to } => {
                if !self.guests.copy(&guest, to.clone()) {
                    let _ = to.send(None);
                }
            }
            Command::CutLink { peer } => {
                self.cx.links.close_peer(&peer, "Cut by hand", self.cx.now);
            }
            Command::Maintained { asker, kept } => {
                let response = answer_to(self.maintained(kept));
                self.control_server.answer(asker, control::line_of(&response));
            }
            Command::FactsGathered { facts } => self.tell_facts(&facts),
            Command::Stop => self.stopping = true,
        }
    }

    fn read_witness(&mut self) {
        self.cx.witness.read(self.cx.now);
        for event in self.cx.witness.take_events(self.cx.now) {
            match event {
                WitnessEvent::Up => {
                    self.guests.witness_up(&mut self.cx);
                    self.discovery.look_now();
                }
                WitnessEvent::Down => self.guests.witness_down(&mut self.cx),
                WitnessEvent::Reply { guest, reply } => {
                    self.guests.witness_reply(&guest, reply, &mut self.cx);
                }
                WitnessEvent::LeaseReply { host, reply } => {
                    self.guests.lease_reply(&host, reply, &mut self.cx);
                }
            }
        }
    }

    fn read_links(&mut self) {
        self.cx.links.read(self.cx.now);
        if self.cx.links.take_joined() {
            self.reload_by_signal();
        }
        self.take_link_events();
    }

    fn take_link_events(&mut self) {
        while let Some(event) = self.cx.links.next_event() {
            match event {
                LinkEvent::Up { peer } => self.guests.link_up(&peer, &mut self.cx),
                LinkEvent::Down { peer } => self.guests.link_down(&peer, &mut self.cx),
                LinkEvent::Bulletin { peer, said } => {
                    self.cx.links.heard_bulletin(&peer, &said, self.cx.now);
                }
                LinkEvent::FactsWanted { peer } => self.begin_facts(peer),
                LinkEvent::Facts { peer, facts } => self.facts.arrived(peer, facts),
                LinkEvent::Gone { peer } => self.guests.peer_gone(&peer, &mut self.cx),
                LinkEvent::Alive { peer } => self.guests.peer_alive(&peer, &mut self.cx),
                LinkEvent::Arrived { peer, guest, what } => {
                    self.guests.arrived(peer, guest, what, &mut self.cx);
                }
            }
        }
    }

    fn read_switch(&mut self) {
        let guests = &self.guests;
        let mut has_delivered = false;
        self.switch.read(self.cx.now, |frame| {
            guests.deliver(frame);
            has_delivered = true;
        });
        if has_delivered {
            guests.notify();
        }
    }

    fn run_timers(&mut self) {
        let now = self.cx.now;
        let guests = &self.guests;
        let may_claim = !self.cx.witness.is_configured() || self.cx.witness.is_up();
        self.discovery.run(now, may_claim, |name| guests.sees_to(name));
        self.guests.run(&mut self.cx);
        self.cx.links.run_timers(now);
        self.tell_peers();
        self.cx.witness.run_timers(now);
        self.switch.run_timers(now);
        self.look_after_control();
        self.control_server.expire(now);
        self.metrics_server.iter_mut().for_each(|server| server.expire(now));
    }

    /// Released frames leave here and nowhere else.
    fn let_out(&mut self) {
        self.guests.take_output(&mut self.leaving, self.cx.monotonic_ns(self.cx.now));
        self.leaving.drain(..).for_each(|frame| self.switch.write(&frame));
        self.switch.flush(self.cx.now);
    }

    /// Links may end while they are flushed, or by a session's order: guests are told in this iteration.
    fn flush(&mut self) {
        self.cx.links.flush(self.cx.now);
        self.take_link_events();
    }

    fn answer_operator(&mut self, token: Token) {
        let Some(question) = self.control_server.ready(token, self.cx.now) else { return };
        let response = match control::parse_request(&question.bytes) {
            Ok(Request::Status) => Response::Status { status: Box::new(self.status()) },
            Ok(Request::Wish { guest, wish, even_in_maintenance }) => {
                answer_to(self.wish(&guest, wish, even_in_maintenance))
            }
            Ok(Request::Protect(protection)) => answer_to(self.protect(protection)),
            Ok(Request::Reload) => answer_to(self.reload()),
            Ok(Request::Events { after, wait_ms }) => {
                return self.answer_events(question.client, after, wait_ms);
            }
            Ok(Request::Maintenance { on }) => match self.begin_maintenance(on, question.client) {
                // Answered when it is done.
                Ok(()) => return,
                refused => answer_to(refused),
            },
            Ok(Request::FactsWanted { peer }) => answer_to(self.ask_facts(&peer)),
            Ok(Request::Facts { peer }) => self.facts.of(&peer),
            Ok(Request::Export { guest, path, epoch }) => {
                answer_to(self.exports.begin(&self.guests, &guest, path, epoch.map(Epoch)))
            }
            Err(refusal) => refusal,
        };
        self.control_server.answer(question.client, control::line_of(&response));
    }

    /// Begins what an operator requests. `Unprotect` also ends the search for a guest that is not here yet.
    fn wish(&mut self, name: &str, wish: control::Wish, even_in_maintenance: bool) -> Result<(), OrderError> {
        if wish == control::Wish::Unprotect && !self.guests.sees_to(name) && self.discovery.forget(name) {
            self.guests.looked_for(name, &mut self.cx);
            return Ok(());
        }
        if wish == control::Wish::Switchover && !even_in_maintenance {
            self.check_destination(name)?;
        }
        self.guests.wish(name, wish, &mut self.cx)
    }

    /// Protects a guest: again, or from now on.
    fn protect(&mut self, protection: Protection) -> Result<(), OrderError> {
        let Protection { guest, to, interval_ms, pacing, find_changes, mode } = protection;
        let pacing = pacing.map(|text| text.parse::<PacingSettings>()).transpose()?;
        let name = &*guest;
        let interval = interval_ms.map(|ms| Span::from_ms(u64::from(ms)));
        let clock = PacingSettings { interval, budgets: None };
        let pacing = pacing
            .map_or(clock, |pacing| PacingSettings { interval: pacing.interval.or(interval), ..pacing });
        // Invalid requests are refused before anything begins.
        pacing.decide(self.config.timing.pacing)?;
        let held_by = self.guests.peer_of(name);
        if let (Some(peer), Some(to)) = (held_by, &to)
            && peer.0 != *to
        {
            return Err(OrderError::HeldBy { peer: peer.clone(), guest, named: to.clone() });
        }
        if held_by.is_some() {
            if find_changes.is_some_and(|how| !self.guests.finds_changes(name, how)) {
                return Err(OrderError::FindsChangesAlready(guest));
            }
            self.guests.wish(name, control::Wish::Protect, &mut self.cx)?;
            if let Some(mode) = mode {
                self.guests.set_mode(name, mode.into(), &mut self.cx)?;
            }
            return Ok(self.guests.set_pacing(name, pacing, &mut self.cx)?);
        }
        let PacingSettings { interval, budgets } = pacing;
        let guest = GuestSettings {
            name: Some(name.to_owned()),
            peer: to,
            interval,
            pacing: budgets,
            find_changes,
            mode,
            ..GuestSettings::default()
        };
        let guest = guest.decide_xen(&self.config.peers, self.config.timing.pacing)?;
        self.discovery.want(guest)?;
        self.guests.look_for(name);
        Ok(())
    }

    fn answer_scrape(&mut self, token: Token) {
        let now = self.cx.now;
        let Some(server) = &mut self.metrics_server else { return };
        let Some(question) = server.ready(token, now) else { return };
        self.guests.measure();
        self.metrics.set_loop_stall(self.stalls.longest().0 as f64 / 1e9);
        self.metrics.set_maintenance(self.maintenance.is_on());
        let (armed, waits) = self.guests.fencing.measured();
        self.metrics.set_fencing(armed, waits);
        self.metrics.set_certificate_expiry(self.cx.links.security.expires_at());
        let witness = &self.cx.witness;
        if witness.is_configured() {
            self.metrics.set_witness(witness.is_up() && witness.confirms(now));
        }
        server.answer(question.client, http::respond(&question.bytes, &self.metrics));
    }

    fn status(&mut self) -> Status {
        let mut guests = self.guests.status(self.cx.now);
        self.exports.fill(&mut guests);
        let addresses = |node: &understudy_session::NodeName| -> Vec<_> {
            self.config.peers.get(node).into_iter().flatten().map(|address| address.remote).collect()
        };
        let peer = |(node, health): (&understudy_session::NodeName, super::peer::PeerHealth)| PeerStatus {
            node: node.0.clone(),
            address: addresses(node).first().copied(),
            addresses: addresses(node),
            path: self.cx.links.path(node).map(|(from, to)| PathStatus { from, to }),
            connected: health.connected,
            reason: health.reason,
            round_trip_us: health.round_trip.map(|span| span.0 / 1_000),
            said: self.said_by(node),
            spares: self.cx.links.spares(node, self.cx.now),
        };
        Status {
            format: FORMAT,
            node: self.config.node.0.clone(),
            pid: std::process::id(),
            clock_ns: self.cx.monotonic_ns(self.cx.now),
            maintenance: self.maintenance.status(),
            witness: self.witness_status(),
            certificate: self.cx.links.security.credentials().map(|own| CertificateStatus {
                fingerprint: format!("{:#}", own.fingerprint()),
                expires: own.expires_at().map(|at| at.as_secs()),
            }),
            fencing: self.guests.fencing_status(self.cx.now),
            peers: self.cx.links.peers(self.cx.now).map(peer).collect(),
            guests,
            waiting: self.discovery.waiting(|name| self.guests.sees_to(name)),
        }
    }
}

/// The witness in the configuration, and the state of requests to it.
impl Node {
    fn witness_status(&self) -> WitnessStatus {
        let Some(config) = &self.config.witness else { return WitnessStatus::none() };
        WitnessStatus {
            configured: true,
            kind: Some(config.kind()),
            address: config.to_string(),
            connected: self.cx.witness.is_up(),
            reason: self.cx.witness.trouble(self.cx.now),
        }
    }
}

fn answer_to(result: Result<(), impl ToString>) -> Response {
    match result {
        Ok(()) => Response::Accepted,
        Err(why) => Response::Refused { reason: why.to_string() },
    }
}
