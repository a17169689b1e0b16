//! Has a guest protected, says how it stands, and stays until that is over.
//!
//! ```text
//!   HOST ─► peer ── protect ──► looked for ─► here, not protected ◄─► protected ──┬─► ended, or runs there     0
//!                                   └─► cannot be: withdrawn, 6                   ├─► unprotected by anybody   0
//!                                                                                 ├─► gone without a trace     3
//!   first SIGINT or SIGTERM: unprotect, and stay until it is done                 └─► the node is gone         5
//! ```
//!
//! The node goes on without this process: killed otherwise, it leaves a guest that stays protected.

use super::super::{CliError, Exit};
use super::Order;
use crate::console;
use crate::control::status::PeerStatus;
use crate::control::{Client, ClientError, GuestRole, GuestState, Protection, Status, Wish};
use crate::signals::{Hangup, ShutdownSignal};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use understudy_xen::xl;

/// How often the node is asked.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// How long a peer has to say that it runs a guest that is not here any more.
const TRACE_MAX: Duration = Duration::from_secs(60);

/// Asks the node, and stays until protection is over.
pub(super) fn run(control: &Path, order: &Order) -> Result<Exit, CliError> {
    let attempt = |source| CliError::System { attempt: "Signals cannot be watched".into(), source };
    let mut signal = ShutdownSignal::install(Hangup::Kills).map_err(attempt)?;
    let client = Client::new(control);
    let before = client.status().map_err(|error| no_node(error, control))?;
    let guest = name_of(&order.domain, knows(&before, &order.domain))?;
    let to = peer_for(&order.host, &before.peers)?;
    let is_known = knows(&before, &guest);
    client.protect(Protection {
        guest: guest.clone(),
        to: Some(to.clone()),
        interval_ms: order.interval_ms,
        pacing: None,
        mode: None,
        find_changes: order.find_changes,
    })?;
    let mut watch = Watch::new(guest, to);
    loop {
        if let Some(name) = signal.arrived().map_err(attempt)? {
            watch.end(name)?;
            client.wish(&watch.guest, Wish::Unprotect)?;
        }
        let status = client.status().map_err(|error| watch.node_gone(error))?;
        match watch.see(&status, Instant::now()) {
            Ok(Seen::Same) => {}
            Ok(Seen::News) => console::say(format_args!("{}: {}", watch.guest, watch.said)),
            Ok(Seen::Over(how)) => {
                console::say(format_args!("{}: {how}", watch.guest));
                return Ok(Exit::Ok);
            }
            Err(error) => {
                if !is_known && !watch.was_here {
                    // Nobody is to find it protected later that was told that it cannot be.
                    let _ = client.wish(&watch.guest, Wish::Unprotect);
                }
                return Err(error);
            }
        }
        thread::sleep(ASK_EVERY);
    }
}

fn no_node(error: ClientError, control: &Path) -> CliError {
    match error {
        ClientError::Unreachable { .. } => CliError::Unreachable(format!(
            "No node answers at {control}. Start `understudy node --hypervisor xen …` here and on the host that is to hold \
             the copy, or name the socket of the one that runs here with --control (docs/XEN.md)",
            control = control.display()
        )),
        other => other.into(),
    }
}

/// The guest's name: a number that is not one is a domain's, as for xl.
pub(super) fn name_of(domain: &str, is_known: bool) -> Result<String, CliError> {
    let number = domain.parse::<u16>().ok().filter(|_| !is_known);
    let Some(number) = number else { return Ok(domain.to_owned()) };
    let domains = xl::domains().map_err(|error| CliError::Refused(error.to_string()))?;
    let found = domains.into_iter().find(|(its, _)| its.0 == number);
    let none =
        || CliError::Refused(format!("There is no domain {number} on this host; `xl list` shows them"));
    found.map(|(_, name)| name).ok_or_else(none)
}

fn knows(status: &Status, guest: &str) -> bool {
    status.guests.iter().any(|here| here.name == guest) || status.waiting.iter().any(|it| it.name == guest)
}

/// The peer that HOST means: by name, or by its address with or without the port; what ssh takes before an `@` is
/// passed over.
fn peer_for(host: &str, peers: &[PeerStatus]) -> Result<String, CliError> {
    let bare = host.rsplit_once('@').map_or(host, |(_, bare)| bare);
    if let Some(peer) = peers.iter().find(|peer| peer.node == host || peer.node == bare) {
        return Ok(peer.node.clone());
    }
    let is_at = |peer: &&PeerStatus| {
        peer.address.is_some_and(|at| at.to_string() == bare || at.ip().to_string() == bare)
    };
    let mut there = peers.iter().filter(is_at);
    match (there.next(), there.next()) {
        (Some(peer), None) => Ok(peer.node.clone()),
        (Some(_), Some(_)) => {
            Err(CliError::Refused(format!("Several peers of this node are at {bare}; name one of them")))
        }
        (None, _) => {
            let names: Vec<&str> = peers.iter().map(|peer| peer.node.as_str()).collect();
            Err(CliError::Refused(format!(
                "{host} is not a peer of this host's node, which has {}; give the node --peer NAME=ADDR for it",
                if names.is_empty() { "none".to_owned() } else { names.join(", ") }
            )))
        }
    }
}

/// What a look has shown.
#[derive(PartialEq, Eq, Debug)]
enum Seen {
    /// Nothing that was not said already.
    Same,
    /// It stands otherwise: see [`Watch::said`].
    News,
    /// Protection has ended, in this way.
    Over(String),
}

/// What is known of the guest so far.
struct Watch {
    guest: String,
    peer: String,
    /// The node has run it since this began.
    was_here: bool,
    was_protected: bool,
    /// A signal came.
    is_ending: bool,
    /// How it stands, as said last.
    said: String,
    absent_since: Option<Instant>,
}

impl Watch {
    fn new(guest: String, peer: String) -> Self {
        let said = String::new();
        Self {
            guest,
            peer,
            was_here: false,
            was_protected: false,
            is_ending: false,
            said,
            absent_since: None,
        }
    }

    /// A signal came. The second one does not wait any more.
    fn end(&mut self, signal: &str) -> Result<(), CliError> {
        if std::mem::replace(&mut self.is_ending, true) {
            return Err(CliError::Refused(format!(
                "{signal} again: {} was asked to go on unprotected and is not yet; `understudy status` shows it",
                self.guest
            )));
        }
        Ok(())
    }

    fn node_gone(&self, error: ClientError) -> CliError {
        match error {
            ClientError::Unreachable { .. } if self.was_protected => CliError::Unreachable(format!(
                "The node does not answer any more: {} is paused or runs unheard, and its copy on {} may take over",
                self.guest, self.peer
            )),
            other => other.into(),
        }
    }

    /// Looks at a status that was told at `now`.
    fn see(&mut self, status: &Status, now: Instant) -> Result<Seen, CliError> {
        let here = status.guests.iter().find(|here| here.name == self.guest);
        let Some(here) = here.filter(|here| self.was_here || here.state != GuestState::Ended) else {
            return self.see_none(status, now);
        };
        self.absent_since = None;
        if here.role == GuestRole::Secondary {
            let why = "moved by a switchover, or taken over";
            return Ok(Seen::Over(format!("runs on {} now ({why}); its copy is held here", self.peer)));
        }
        self.was_here = true;
        self.was_protected |= here.protected;
        match here.state {
            GuestState::Ended => Ok(Seen::Over("has ended on this host, and its protection with it".into())),
            GuestState::Unprotected if !here.wished => {
                Ok(Seen::Over("goes on without a copy, as was asked for".into()))
            }
            _ if here.protected => {
                let pace = match here.pacing.starts_with("interval=") {
                    true => "a checkpoint",
                    false => "a checkpoint when output waits, or",
                };
                let (peer, every) = (&self.peer, here.interval_ms);
                Ok(self.news(format!("protected; its copy is on {peer}, {pace} every {every} ms")))
            }
            _ => Ok(self.news(format!("not protected: {}", here.reason))),
        }
    }

    /// The node does not have it.
    fn see_none(&mut self, status: &Status, now: Instant) -> Result<Seen, CliError> {
        if self.is_ending && !self.was_here {
            return Ok(Seen::Over("is not looked for any more".into()));
        }
        if self.was_protected {
            let since = *self.absent_since.get_or_insert(now);
            if now.duration_since(since) < TRACE_MAX {
                return Ok(self.news(format!("not here any more; whether {} runs it shows soon", self.peer)));
            }
            return Err(CliError::CheckFailed(format!(
                "{} is not here any more, and {} does not say that it runs there; the node's log says what happened",
                self.guest, self.peer
            )));
        }
        let waiting = status.waiting.iter().find(|waiting| waiting.name == self.guest);
        match waiting {
            Some(waiting) if waiting.reason.is_empty() => Ok(self.news("is being looked for".into())),
            Some(waiting) => {
                Err(CliError::Refused(format!("{} cannot be protected: {}", self.guest, waiting.reason)))
            }
            None => Err(CliError::Refused(format!(
                "The node gave {} up: the witness's record does not let it be protected here; the node's log says more",
                self.guest
            ))),
        }
    }

    fn news(&mut self, text: String) -> Seen {
        if self.said == text {
            return Seen::Same;
        }
        self.said = text;
        Seen::News
    }
}

#[cfg(test)]
mod tests;
