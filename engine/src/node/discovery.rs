//! Looks for Xen guests that should be protected here: at the start, and again when one of them is created, rebooted,
//! or requested. A thread does it, because xl takes a while.
//!
//! ```text
//!   loop ──name──► discovery thread ──► Host: a domain of that name? ──Found──► loop (by the waker)
//! ```

use super::order_error::OrderError;
use crate::config::XenGuestConfig;
use crate::control::status::WaitingStatus;
use crate::guest::{LoopWaker, NotFound, RunningGuest, XenHost, panic_words};
use crossbeam::channel::{Receiver, Sender, bounded};
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::Builder;
use understudy_session::{Span, Time};

/// The time between two looks for absent guests.
const LOOK_EVERY: Span = Span::from_ms(2_000);

/// How many guests are looked for at the same time.
const ASKED_MAX: usize = 64;

/// The result of a look.
type Answer = (XenGuestConfig, Result<RunningGuest, NotFound>);

/// Guests that should be protected here once they run.
pub(super) struct Discovery {
    /// `None` on a node of the lab, whose guests begin and end with it.
    thread: Option<(Sender<XenGuestConfig>, Receiver<Answer>)>,
    wanted: BTreeMap<String, Wanted>,
    look_at: Time,
    /// The last look was skipped, because guests that it found could not be claimed.
    had_to_wait: bool,
}

struct Wanted {
    guest: XenGuestConfig,
    /// The thread has not answered yet.
    asked: bool,
    /// Why it could not be protected the last time.
    said: Option<String>,
}

impl Discovery {
    /// For a node whose guests begin and end with it.
    pub(super) fn none() -> Self {
        Self { thread: None, wanted: BTreeMap::new(), look_at: Time(0), had_to_wait: false }
    }

    /// Starts the thread, which ends when this is dropped.
    pub(super) fn start(host: XenHost, waker: LoopWaker) -> io::Result<Self> {
        let (ask, asked) = bounded::<XenGuestConfig>(ASKED_MAX);
        let (tell, told) = bounded(ASKED_MAX);
        Builder::new().name("discovery".into()).spawn(move || {
            for guest in asked {
                let found = look(|| host.find(&guest.name, guest.find_changes));
                if tell.send((guest, found)).is_err() {
                    return;
                }
                waker.wake();
            }
        })?;
        Ok(Self { thread: Some((ask, told)), ..Self::none() })
    }

    /// Adds a guest to look for; an error on a node that looks for none.
    pub(super) fn want(&mut self, guest: XenGuestConfig) -> Result<(), OrderError> {
        if self.thread.is_none() {
            return Err(OrderError::NoGuestOfLab(guest.name));
        }
        self.look_now();
        self.wanted.insert(guest.name.clone(), Wanted { guest, asked: false, said: None });
        Ok(())
    }

    /// Removes a guest to look for; `false` if there was none of this name.
    pub(super) fn forget(&mut self, name: &str) -> bool {
        self.wanted.remove(name).is_some()
    }

    /// When the next look is due.
    pub(super) fn look_now(&mut self) {
        self.look_at = Time(0);
    }

    /// Guests that were not found, and why.
    pub(super) fn waiting(&self, is_here: impl Fn(&str) -> bool) -> Vec<WaitingStatus> {
        let absent = self.wanted.values().filter(|wanted| !is_here(&wanted.guest.name));
        let status = |wanted: &Wanted| WaitingStatus {
            name: wanted.guest.name.clone(),
            reason: wanted.said.clone().unwrap_or_default(),
        };
        absent.map(status).collect()
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        (!self.wanted.is_empty()).then_some(self.look_at)
    }

    /// Starts the next look if it is due and found guests can be claimed: once found, a guest's output waits for the
    /// witness's answer.
    pub(super) fn run(&mut self, now: Time, may_claim: bool, is_here: impl Fn(&str) -> bool) {
        let Some((ask, _)) = &self.thread else { return };
        if self.look_at > now {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        if !may_claim && !std::mem::replace(&mut self.had_to_wait, true) {
            // A node that has just started has not reached its witness yet.
            return;
        }
        self.had_to_wait = !may_claim;
        if !may_claim {
            let absent = self.wanted.values_mut().filter(|wanted| !is_here(&wanted.guest.name));
            return absent.for_each(|wanted| wanted.say(&NotFound::NoWitness));
        }
        for wanted in self.wanted.values_mut().filter(|wanted| !wanted.asked && !is_here(&wanted.guest.name))
        {
            wanted.asked = ask.try_send(wanted.guest.clone()).is_ok();
        }
    }

    /// The next result: a guest that runs here, or `None` if no guest of that name does. Looks that failed are noted
    /// for `status`, and repeated.
    pub(super) fn next_seen(&mut self) -> Option<(XenGuestConfig, Option<RunningGuest>)> {
        let (_, told) = self.thread.as_ref()?;
        while let Ok((guest, answer)) = told.try_recv() {
            let Some(wanted) = self.wanted.get_mut(&guest.name) else {
                let_go(answer);
                continue;
            };
            wanted.asked = false;
            match answer {
                Ok(found) => {
                    wanted.said = None;
                    return Some((guest, Some(found)));
                }
                Err(why) => {
                    wanted.say(&why);
                    if matches!(why, NotFound::Absent) {
                        return Some((guest, None));
                    }
                }
            }
        }
        None
    }
}

/// A look that panics has found nothing: without its thread no guest would be looked for any more.
fn look(find: impl FnOnce() -> Result<RunningGuest, NotFound>) -> Result<RunningGuest, NotFound> {
    catch_unwind(AssertUnwindSafe(find)).unwrap_or_else(|panic| Err(NotFound::Panicked(panic_words(&*panic))))
}

/// Nobody wants the guest any more. If no engine ran it before, it keeps its network.
fn let_go(answer: Result<RunningGuest, NotFound>) {
    if let Ok(RunningGuest { output, past: None, .. }) = answer {
        output.let_go_soon();
    }
}

impl Wanted {
    /// Logged once for each reason, since the look is repeated for ever.
    fn say(&mut self, why: &NotFound) {
        let text = why.to_string();
        if self.said.as_ref() == Some(&text) {
            return;
        }
        let guest = &self.guest.name;
        match why {
            NotFound::Absent => tracing::info!(guest, "A guest that is to be protected does not run here"),
            NotFound::Starting => tracing::info!(guest, "A guest that is to be protected is starting"),
            NotFound::NoWitness | NotFound::Unfit(_) | NotFound::Panicked(_) => {
                tracing::error!(guest, why = text, "A guest cannot be protected");
            }
        }
        self.said = Some(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FindChanges;
    use crate::guest::XenGuestError;
    use understudy_session::{NodeName, primary};

    #[test]
    fn a_look_that_panics_is_an_answer() {
        let answer = look(|| panic!("as the test says"));
        assert!(matches!(answer, Err(NotFound::Panicked(message)) if message == "as the test says"));
    }

    #[test]
    fn a_guest_that_is_given_up_is_not_looked_for_and_what_was_found_of_it_is_nobodys() {
        let ((ask, asked), (tell, told)) = (bounded(ASKED_MAX), bounded(ASKED_MAX));
        let mut discovery = Discovery { thread: Some((ask, told)), ..Discovery::none() };
        let pacing = primary::Pacing::Clock { interval: Span::from_ms(25) };
        let find_changes = FindChanges::Log;
        let web = XenGuestConfig {
            name: "web".into(),
            peer: NodeName("b".into()),
            mode: Default::default(),
            fence: Default::default(),
            pacing,
            find_changes,
        };
        discovery.want(web.clone()).unwrap();
        discovery.run(Time(0), true, |_| false);
        assert_eq!(asked.try_recv().as_ref(), Ok(&web));

        assert!(discovery.forget("web"));
        assert!(!discovery.forget("web"), "once");
        tell.send((web, Err(NotFound::Unfit(XenGuestError::Dying)))).unwrap();
        assert!(discovery.next_seen().is_none());
        assert_eq!(discovery.waiting(|_| false), []);
        discovery.run(Time(0) + LOOK_EVERY, true, |_| false);
        assert!(asked.try_recv().is_err(), "it is not asked for again");
    }
}
