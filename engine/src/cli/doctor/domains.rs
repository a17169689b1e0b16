//! Domains that a dead engine, or a dead `remus -b`, left suspended or standing by; and images in files.
//!
//! Not here: their interfaces that are cut off ([`cut_off`](super::cut_off)).

use super::finding::{Code, Finding, unseen};
use std::path::{Path, PathBuf};
use understudy_checkpoint::domain::DomainError;
use understudy_xen::domain::{Settled, settle};
use understudy_xen::standby::{Fate, StandbyDomain, standby_domains};
use understudy_xen::xenstore::StoreError;
use understudy_xen::{DomId, Xen, XenError, domain_labels, xl};

/// Why a suspended guest could not be resumed.
#[derive(thiserror::Error, Debug)]
pub(super) enum NotResumed {
    #[error(transparent)]
    Xen(#[from] XenError),
    #[error(transparent)]
    Domain(#[from] DomainError),
    #[error(transparent)]
    Label(#[from] StoreError),
    #[error("it is paused: `xl unpause` it, unless it runs elsewhere, and look again")]
    Paused,
}

/// Resumes a guest that is suspended, or about to be. Returns whether it was.
pub(super) fn resume(domain: DomId) -> Result<bool, NotResumed> {
    match settle(&Xen::open()?, domain)? {
        Settled::Ran => Ok(false),
        Settled::WasSuspended => Ok(true),
        Settled::Later => Err(NotResumed::Paused),
    }
}

/// Domains left by a dead `remus --blackhole` process.
pub(super) fn suspended(repair: bool) -> Vec<Finding> {
    let domains = match xl::domains() {
        Ok(domains) => domains,
        Err(error) => return vec![unseen("Domains that `remus -b` had", error)],
    };
    domains.into_iter().filter_map(|(domain, name)| suspended_one(repair, domain, &name)).collect()
}

fn suspended_one(repair: bool, domain: DomId, name: &str) -> Option<Finding> {
    let marks = match domain_labels::of(domain) {
        Ok(marks) => marks,
        Err(error) => return Some(unseen(&format!("What {name} (domain {domain}) is marked with"), error)),
    };
    match marks.blackhole?.runs() {
        Ok(true) => return None,
        Ok(false) => {}
        Err(error) => return Some(unseen(&format!("The process that has {name} (domain {domain})"), error)),
    }
    let what = format!("{name} (domain {domain}) may be suspended by `understudy remus -b`, which is gone");
    if marks.generation.is_some() || marks.engine.is_some() {
        let advice = "an engine had it since; start the engine, which goes on with it or ends it".into();
        return Some(Finding { code: Code::RemusLeft, what, advice, repaired: false });
    }
    let resumed = repair.then(|| -> Result<bool, NotResumed> {
        let was_suspended = resume(domain)?;
        domain_labels::remove_blackhole(domain)?;
        Ok(was_suspended)
    });
    let (advice, repaired) = match resumed {
        None => ("--repair lets it run".into(), false),
        Some(Ok(true)) => ("it was, and runs again".into(), true),
        Some(Ok(false)) => ("it was not".into(), true),
        Some(Err(error)) => (error.to_string(), false),
    };
    Some(Finding { code: Code::RemusLeft, what, advice, repaired })
}

/// Standby domains of engines that are gone.
pub(super) fn standing_by(repair: bool) -> Vec<Finding> {
    let domains = match Xen::open() {
        Ok(xen) => standby_domains(&xen).map_err(|error| unseen("Domains that stand by", error)),
        Err(error) => Err(unseen("Domains that stand by", error)),
    };
    match domains {
        Ok(domains) => domains.into_iter().filter_map(|standing| standing_one(repair, &standing)).collect(),
        Err(finding) => vec![finding],
    }
}

fn standing_one(repair: bool, standing: &StandbyDomain) -> Option<Finding> {
    let StandbyDomain { domain, name, .. } = standing;
    match standing.fate() {
        Ok(Fate::Had) => return None,
        Ok(Fate::Left) => {}
        Ok(Fate::MayBeTheGuest) => {
            let what =
                format!("{name} (domain {domain}) may be the only copy of its guest, and no engine has it");
            let (code, advice) = (Code::StandingKept, standing.advice());
            return Some(Finding { code, what, advice, repaired: false });
        }
        Err(error) => return Some(unseen(&format!("Whose {name} (domain {domain}) is"), error)),
    }
    let what = format!("{name} (domain {domain}) stands by for an engine that is gone; it never ran");
    let (advice, repaired) = match repair.then(|| xl::destroy(*domain)) {
        None => ("--repair destroys it; so does the engine when it starts".into(), false),
        Some(Ok(())) => ("destroyed".into(), true),
        Some(Err(error)) => (error.to_string(), false),
    };
    Some(Finding { code: Code::StandingLeft, what, advice, repaired })
}

/// Images from which no domain could be built.
pub(super) fn rescued(directory: &Path) -> Vec<Finding> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries.flatten(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![unseen(&directory.display().to_string(), error)],
    };
    let images = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|it| it == "understudy"));
    let finding = |path: PathBuf| {
        let path = path.display();
        Finding {
            code: Code::ImageRescued,
            what: format!("{path}: the last commit of a guest that could not be started"),
            advice: format!(
                "make room and run `xl restore {path}`, unless it runs elsewhere; then delete it"
            ),
            repaired: false,
        }
    };
    images.map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_wait_for_a_person_are_found() {
        let directory = tempfile::tempdir().unwrap();
        assert!(rescued(directory.path()).is_empty() && rescued(Path::new("/nowhere")).is_empty());
        std::fs::write(directory.path().join("web.understudy"), b"").unwrap();
        std::fs::write(directory.path().join("web.cfg"), b"").unwrap();
        let found = rescued(directory.path());
        assert!(found.len() == 1 && found[0].advice.contains("xl restore"), "{found:?}");
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(json[0]["code"], "image_rescued");
    }
}
