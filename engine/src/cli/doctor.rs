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
//! that guest: a started engine asks the witness; a person may vouch for it with `--let-out`, and the witness is asked
//! where this host has one.
//!
//! Nothing is repaired without proof: what cannot be learnt is left, and said. Repairing takes the lock of this host, so
//! that no engine begins meanwhile.

mod guests;
mod word;

use super::{CliError, Exit, OutputFormat, print};
use crate::guest::{HostLock, HostLockError, RESCUE_DIRECTORY};
use guests::{Behind, Host, Marked};
use std::path::{Path, PathBuf};
use understudy_checkpoint::domain::DomainError;
use understudy_netbuf::kernel::leftovers::{self, Leftover};
use understudy_netbuf::kernel::{Connection, KernelError};
use understudy_xen::domain::{Settled, settle};
use understudy_xen::standby::{Fate, StandbyDomain, standby_domains};
use understudy_xen::xenstore::StoreError;
use understudy_xen::{DomId, Xen, XenError, domain_labels, xl};
use word::Witness;

/// Arguments of `doctor`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    /// Remove what can be removed without letting anything of a guest out
    #[arg(long)]
    repair: bool,
    /// With --repair: let what the guest behind this interface sends pass again; you vouch that no other host runs it
    #[arg(long, value_name = "INTERFACE", requires = "repair")]
    let_out: Vec<String>,
    /// With --let-out: the configuration of this host's node, which names the witness [default: /etc/understudy/node.toml,
    /// if it is there]
    #[arg(long, value_name = "FILE", requires = "let_out")]
    config: Option<PathBuf>,
    /// With --let-out: do not ask the witness; your word stands against it
    #[arg(long, requires = "let_out", conflicts_with = "config")]
    override_witness: bool,
    /// Form of the answer
    #[arg(long, value_name = "FORM", value_enum, default_value_t)]
    output: OutputFormat,
}

/// What kind of thing was found, for programs. `docs/OPERATIONS.md` lists all of them; they are added, never changed.
#[derive(serde::Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
enum Code {
    /// The output of a guest of a dead engine is cut off.
    GuestCutOff,
    /// An interface is cut off, and whose it is cannot be learnt.
    OwnerUnknown,
    /// An interface is cut off, and nobody is behind it whose output has to wait.
    RedirectLeft,
    /// A guest may be suspended by `remus -b`, which is gone.
    RemusLeft,
    /// A domain stands by for an engine that is gone.
    StandingLeft,
    /// A domain that stood by for an engine that is gone may be the only copy of its guest.
    StandingKept,
    /// The last commit of a guest that could not be started is in a file.
    ImageRescued,
    /// Something could not be looked at.
    Unlearnt,
}

/// Something that was found, and what became of it.
#[derive(serde::Serialize, Debug)]
struct Finding {
    code: Code,
    what: String,
    advice: String,
    repaired: bool,
}

/// Looks, repairs if that is asked, and prints. Exit code 3 if something is left.
pub(super) fn run(args: Args) -> Result<Exit, CliError> {
    let _lock = if args.repair { Some(HostLock::take().map_err(locked)?) } else { None };
    let host = Host::look();
    let mut findings = in_kernel(&args, &host)?;
    if host.may_have_guests() {
        findings.extend(suspended(args.repair));
        findings.extend(standing_by(args.repair));
    }
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

fn locked(error: HostLockError) -> CliError {
    match error {
        HostLockError::Held { .. } => CliError::Refused(format!(
            "Nothing is repaired: {error}. An engine goes on with its guests by itself; stop it to repair what it leaves"
        )),
        HostLockError::Io { .. } => CliError::Internal(format!("Nothing is repaired: {error}")),
    }
}

fn in_kernel(args: &Args, host: &Host) -> Result<Vec<Finding>, CliError> {
    let failed = |error: KernelError| CliError::Internal(format!("The kernel cannot be asked: {error}"));
    let mut connection = Connection::open().map_err(|error| failed(error.into()))?;
    let found = leftovers::find(&mut connection).map_err(failed)?;
    args.let_out.iter().try_for_each(|interface| check_let_out(interface, &found))?;
    let witness = match args.let_out.is_empty() {
        true => Witness::None,
        false => Witness::of(args.config.clone(), args.override_witness)
            .map_err(|why| CliError::Usage(why.to_string()))?,
    };
    let judged = found.iter().filter(|leftover| !leftover.in_use()).map(|leftover| {
        let behind = host.behind(leftover.interface());
        let vouched = args.let_out.iter().any(|interface| interface == leftover.interface());
        let (code, what) = (code_of(&behind), leftover.to_string());
        match judge(&behind, vouched.then_some(&witness)) {
            Err(advice) => Finding { code, what, advice, repaired: false },
            Ok(advice) if !args.repair => Finding { code, what, advice, repaired: false },
            Ok(_) => let_run(repair(&mut connection, leftover, code), &behind, vouched),
        }
    });
    Ok(judged.collect())
}

/// An interface that is to be let out has to be one that a dead engine holds.
fn check_let_out(interface: &str, found: &[Leftover]) -> Result<(), CliError> {
    match found.iter().find(|leftover| leftover.interface() == interface) {
        None => Err(CliError::Usage(format!(
            "--let-out {interface}: nothing of an engine is on an interface of this name; `understudy doctor` lists those \
             that are cut off"
        ))),
        Some(leftover) if leftover.in_use() => Err(CliError::Refused(format!(
            "--let-out {interface}: a running engine (process {}) holds its output; `understudy unprotect` ends that",
            leftover.pid()
        ))),
        Some(_) => Ok(()),
    }
}

fn code_of(behind: &Behind) -> Code {
    match behind {
        Behind::Guest(_) => Code::GuestCutOff,
        Behind::Unknown(_) => Code::OwnerUnknown,
        Behind::Nobody(_) => Code::RedirectLeft,
    }
}

fn repair(connection: &mut Connection, leftover: &Leftover, code: Code) -> Finding {
    let what = leftover.to_string();
    match leftovers::repair(connection, leftover) {
        Ok(done) => Finding { code, what, advice: done, repaired: true },
        Err(error) => Finding { code, what, advice: error.to_string(), repaired: false },
    }
}

/// A guest that is let out runs, too: its engine may have died in a pause.
fn let_run(finding: Finding, behind: &Behind, vouched: bool) -> Finding {
    let Behind::Guest(guest) = behind else { return finding };
    if !finding.repaired || !vouched {
        return finding;
    }
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

/// Why a suspended guest does not run again.
#[derive(thiserror::Error, Debug)]
enum NotResumed {
    #[error(transparent)]
    Xen(#[from] XenError),
    #[error(transparent)]
    Domain(#[from] DomainError),
    #[error(transparent)]
    Label(#[from] StoreError),
    #[error("it is paused: `xl unpause` it, unless it runs elsewhere, and look again")]
    Paused,
}

/// Lets a guest run that is suspended, or about to be; whether it was.
fn resume(domain: DomId) -> Result<bool, NotResumed> {
    match settle(&Xen::open()?, domain)? {
        Settled::Ran => Ok(false),
        Settled::WasSuspended => Ok(true),
        Settled::Later => Err(NotResumed::Paused),
    }
}

/// What could not be looked at is a finding: something may be left there.
fn unseen(what: &str, error: impl std::fmt::Display) -> Finding {
    let what = format!("{what} cannot be looked at");
    Finding { code: Code::Unlearnt, what, advice: error.to_string(), repaired: false }
}

/// Domains of which a process made checkpoints to nowhere that is gone.
fn suspended(repair: bool) -> Vec<Finding> {
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

/// Whether a redirect may be removed, with what that does; the error is what to do instead. `vouched` is who is asked
/// about an interface that a person wants let out.
fn judge(behind: &Behind, vouched: Option<&Witness>) -> Result<String, String> {
    let why = match (behind, vouched) {
        (Behind::Nobody(why), _) => return Ok(format!("--repair removes it: {why}")),
        (_, Some(witness)) => match witness.allows(behind.name()) {
            Ok(()) => return Ok("--repair removes it; the guest's output passes".into()),
            Err(why) => {
                return Err(format!("{why}; nothing is let out. If you know better: --override-witness"));
            }
        },
        (Behind::Guest(Marked { name, domain, generation }), None) => {
            let under =
                generation.map_or("an engine".into(), |generation| format!("generation {generation}"));
            format!("{name} (domain {domain}) was run under {under} and is cut off")
        }
        (Behind::Unknown(why), None) => format!("whose it is, is not known ({why}), so it is left as it is"),
    };
    Err(format!(
        "{why}: start the engine, which asks the witness and goes on with the guest or ends it; or, if no other host runs \
         it, --repair --let-out INTERFACE"
    ))
}

/// Domains that stand by for an engine that is gone.
fn standing_by(repair: bool) -> Vec<Finding> {
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

/// Images that no domain could be built from.
fn rescued(directory: &Path) -> Vec<Finding> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries.flatten(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![unseen(&directory.display().to_string(), error)],
    };
    let images = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|it| it == "understudy"));
    let finding = |path: std::path::PathBuf| {
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
    use understudy_checkpoint::Generation;

    #[test]
    fn output_is_let_out_by_proof_or_by_a_persons_word_alone() {
        let guest =
            Behind::Guest(Marked { name: "web".into(), domain: DomId(5), generation: Some(Generation(3)) });
        let advice = judge(&guest, None).unwrap_err();
        assert!(advice.contains("web (domain 5)") && advice.contains("generation 3"), "{advice}");
        assert!(advice.contains("start the engine"), "{advice}");
        let unknown = Behind::Unknown("xenstored does not answer".into());
        let advice = judge(&unknown, None).unwrap_err();
        assert!(advice.contains("xenstored does not answer") && advice.contains("left as it is"), "{advice}");
        for behind in [&guest, &unknown] {
            assert!(judge(behind, Some(&Witness::None)).is_ok());
        }
        let nobody = Behind::Nobody("its domain 5 is gone".into());
        assert!(judge(&nobody, None).unwrap().contains("is gone"));
    }

    #[test]
    fn programs_tell_by_the_code_what_has_to_be_decided() {
        let guest =
            Behind::Guest(Marked { name: "web".into(), domain: DomId(5), generation: Some(Generation(3)) });
        let (unknown, nobody) = (Behind::Unknown(String::new()), Behind::Nobody(String::new()));
        assert_eq!(code_of(&guest), Code::GuestCutOff);
        assert_eq!(code_of(&unknown), Code::OwnerUnknown);
        assert_eq!(code_of(&nobody), Code::RedirectLeft);
    }

    #[test]
    fn the_documents_list_every_code() {
        let codes = [
            Code::GuestCutOff,
            Code::OwnerUnknown,
            Code::RedirectLeft,
            Code::RemusLeft,
            Code::StandingLeft,
            Code::StandingKept,
            Code::ImageRescued,
            Code::Unlearnt,
        ];
        let text = include_str!("../../../docs/OPERATIONS.md");
        let (_, list) = text.split_once("## What `doctor` finds").expect("a chapter of its own");
        for code in codes {
            let word = serde_json::to_value(code).unwrap();
            assert!(list.contains(&format!("\n| `{}` |", word.as_str().unwrap())), "{word}");
        }
    }

    #[test]
    fn an_interface_that_nobody_holds_cannot_be_let_out() {
        let error = check_let_out("NOSUCH", &[]).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.to_string().contains("NOSUCH"), "{error}");
    }

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
