//! Whether a guest may be let out on this host: the witness's word, where this host has one.
//!
//! ```text
//!   record: owner is this node, no copy may be activated ──► yes
//!           anything else, no record, no answer ───────────► no, unless a person overrides it
//! ```

use crate::config::{CONFIG_PATH, ConfigError, Settings, WitnessConfig};
use crate::connection::Transport;
use crate::witness::{LookError, read_record};
use std::io;
use std::path::{Path, PathBuf};
use understudy_checkpoint::Generation;
use understudy_session::{Copy, NodeName, Record};

/// Why nobody can be asked.
#[derive(thiserror::Error, Debug)]
pub(super) enum NobodyToAsk {
    #[error("{CONFIG_PATH}: {0}")]
    Hidden(#[from] io::Error),
    #[error(transparent)]
    Settings(#[from] ConfigError),
    #[error("{} names a witness and no node", .0.display())]
    NodeMissing(PathBuf),
}

/// Why a guest may not be let out here.
#[derive(thiserror::Error, Debug)]
pub(super) enum NotAllowed {
    #[error("whose it is, is not known, so the witness cannot be asked")]
    OwnerUnknown,
    #[error("the witness at {witness}: {why}")]
    NoAnswer { witness: String, why: Box<LookError> },
    #[error("the witness has no record of it")]
    NoRecord,
    #[error("the witness says that {owner} runs it, under generation {generation}: here it is an old copy")]
    RunElsewhere { owner: NodeName, generation: Generation },
    #[error(
        "the witness says that {holder} holds a copy of it that it may take over at any moment; start the engine, which goes \
         on with it"
    )]
    MayBeTakenOver { holder: NodeName },
}

/// Who can say it.
#[derive(Debug)]
pub(super) enum Witness {
    /// This host has none: a person's word has to do.
    None,
    /// This one, asked as this node.
    At { witness: Box<WitnessConfig>, node: NodeName, transport: Transport },
    /// It is not asked.
    Overridden,
}

impl Witness {
    /// That of the node whose configuration this is; the usual one, if there is one, where none is named.
    pub(super) fn of(config: Option<PathBuf>, is_overridden: bool) -> Result<Self, NobodyToAsk> {
        if is_overridden {
            return Ok(Self::Overridden);
        }
        let usual = Path::new(CONFIG_PATH);
        let path = match config {
            Some(path) => path,
            None if usual.try_exists()? => usual.into(),
            None => return Ok(Self::None),
        };
        let settings = Settings::read(&path)?;
        let transport = settings.transport();
        let witness = WitnessConfig::decide(settings.witness, settings.etcd, &transport)?;
        match (witness, settings.node) {
            (None, _) => Ok(Self::None),
            (Some(witness), Some(node)) => {
                Ok(Self::At { witness: Box::new(witness), node: NodeName(node), transport })
            }
            (Some(_), None) => Err(NobodyToAsk::NodeMissing(path)),
        }
    }

    /// An error, with what to do, unless the guest may be let out here.
    pub(super) fn allows(&self, guest: Option<&str>) -> Result<(), NotAllowed> {
        let Self::At { witness, node, transport } = self else { return Ok(()) };
        let guest = guest.ok_or(NotAllowed::OwnerUnknown)?;
        let record = read_record(witness, node, transport, guest);
        let no_answer = |why| NotAllowed::NoAnswer { witness: witness.to_string(), why: Box::new(why) };
        judge(record.map_err(no_answer)?, node)
    }
}

fn judge(record: Option<Record>, node: &NodeName) -> Result<(), NotAllowed> {
    match record {
        None => Err(NotAllowed::NoRecord),
        Some(Record { owner, generation, .. }) if owner != *node => {
            Err(NotAllowed::RunElsewhere { owner, generation })
        }
        Some(Record { copy: Copy::Fresh { holder }, .. }) => Err(NotAllowed::MayBeTakenOver { holder }),
        Some(Record { copy: Copy::Stale, .. }) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_of_a_guest_without_a_copy_lets_it_out() {
        let name = |name: &str| NodeName(name.into());
        let record =
            |owner: &str, copy| Record { revision: 4, generation: Generation(3), owner: name(owner), copy };
        let a = name("a");
        assert!(judge(Some(record("a", Copy::Stale)), &a).is_ok());
        for (record, said) in [
            (None, "no record"),
            (Some(record("b", Copy::Stale)), "b runs it"),
            (Some(record("a", Copy::Fresh { holder: name("b") })), "take over at any moment"),
        ] {
            let why = judge(record, &a).unwrap_err().to_string();
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn a_witness_is_where_the_nodes_configuration_says() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        let of = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Witness::of(Some(path.clone()), false)
        };
        assert!(matches!(of("node = \"a\"\nwitness = \"127.0.0.1:7000\"\n").unwrap(), Witness::At { .. }));
        assert!(matches!(of("node = \"a\"\n").unwrap(), Witness::None));
        assert!(of("witness = \"127.0.0.1:7000\"\n").is_err() && of("node = 7").is_err());
        assert!(Witness::of(Some("/nowhere/node.toml".into()), false).is_err(), "not: none");
        assert!(matches!(Witness::of(Some("/nowhere/node.toml".into()), true).unwrap(), Witness::Overridden));
    }

    #[test]
    fn a_witness_that_does_not_answer_says_no() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let etcd = format!("witness = \"etcd://{free}\"");
        let etcd = toml::from_str::<Settings>(&etcd).unwrap().witness;
        let etcd =
            WitnessConfig::decide(etcd, Default::default(), &Transport::PlainLoopback).unwrap().unwrap();
        for witness in [WitnessConfig::Own(free), etcd] {
            let (witness, node) = (Box::new(witness), NodeName("a".into()));
            let witness = Witness::At { witness, node, transport: Transport::PlainLoopback };
            assert!(witness.allows(Some("web")).unwrap_err().to_string().contains("the witness at"));
            assert!(witness.allows(None).is_err());
        }
        assert!(Witness::None.allows(None).is_ok());
    }
}
