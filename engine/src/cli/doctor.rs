//! `understudy doctor`: what a dead engine left on this host, and what to do about it.
//!
//! ```text
//!   kernel:  redirects and devices of ours, with the process that made them ─┐
//!   Xen:     domains with a generation's mark, paused or cut off ────────────┤
//!            domains suspended by `remus -b`, which is gone ─────────────────┤
//!            domains that stand by for an engine that is gone ───────────────┼─► findings ─► advice, or repair
//!   files:   images that no domain could be built from ──────────────────────┘
//! ```
//!
//! What is left holds, so nothing is urgent. Letting the output of a guest pass is right only where no other host runs
//! that guest, which nobody here knows: a started engine asks the witness; a person may vouch for it with `--let-out`.

use super::{CliError, Exit, OutputFormat, print};
use crate::guest::RESCUE_DIRECTORY;
use std::collections::BTreeMap;
use std::path::Path;
use understudy_netbuf::kernel::leftovers::{self, Kind, Leftover};
use understudy_netbuf::kernel::{Connection, KernelError};
use understudy_xen::domain::{Settled, settle};
use understudy_xen::standing::{StandingDomain, standing_domains};
use understudy_xen::xenstore::Xenstore;
use understudy_xen::{DomId, Xen, mark, vifs, xl};

/// Arguments of `doctor`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Remove what can be removed without letting anything of a guest out
    #[arg(long)]
    repair: bool,
    /// With --repair: let what the guest behind this interface sends pass again; you vouch that no other host runs it
    #[arg(long, value_name = "INTERFACE", requires = "repair")]
    let_out: Vec<String>,
    /// Form of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: OutputFormat,
}

/// Something that was found, and what became of it.
#[derive(serde::Serialize, Debug)]
struct Finding {
    what: String,
    advice: String,
    repaired: bool,
}

/// A domain that an engine ran.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Marked {
    name: String,
    domain: DomId,
    generation: u64,
}

/// Looks, repairs if that is asked, and prints. Exit code 3 if something is left.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    let marked = marked_domains();
    let mut findings = in_kernel(&args, &marked)?;
    findings.extend(suspended(args.repair));
    findings.extend(standing_by(args.repair));
    findings.extend(rescued(Path::new(RESCUE_DIRECTORY)));
    match args.output {
        OutputFormat::Json => print(&serde_json::json!({ "findings": findings }).to_string())?,
        OutputFormat::Text if findings.is_empty() => print("nothing is left of a dead engine on this host")?,
        OutputFormat::Text => {
            let lines = findings.iter().map(|it| format!("{}\n  └ {}\n", it.what, it.advice));
            print(&lines.collect::<String>())?;
        }
    }
    Ok(if findings.iter().all(|finding| finding.repaired) { Exit::Ok } else { Exit::CheckFailed })
}

/// Interfaces of domains that an engine ran. On a host without Xen there are none.
fn marked_domains() -> BTreeMap<String, Marked> {
    let Ok(mut store) = Xenstore::open() else { return BTreeMap::new() };
    let domains = store.directory("/local/domain").unwrap_or_default();
    let mut interfaces = BTreeMap::new();
    for domain in domains.iter().filter_map(|entry| entry.parse().ok().map(DomId)) {
        let Ok(Some(generation)) = mark::read(domain) else { continue };
        let name = store.read(&format!("/local/domain/{domain}/name")).ok().flatten().unwrap_or_default();
        let marked = Marked { name, domain, generation };
        let cards = vifs::vifs(&mut store, domain).unwrap_or_default();
        let names = cards.into_iter().flat_map(|card| [Some(card.name), card.tap]).flatten();
        interfaces.extend(names.map(|name| (name, marked.clone())));
    }
    interfaces
}

fn in_kernel(args: &Args, marked: &BTreeMap<String, Marked>) -> Result<Vec<Finding>, CliError> {
    let failed = |error: KernelError| CliError::Internal(format!("The kernel cannot be asked: {error}"));
    let mut connection = Connection::open().map_err(|error| failed(error.into()))?;
    let left = leftovers::find(&mut connection).map_err(failed)?;
    let judged = left.iter().filter(|leftover| !leftover.in_use()).map(|leftover| {
        let guest = marked.get(leftover.interface());
        let vouched = args.let_out.iter().any(|interface| interface == leftover.interface());
        let what = leftover.to_string();
        match judge(leftover.kind(), guest, vouched) {
            Err(advice) => Finding { what, advice, repaired: false },
            Ok(advice) if !args.repair => Finding { what, advice, repaired: false },
            Ok(_) => let_run(repair(&mut connection, leftover), guest.filter(|_| vouched)),
        }
    });
    Ok(judged.collect())
}

fn repair(connection: &mut Connection, leftover: &Leftover) -> Finding {
    let what = leftover.to_string();
    match leftovers::repair(connection, leftover) {
        Ok(done) => Finding { what, advice: done, repaired: true },
        Err(error) => Finding { what, advice: error.to_string(), repaired: false },
    }
}

/// A guest that is let out runs, too: its engine may have died in a pause.
fn let_run(finding: Finding, guest: Option<&Marked>) -> Finding {
    let Some(guest) = guest.filter(|_| finding.repaired) else { return finding };
    match resume(guest.domain) {
        Ok(false) => finding,
        Ok(true) => {
            Finding { advice: format!("{}; it was suspended and runs again", finding.advice), ..finding }
        }
        Err(error) => {
            let advice = format!("{}; it is suspended and cannot be resumed: {error}", finding.advice);
            Finding { advice, repaired: false, ..finding }
        }
    }
}

/// Lets a guest run that is suspended, or about to be; whether it was.
fn resume(domain: DomId) -> Result<bool, String> {
    let xen = Xen::open().map_err(|error| error.to_string())?;
    match settle(&xen, domain).map_err(|error| error.to_string())? {
        Settled::Ran => Ok(false),
        Settled::WasSuspended => Ok(true),
        Settled::Later => {
            Err("it is paused: `xl unpause` it, unless it runs elsewhere, and look again".into())
        }
    }
}

/// Domains of which a process made checkpoints to nowhere that is gone. On a host without Xen there are none.
fn suspended(repair: bool) -> Vec<Finding> {
    let left = |(domain, name): (DomId, String)| {
        let pid = mark::read_nowhere(domain).ok().flatten()?;
        (!Path::new("/proc").join(pid.to_string()).exists()).then_some((domain, name))
    };
    let finding = |(domain, name): (DomId, String)| {
        let what =
            format!("{name} (domain {domain}) may be suspended by `understudy remus -b`, which is gone");
        let resumed = repair.then(|| {
            let was_suspended = resume(domain)?;
            mark::remove_nowhere(domain).map(|()| was_suspended).map_err(|error| error.to_string())
        });
        let (advice, repaired) = match resumed {
            None => ("--repair lets it run".into(), false),
            Some(Ok(true)) => ("it was, and runs again".into(), true),
            Some(Ok(false)) => ("it was not".into(), true),
            Some(Err(error)) => (error, false),
        };
        Finding { what, advice, repaired }
    };
    xl::domains().unwrap_or_default().into_iter().filter_map(left).map(finding).collect()
}

/// Whether something may be removed, with what that does; the error is what to do instead.
fn judge(kind: &Kind, guest: Option<&Marked>, vouched: bool) -> Result<String, String> {
    match (kind, guest) {
        (Kind::Intermediate { .. }, _) => Ok("--repair removes it, with what it holds".into()),
        (Kind::Redirect(_), None) => Ok("--repair removes it; no guest of an engine is behind it".into()),
        (Kind::Redirect(_), Some(_)) if vouched => {
            Ok("--repair removes it; the guest's output passes".into())
        }
        (Kind::Redirect(_), Some(Marked { name, domain, generation })) => Err(format!(
            "{name} (domain {domain}) was run under generation {generation} and is cut off: start the engine, which asks \
             the witness and goes on with it or ends it; or, if no other host runs it, --repair --let-out INTERFACE"
        )),
    }
}

/// Domains that stand by for an engine that is gone. On a host without Xen there are none.
fn standing_by(repair: bool) -> Vec<Finding> {
    let gone = |standing: &StandingDomain| !Path::new("/proc").join(standing.engine.to_string()).exists();
    let domains = standing_domains().unwrap_or_default().into_iter().filter(gone);
    let finding = |StandingDomain { domain, name, .. }: StandingDomain| {
        let what = format!("{name} (domain {domain}) stands by for an engine that is gone; it never ran");
        let (advice, repaired) = match repair.then(|| xl::destroy(domain)) {
            None => ("--repair destroys it; so does the engine when it starts".into(), false),
            Some(Ok(())) => ("destroyed".into(), true),
            Some(Err(error)) => (error.to_string(), false),
        };
        Finding { what, advice, repaired }
    };
    domains.map(finding).collect()
}

/// Images that no domain could be built from.
fn rescued(directory: &Path) -> Vec<Finding> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let images = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|it| it == "understudy"));
    let finding = |path: std::path::PathBuf| {
        let path = path.display();
        Finding {
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
    fn output_of_a_guest_that_an_engine_ran_is_let_out_by_a_persons_word_alone() {
        let guest = Marked { name: "web".into(), domain: DomId(5), generation: 3 };
        let advice = judge(&Kind::Redirect(None), Some(&guest), false).unwrap_err();
        assert!(advice.contains("web (domain 5)") && advice.contains("generation 3"), "{advice}");
        assert!(judge(&Kind::Redirect(None), Some(&guest), true).is_ok());
        assert!(judge(&Kind::Redirect(None), None, false).is_ok());
        assert!(judge(&Kind::Intermediate { held_frames: 3 }, Some(&guest), false).is_ok());
    }

    #[test]
    fn images_that_wait_for_a_person_are_found() {
        let directory = tempfile::tempdir().unwrap();
        assert!(rescued(directory.path()).is_empty() && rescued(Path::new("/nowhere")).is_empty());
        std::fs::write(directory.path().join("web.understudy"), b"").unwrap();
        std::fs::write(directory.path().join("web.cfg"), b"").unwrap();
        let found = rescued(directory.path());
        assert!(found.len() == 1 && found[0].advice.contains("xl restore"), "{found:?}");
    }
}
