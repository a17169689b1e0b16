//! Domains that stand by on this host, for whichever engine: found by their mark, destroyed only if nobody has them.
//!
//! ```text
//!   /local/domain/7/name                = "web--incoming"
//!   /local/domain/7/understudy/standing = "4711 56789"        the engine, see [`Process`]
//! ```

use super::INCOMING;
use crate::process::Process;
use crate::xenstore::{StoreError, Xenstore};
use crate::{DomId, xl};

/// A domain that stands by on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StandingDomain {
    /// It.
    pub domain: DomId,
    /// Its name: that of the guest, and `--incoming`.
    pub name: String,
    /// The process that has it stand by; `None` if the mark names none.
    pub engine: Option<Process>,
}

impl StandingDomain {
    /// Whether the process that has it is known to be gone. An error says that this is not known.
    pub fn is_left(&self) -> std::io::Result<bool> {
        match &self.engine {
            Some(engine) => engine.runs().map(|runs| !runs),
            None => Err(std::io::Error::other("its mark names no process")),
        }
    }
}

/// The domains that stand by on this host.
pub fn standing_domains() -> Result<Vec<StandingDomain>, xl::XlError> {
    let mut store = Xenstore::open()?;
    let mut standing = Vec::new();
    for (domain, name) in xl::domains()?.into_iter().filter(|(_, name)| name.ends_with(INCOMING)) {
        if let Some(engine) = store.read(&mark_path(domain))? {
            standing.push(StandingDomain { domain, name, engine: engine.parse().ok() });
        }
    }
    Ok(standing)
}

/// Destroys what stands by for engines that are gone: its memory is needed. What cannot be learnt is left, and told. How
/// many were destroyed.
pub fn destroy_left() -> Result<usize, xl::XlError> {
    let mut destroyed = 0;
    for standing in standing_domains()? {
        match standing.is_left() {
            Ok(true) => {
                xl::destroy(standing.domain)?;
                destroyed += 1;
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(
                domain = %standing.domain, name = standing.name, %error,
                "Whether an engine still has this domain is not known; it is left"
            ),
        }
    }
    Ok(destroyed)
}

fn mark_path(domain: DomId) -> String {
    format!("/local/domain/{domain}/understudy/standing")
}

pub(super) fn mark(domain: DomId) -> Result<(), StoreError> {
    let this = Process::this().map_err(StoreError::Io)?;
    Xenstore::open()?.write(&mark_path(domain), &this.to_string())
}

/// The domain is the guest: as libxl renames one, all at once, and no longer marked.
pub(super) fn rename(domain: DomId, name: &str) -> Result<(), StoreError> {
    Xenstore::open()?.transaction(|transaction| {
        let path = format!("/local/domain/{domain}");
        transaction.write(&format!("{path}/name"), name)?;
        if let Some(vm) = transaction.read(&format!("{path}/vm"))? {
            transaction.write(&format!("{vm}/name"), name)?;
        }
        transaction.rm(&mark_path(domain))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_dead_engine_had_is_left() {
        let of = |engine: &str| StandingDomain {
            domain: DomId(7),
            name: "web--incoming".into(),
            engine: engine.parse().ok(),
        };
        let this = Process::this().unwrap().to_string();
        assert!(!of(&this).is_left().unwrap());
        let (pid, start) = this.split_once(' ').unwrap();
        let reused = format!("{pid} {}", start.parse::<u64>().unwrap() + 1);
        assert!(of(&reused).is_left().unwrap(), "the number was used again");
        for nonsense in ["", "0", "engine"] {
            assert!(
                of(nonsense).is_left().is_err(),
                "{nonsense:?}: nothing is destroyed for what is not known"
            );
        }
    }
}
