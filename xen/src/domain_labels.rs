//! Labels of a domain in xenstore: the generation of its guest, the engine that runs it, and the process that makes
//! checkpoints of it without sending them (`remus --blackhole`). A label disappears with its domain. It proves that
//! this very domain ran under that generation, or that the process may have suspended it, whatever happened to the
//! process since.
//!
//! ```text
//!   /local/domain/5/understudy/generation = "3"               written by dom0; the guest may not write it
//!   /local/domain/5/understudy/engine     = "4711 56789"      a process, see [`Process`]
//!   /local/domain/5/understudy/nowhere    = "4711 56789"
//! ```
//!
//! A label that cannot be read is an error, never "none", because "none" would allow the guest to run here.
//!
//! Not here: labels of a standby domain ([`standby`](crate::standby)).

use crate::DomId;
use crate::process::Process;
use crate::xenstore::{StoreError, Xenstore};
use std::str::FromStr;
use understudy_checkpoint::Generation;

/// Why a label cannot be read.
#[derive(thiserror::Error, Debug)]
pub enum LabelError {
    /// Xenstore does not answer, or refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The label has a value that understudy does not write.
    #[error(
        "{path} is {value:?}, which understudy does not write; look who did, and `xenstore-rm` it if the guest may run here"
    )]
    Unreadable {
        /// Path of the node in xenstore.
        path: String,
        /// The value found there.
        value: String,
    },
}

/// The labels of a domain.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Labels {
    /// The generation under which the domain last ran.
    pub generation: Option<Generation>,
    /// The engine that runs it, or ran it.
    pub engine: Option<Process>,
    /// The process that makes checkpoints of it without sending them, or did.
    pub blackhole: Option<Process>,
}

fn path(domain: DomId, what: &str) -> String {
    format!("/local/domain/{domain}/understudy/{what}")
}

/// All labels of `domain`.
pub fn all(store: &mut Xenstore, domain: DomId) -> Result<Labels, LabelError> {
    Ok(Labels {
        generation: get(store, domain, "generation")?.map(Generation),
        engine: get(store, domain, "engine")?,
        blackhole: get(store, domain, "nowhere")?,
    })
}

fn get<T: FromStr>(store: &mut Xenstore, domain: DomId, what: &str) -> Result<Option<T>, LabelError> {
    let path = path(domain, what);
    let Some(value) = store.read(&path)? else { return Ok(None) };
    match value.parse() {
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(LabelError::Unreadable { path, value }),
    }
}

/// Writes a label, unless the domain has ended: the write would create the domain's node, which would stay.
fn put(store: &mut Xenstore, domain: DomId, what: &str, value: &str) -> Result<(), StoreError> {
    if store.directory(&format!("/local/domain/{domain}"))?.is_empty() {
        return Ok(());
    }
    store.write(&path(domain, what), value)
}

/// Records that `domain` runs under `generation`.
pub fn write(domain: DomId, generation: Generation) -> Result<(), StoreError> {
    put(&mut Xenstore::open()?, domain, "generation", &generation.to_string())
}

/// Records that `engine` runs `domain`.
pub fn write_engine(domain: DomId, engine: Process) -> Result<(), StoreError> {
    put(&mut Xenstore::open()?, domain, "engine", &engine.to_string())
}

/// Records that `process` makes checkpoints of `domain` without sending them.
pub fn write_blackhole(domain: DomId, process: Process) -> Result<(), StoreError> {
    put(&mut Xenstore::open()?, domain, "nowhere", &process.to_string())
}

/// Removes the label of [`write_blackhole`].
pub fn remove_blackhole(domain: DomId) -> Result<(), StoreError> {
    Xenstore::open()?.rm(&path(domain, "nowhere"))
}

/// All labels of `domain`, read over a new connection.
pub fn of(domain: DomId) -> Result<Labels, LabelError> {
    all(&mut Xenstore::open()?, domain)
}

/// The generation under which `domain` last ran; `None` if it never did.
pub fn read(domain: DomId) -> Result<Option<Generation>, LabelError> {
    Ok(of(domain)?.generation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xenstore::fake::{Fake, Kind};

    #[test]
    fn labels_are_read_as_they_were_written_and_others_words_are_errors() {
        let fake = Fake::start();
        let mut store = fake.connect();
        fake.tree().nodes.insert("/local/domain/5/name".into(), "web".into());
        assert_eq!(all(&mut store, DomId(5)).unwrap(), Labels::default());
        let this = Process::this().unwrap();
        put(&mut store, DomId(5), "generation", "3").unwrap();
        put(&mut store, DomId(5), "engine", &this.to_string()).unwrap();
        put(&mut store, DomId(5), "nowhere", "4711").unwrap();
        let labels = all(&mut store, DomId(5)).unwrap();
        assert_eq!((labels.generation, labels.engine), (Some(Generation(3)), Some(this)));
        assert_eq!(labels.blackhole, Some("4711".parse().unwrap()), "as an older version wrote it");
        for what in ["generation", "engine", "nowhere"] {
            put(&mut store, DomId(5), what, "three").unwrap();
            let error = all(&mut store, DomId(5)).unwrap_err();
            assert!(error.to_string().contains(&format!("/local/domain/5/understudy/{what} is")), "{error}");
            put(&mut store, DomId(5), what, "3").unwrap();
        }
        put(&mut store, DomId(6), "generation", "3").unwrap();
        assert_eq!(all(&mut store, DomId(6)).unwrap(), Labels::default(), "there is no such domain");
    }

    /// "Not labelled" would let the next engine take the guest for one that nobody ever ran.
    #[test]
    fn a_label_for_which_xenstore_has_no_room_is_an_error_and_so_is_one_that_it_does_not_tell() {
        let fake = Fake::start();
        let mut store = fake.connect();
        fake.tree().nodes.insert("/local/domain/5/name".into(), "web".into());
        put(&mut store, DomId(5), "generation", "2").unwrap();
        for (kind, errno) in [(Kind::Write, "ENOSPC"), (Kind::Write, "EQUOTA"), (Kind::Directory, "E2BIG")] {
            fake.tree().refused = vec![(kind, errno)];
            assert!(put(&mut store, DomId(5), "generation", "3").is_err(), "{errno}");
            assert_eq!(all(&mut store, DomId(5)).unwrap().generation, Some(Generation(2)));
        }
        fake.tree().refused = vec![(Kind::Read, "ENOMEM")];
        assert!(all(&mut store, DomId(5)).is_err());
    }
}
