//! `understudy packaging …`: what a package's build and its scripts ask. Hidden, since nobody else needs it.
//!
//! ```text
//!   generate DIR     completions of three shells, and a man page for each command      asked by deploy/debian/rules
//!   may-remove       whether anything is protected by what runs here                   asked before a package is removed
//! ```
//!
//! Not here: what follows from the answers, which is the package's.

use super::{CliError, Exit, command};
use crate::config::{CONFIG_PATH, Settings};
use crate::control::{Client, ClientError, DEFAULT_PATH, GuestRole, GuestState, GuestStatus};
use crate::witness::Store;
use clap_complete::{Shell, generate_to};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use understudy_session::{Copy, Record};

/// The question.
#[derive(clap::Subcommand, Debug)]
pub(super) enum Question {
    /// Write completions and man pages
    Generate {
        /// Where to; has to be there
        directory: PathBuf,
    },
    /// Say what is protected by the node and the witness of this host; refused if anything is
    MayRemove(MayRemoveArgs),
}

/// Arguments of `packaging may-remove`.
#[derive(clap::Args, Debug)]
pub(super) struct MayRemoveArgs {
    /// The node's configuration, which may name its control socket
    #[arg(long, value_name = "FILE", default_value = CONFIG_PATH)]
    config: PathBuf,
    /// A node is known to run: if it does not answer, nothing is known
    #[arg(long)]
    node_runs: bool,
    /// Directory of the records of the witness that runs here
    #[arg(long, value_name = "DIR")]
    witness_state: Option<PathBuf>,
}

/// Answers the question.
pub(super) fn run(question: Question) -> Result<Exit, CliError> {
    match question {
        Question::Generate { directory } => generate(&directory),
        Question::MayRemove(args) => may_remove(&args),
    }
}

fn generate(directory: &Path) -> Result<Exit, CliError> {
    let attempt = |source| CliError::System {
        attempt: format!("Nothing can be written to {}", directory.display()),
        source,
    };
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        generate_to(shell, &mut command(), "understudy", directory).map_err(attempt)?;
    }
    clap_mangen::generate_to(command(), directory).map_err(attempt)?;
    Ok(Exit::Ok)
}

fn may_remove(args: &MayRemoveArgs) -> Result<Exit, CliError> {
    let mut protected = Vec::new();
    for guest in node_guests(args)? {
        protected.extend(obstacle(&guest));
    }
    if let Some(state) = &args.witness_state
        && is_there(state)?
    {
        protected.extend(Store::look(state)?.iter().filter_map(|(guest, record)| watched(guest, record)));
    }
    match protected.is_empty() {
        true => Ok(Exit::Ok),
        false => Err(CliError::Refused(protected.join("\n"))),
    }
}

fn is_there(path: &Path) -> Result<bool, CliError> {
    let attempt =
        |source| CliError::System { attempt: format!("{} cannot be looked at", path.display()), source };
    path.try_exists().map_err(attempt)
}

/// The guests of this host's node; none if no node listens on the socket. Any other failure is an error.
fn node_guests(args: &MayRemoveArgs) -> Result<Vec<GuestStatus>, CliError> {
    let settings = if is_there(&args.config)? { Settings::read(&args.config)? } else { Settings::default() };
    let control = settings.control.unwrap_or_else(|| DEFAULT_PATH.into());
    match Client::new(control).status() {
        Ok(status) => Ok(status.guests),
        Err(ClientError::Unreachable { source, .. })
            if !args.node_runs
                && matches!(source.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error.into()),
    }
}

/// What a guest would lose if the node ended. An unprotected guest runs on.
fn obstacle(guest: &GuestStatus) -> Option<String> {
    let GuestStatus { name, role, state, .. } = guest;
    match (role, state) {
        (_, GuestState::Unprotected | GuestState::Ended | GuestState::Empty) => None,
        (GuestRole::Primary, _) => Some(format!(
            "{name} ({}) would stand still here: `understudy unprotect {name}`, or `switchover`",
            state.words()
        )),
        (GuestRole::Secondary, _) => Some(format!(
            "the copy of {name} ({}) would be lost: `understudy unprotect {name}` on the host where it runs",
            state.words()
        )),
    }
}

/// A guest that could not be taken over without this witness.
fn watched(guest: &str, record: &Record) -> Option<String> {
    match &record.copy {
        Copy::Stale => None,
        Copy::Fresh { holder } => Some(format!(
            "{guest} is protected from {} to {holder} by the witness here: `understudy unprotect {guest}` on {}, or give \
             its nodes another witness",
            record.owner, record.owner
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::super::status::tests::guest;
    use super::*;
    use understudy_checkpoint::Generation;
    use understudy_session::NodeName;

    #[test]
    fn only_guests_that_lose_nothing_let_a_package_go() {
        let of = |role, state| obstacle(&GuestStatus { role, state, ..guest("g1") });
        for state in GuestState::ALL {
            let loses_nothing =
                [GuestState::Unprotected, GuestState::Ended, GuestState::Empty].contains(&state);
            for role in [GuestRole::Primary, GuestRole::Secondary] {
                assert_eq!(of(role, state).is_none(), loses_nothing, "{role:?} {state}");
            }
        }
        let said = of(GuestRole::Secondary, GuestState::Standing).unwrap();
        assert!(said.contains("on the host where it runs"), "{said}");
    }

    #[test]
    fn a_node_that_is_known_to_run_and_does_not_answer_is_no_permission() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("node.toml");
        let control = directory.path().join("control.sock");
        std::fs::write(&config, format!("control = {control:?}")).unwrap();
        let ask =
            |node_runs| may_remove(&MayRemoveArgs { config: config.clone(), node_runs, witness_state: None });
        assert_eq!(ask(false).unwrap(), Exit::Ok, "nobody is there");
        assert!(matches!(ask(true), Err(CliError::Unreachable(_))));
        std::fs::write(&control, "").unwrap();
        assert!(matches!(ask(false), Err(CliError::Unreachable(_))), "something else is in its place");
        std::fs::write(&config, "colour = 3").unwrap();
        assert!(matches!(ask(false), Err(CliError::Config(_))));
    }

    #[test]
    fn what_cannot_be_looked_at_is_no_permission() {
        let directory = tempfile::tempdir().unwrap();
        let (circle, none) = (directory.path().join("circle"), directory.path().join("none"));
        std::os::unix::fs::symlink(&circle, &circle).unwrap();
        let ask = |config: &Path, state: &Path| {
            let (config, witness_state) = (config.into(), Some(state.into()));
            may_remove(&MayRemoveArgs { config, node_runs: false, witness_state })
        };
        assert!(matches!(ask(&circle, &none), Err(CliError::System { .. })));
        assert!(matches!(ask(&none, &circle), Err(CliError::System { .. })));
    }

    #[test]
    fn a_witness_stays_as_long_as_a_copy_may_take_over() {
        let directory = tempfile::tempdir().unwrap();
        let (store, ..) = Store::open(directory.path()).unwrap();
        let ask = || {
            let config = directory.path().join("none.toml");
            may_remove(&MayRemoveArgs {
                config,
                node_runs: false,
                witness_state: Some(directory.path().into()),
            })
        };
        let put = |revision, copy| {
            let owner = NodeName("a".into());
            store.put("g1", &Record { revision, generation: Generation(1), owner, copy }).unwrap();
        };
        put(1, Copy::Stale);
        assert_eq!(ask().unwrap(), Exit::Ok);
        put(2, Copy::Fresh { holder: NodeName("b".into()) });
        let Err(CliError::Refused(why)) = ask() else { panic!("it has to be refused") };
        assert!(why.contains("g1 is protected from a to b"), "{why}");
    }

    #[test]
    fn there_is_a_man_page_for_each_command_that_is_shown() {
        let directory = tempfile::tempdir().unwrap();
        generate(directory.path()).unwrap();
        let is_there = |name: &str| directory.path().join(name).is_file();
        assert!(is_there("understudy.bash") && is_there("_understudy") && is_there("understudy.fish"));
        let shown = command();
        for shown in shown.get_subcommands().filter(|it| !it.is_hide_set()) {
            assert!(is_there(&format!("understudy-{}.1", shown.get_name())), "{}", shown.get_name());
        }
        assert!(is_there("understudy.1") && !is_there("understudy-packaging.1"));
    }
}
