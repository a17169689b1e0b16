//! The standby domains on this host, of any engine, found by their labels in xenstore. One is destroyed only if no
//! living process owns it and it was never more than a copy.
//!
//! ```text
//!   /local/domain/7/name                  = "web--incoming"
//!   /local/domain/7/understudy/standing   = "4711 56789"        the engine, see [`Process`]
//!   /local/domain/7/understudy/activation = "begun"             a takeover makes it the guest ─► "whole" ─► both labels go,
//!                                                               and the name becomes the guest's
//! ```
//!
//! A takeover has been decided before it begins here. From `begun` on, the domain may be the only copy of its guest,
//! and so may a domain that has run. Both are kept for a person to decide.

use super::INCOMING;
use crate::process::Process;
use crate::xenstore::{StoreError, Xenstore};
use crate::{DomId, DomainInfo, Xen, xl};

/// How far a takeover has come with a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// The domain is being given the guest's state.
    Begun,
    /// The domain has the guest's state, but not yet its name.
    Whole,
}

impl Activation {
    fn word(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Whole => "whole",
        }
    }

    /// Decodes the label. An unknown value counts as a takeover.
    fn of(word: &str) -> Self {
        if word == Self::Whole.word() { Self::Whole } else { Self::Begun }
    }
}

/// A standby domain on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandbyDomain {
    /// The domain's number.
    pub domain: DomId,
    /// The domain's name: the guest's name and `--incoming`.
    pub name: String,
    /// The engine that owns it; `None` if the label names no process.
    pub engine: Option<Process>,
    /// The takeover that was in progress.
    pub activation: Option<Activation>,
    /// Whether it runs or has run. If Xen does not answer, it counts as yes.
    pub may_have_run: bool,
}

/// What to do with a standby domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// A living engine owns it.
    Had,
    /// A copy that nobody owns any more.
    Left,
    /// It may be the only copy of its guest: a person must decide.
    MayBeTheGuest,
}

impl StandbyDomain {
    /// What to do with it. An error means that this is not known.
    pub fn fate(&self) -> std::io::Result<Fate> {
        let runs = match &self.engine {
            Some(engine) => engine.runs()?,
            None => return Err(std::io::Error::other("its mark names no process")),
        };
        Ok(match (runs, self.activation) {
            (true, _) => Fate::Had,
            (false, None) if !self.may_have_run => Fate::Left,
            (false, _) => Fate::MayBeTheGuest,
        })
    }

    /// The name of its guest.
    pub fn guest(&self) -> &str {
        self.name.strip_suffix(INCOMING).unwrap_or(&self.name)
    }

    /// Advice to a person about a domain that may be the only copy of its guest.
    pub fn advice(&self) -> String {
        let (domain, guest) = (self.domain, self.guest());
        let first = format!(
            "see first whether {guest} runs on another host, or is kept there (`understudy status`, `understudy reclaim`); then"
        );
        match self.activation {
            Some(Activation::Begun) => format!(
                "its engine died while it gave the domain the guest's state, so it cannot run: {first} `xl destroy {domain}` \
                 (`xl dump-core {domain} FILE` before, if its memory is all that there is)"
            ),
            Some(Activation::Whole) | None => format!(
                "{first} `xl destroy {domain}`, or, if this is the only one, `xl rename {domain} {guest}`, `xl unpause {domain}` \
                 if it is paused, and protect it again, by which its network is let out"
            ),
        }
    }
}

/// The standby domains on this host.
pub fn standby_domains(xen: &Xen) -> Result<Vec<StandbyDomain>, xl::XlError> {
    let mut store = Xenstore::open()?;
    let mut standby = Vec::new();
    for (domain, name) in xl::domains()?.into_iter().filter(|(_, name)| name.ends_with(INCOMING)) {
        if let Some(engine) = store.read(&mark_path(domain))? {
            let activation = store.read(&activation_path(domain))?.map(|word| Activation::of(&word));
            let may_have_run = xen.domain_info(domain).map_or(true, |info| info.is_some_and(has_run));
            let engine = engine.parse().ok();
            standby.push(StandbyDomain { domain, name, engine, activation, may_have_run });
        }
    }
    Ok(standby)
}

/// Whether a domain stands by, or was to become its guest, for whatever engine.
pub fn stands_by(store: &mut Xenstore, domain: DomId) -> Result<bool, StoreError> {
    Ok(store.read(&mark_path(domain))?.is_some())
}

fn has_run(info: DomainInfo) -> bool {
    !info.is_paused() || info.cpu_time_ns > 0
}

/// Destroys the standby domains of engines that are gone, because their memory is needed. Returns how many. A domain
/// whose state is unknown, or that may be the only copy of a guest, is kept and logged.
pub fn destroy_left(xen: &Xen) -> Result<usize, xl::XlError> {
    let mut destroyed = 0;
    for standby in standby_domains(xen)? {
        let (domain, name) = (standby.domain, &standby.name);
        match standby.fate() {
            Ok(Fate::Left) => {
                xl::destroy(domain)?;
                destroyed += 1;
            }
            Ok(Fate::Had) => {}
            Ok(Fate::MayBeTheGuest) => tracing::error!(
                %domain, name, advice = standby.advice(),
                "A dead engine was making this domain a guest, or it has run: it may be the only copy and is kept"
            ),
            Err(error) => tracing::warn!(
                %domain, name, %error,
                "Whether an engine still has this domain is not known; it is left"
            ),
        }
    }
    Ok(destroyed)
}

fn mark_path(domain: DomId) -> String {
    format!("/local/domain/{domain}/understudy/standing")
}

fn activation_path(domain: DomId) -> String {
    format!("/local/domain/{domain}/understudy/activation")
}

/// Records how far the takeover has come, for whoever finds the domain after this process.
pub(super) fn mark_activation(domain: DomId, activation: Activation) -> Result<(), StoreError> {
    Xenstore::open()?.write(&activation_path(domain), activation.word())
}

pub(super) fn mark(domain: DomId) -> Result<(), StoreError> {
    let this = Process::this().map_err(StoreError::Io)?;
    Xenstore::open()?.write(&mark_path(domain), &this.to_string())
}

/// Turns the domain into the guest: renames it as libxl does, in one transaction, and removes the labels.
pub(super) fn rename(domain: DomId, name: &str) -> Result<(), StoreError> {
    Xenstore::open()?.transaction(|transaction| {
        let path = format!("/local/domain/{domain}");
        transaction.write(&format!("{path}/name"), name)?;
        if let Some(vm) = transaction.read(&format!("{path}/vm"))? {
            transaction.write(&format!("{vm}/name"), name)?;
        }
        transaction.rm(&activation_path(domain))?;
        transaction.rm(&mark_path(domain))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::domctl::{self, DomainFlags};
    use zerocopy::FromZeros;

    fn standby(engine: &str) -> StandbyDomain {
        StandbyDomain {
            domain: DomId(7),
            name: "web--incoming".into(),
            engine: engine.parse().ok(),
            activation: None,
            may_have_run: false,
        }
    }

    /// The label of a process whose number is in use by another.
    fn dead() -> String {
        let this = Process::this().unwrap().to_string();
        let (pid, start) = this.split_once(' ').unwrap();
        format!("{pid} {}", start.parse::<u64>().unwrap() + 1)
    }

    #[test]
    fn only_what_a_dead_engine_had_is_left() {
        let this = Process::this().unwrap().to_string();
        assert_eq!(standby(&this).fate().unwrap(), Fate::Had);
        assert_eq!(standby(&dead()).fate().unwrap(), Fate::Left, "the number was used again");
        for nonsense in ["", "0", "engine"] {
            let fate = standby(nonsense).fate();
            assert!(fate.is_err(), "{nonsense:?}: nothing is destroyed for what is not known");
        }
    }

    #[test]
    fn what_a_dead_engine_was_making_the_guest_and_what_has_run_is_kept_for_a_person() {
        for word in ["begun", "whole", "as a later version writes it", ""] {
            let activation = Some(Activation::of(word));
            let mut left = StandbyDomain { activation, ..standby(&dead()) };
            assert_eq!(left.fate().unwrap(), Fate::MayBeTheGuest, "{word:?}");
            let advice = left.advice();
            assert!(
                advice.contains("`xl destroy 7`") && advice.contains("see first whether web runs"),
                "{advice}"
            );
            assert_eq!(advice.contains("`xl rename 7 web`"), word == "whole", "{advice}");
            left.engine = Process::this().ok();
            assert_eq!(left.fate().unwrap(), Fate::Had);
        }
        // Such as one whose name could not be written, after which it was let go.
        let ran = StandbyDomain { may_have_run: true, ..standby(&dead()) };
        assert_eq!(ran.fate().unwrap(), Fate::MayBeTheGuest);
        let info = |flags, cpu_time| {
            let mut info = domctl::DomainInfo::new_zeroed();
            (info.flags, info.cpu_time) = (flags, cpu_time);
            DomainInfo::of(&info)
        };
        let paused = DomainFlags::PAUSED;
        assert!(!has_run(info(paused, 0)), "it was made, and stands");
        assert!(has_run(info(DomainFlags::empty(), 0)) && has_run(info(paused, 1)));
    }
}
