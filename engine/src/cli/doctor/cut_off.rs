//! Interfaces that a dead engine left cut off, and whether their output may pass again.
//!
//! ```text
//!   nobody behind it ─────────────────────────► may be let out
//!   a guest, or an unknown owner ─────────────► only if a person vouches for it, and then the witness agrees
//! ```
//!
//! Not here: who is behind an interface ([`guests`](super::guests)), and the witness's answer ([`word`](super::word)).

use super::domains::resume;
use super::finding::{Code, Finding};
use super::guests::{Behind, Host, Marked};
use super::word::{NotAllowed, Witness};
use crate::cli::CliError;
use std::fmt;
use understudy_checkpoint::Generation;
use understudy_netbuf::kernel::leftovers::{self, Leftover};
use understudy_netbuf::kernel::{Connection, KernelError};
use understudy_xen::DomId;

/// What a person wants to be done about leftovers.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    /// Remove what may be removed.
    pub(super) repair: bool,
    /// Interfaces for which a person vouches.
    pub(super) let_out: &'a [String],
    /// The witness to ask about those interfaces.
    pub(super) witness: Witness,
}

/// Inspects all interfaces of this host.
pub(super) fn look(wanted: &Wanted<'_>, host: &Host) -> Result<Vec<Finding>, CliError> {
    let failed = |error: KernelError| CliError::Internal(format!("The kernel cannot be asked: {error}"));
    let mut connection = Connection::open().map_err(|error| failed(error.into()))?;
    let found = leftovers::find(&mut connection).map_err(failed)?;
    wanted.let_out.iter().try_for_each(|interface| check_let_out(interface, &found))?;
    let judged = found.iter().filter(|leftover| !matches!(leftover.in_use(), Ok(true))).map(|leftover| {
        if let Err(why) = leftover.in_use() {
            let why = format!("whether process {} runs cannot be learnt: {why}", leftover.pid());
            let advice = Kept::OwnerUnknown { why: &why }.to_string();
            return Finding { code: Code::OwnerUnknown, what: leftover.to_string(), advice, repaired: false };
        }
        let behind = host.behind(leftover.interface());
        let vouched = wanted.let_out.iter().any(|interface| interface == leftover.interface());
        let (code, what) = (code_of(&behind), leftover.to_string());
        match judge(&behind, vouched.then_some(&wanted.witness)) {
            Err(kept) => Finding { code, what, advice: kept.to_string(), repaired: false },
            Ok(removable) if !wanted.repair => {
                Finding { code, what, advice: removable.to_string(), repaired: false }
            }
            Ok(_) => let_run(repair(&mut connection, leftover, code), &behind, vouched),
        }
    });
    Ok(judged.collect())
}

/// Fails unless a dead engine holds the interface.
fn check_let_out(interface: &str, found: &[Leftover]) -> Result<(), CliError> {
    match found.iter().find(|leftover| leftover.interface() == interface) {
        None => Err(CliError::Usage(format!(
            "--let-out {interface}: nothing of an engine is on an interface of this name; `understudy doctor` lists those \
             that are cut off"
        ))),
        Some(leftover) => match leftover.in_use() {
            Ok(false) => Ok(()),
            Ok(true) => Err(CliError::Refused(format!(
                "--let-out {interface}: a running engine (process {}) holds its output; `understudy unprotect` ends that",
                leftover.pid()
            ))),
            Err(why) => Err(CliError::Refused(format!(
                "--let-out {interface}: whether process {}, which holds its output, still runs cannot be learnt: {why}",
                leftover.pid()
            ))),
        },
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

/// Resumes a guest that was let out, because its engine may have died in a pause.
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

/// Why a redirect may be removed.
#[derive(Debug)]
enum Removable<'a> {
    /// There is no guest whose output could leave.
    Nobody { why: &'a str },
    /// A person vouches, and the witness agrees or is not asked.
    Vouched,
}

/// Why a redirect is kept, and what to do instead.
#[derive(thiserror::Error, Debug)]
enum Kept<'a> {
    #[error("{name} (domain {domain}) was run under {} and is cut off: {START_OR_VOUCH}", in_words(.generation))]
    Guest { name: &'a str, domain: DomId, generation: Option<Generation> },
    #[error("whose it is, is not known ({why}), so it is left as it is: {START_OR_VOUCH}")]
    OwnerUnknown { why: &'a str },
    #[error("{0}; nothing is let out. If you know better: --override-witness")]
    Refused(NotAllowed),
}

const START_OR_VOUCH: &str = "start the engine, which asks the witness and goes on with the guest or ends it; or, if no \
    other host runs it, --repair --let-out INTERFACE";

fn in_words(generation: &Option<Generation>) -> String {
    generation.map_or("an engine".into(), |generation| format!("generation {generation}"))
}

impl fmt::Display for Removable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody { why } => write!(f, "--repair removes it: {why}"),
            Self::Vouched => f.write_str("--repair removes it; the guest's output passes"),
        }
    }
}

/// Whether a redirect may be removed. `vouched` is the witness to ask about an interface that a person wants let out.
fn judge<'a>(behind: &'a Behind, vouched: Option<&Witness>) -> Result<Removable<'a>, Kept<'a>> {
    match (behind, vouched) {
        (Behind::Nobody(why), _) => Ok(Removable::Nobody { why }),
        (_, Some(witness)) => {
            witness.allows(behind.name()).map_err(Kept::Refused)?;
            Ok(Removable::Vouched)
        }
        (Behind::Guest(Marked { name, domain, generation }), None) => {
            Err(Kept::Guest { name, domain: *domain, generation: *generation })
        }
        (Behind::Unknown(why), None) => Err(Kept::OwnerUnknown { why }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Exit;

    #[test]
    fn output_is_let_out_by_proof_or_by_a_persons_word_alone() {
        let guest =
            Behind::Guest(Marked { name: "web".into(), domain: DomId(5), generation: Some(Generation(3)) });
        let advice = judge(&guest, None).unwrap_err().to_string();
        assert!(advice.contains("web (domain 5)") && advice.contains("generation 3"), "{advice}");
        assert!(advice.contains("start the engine"), "{advice}");
        let unknown = Behind::Unknown("xenstored does not answer".into());
        let advice = judge(&unknown, None).unwrap_err().to_string();
        assert!(advice.contains("xenstored does not answer") && advice.contains("left as it is"), "{advice}");
        for behind in [&guest, &unknown] {
            assert!(judge(behind, Some(&Witness::None)).is_ok());
        }
        let nobody = Behind::Nobody("its domain 5 is gone".into());
        assert!(judge(&nobody, None).unwrap().to_string().contains("is gone"));
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
    fn an_interface_that_nobody_holds_cannot_be_let_out() {
        let error = check_let_out("NOSUCH", &[]).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.to_string().contains("NOSUCH"), "{error}");
    }
}
