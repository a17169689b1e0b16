//! Transactions: changes that others see all at once or not at all.
//!
//! ```text
//!   START ─► body: requests with its number ─┬─ Ok ──► END T ─┬─ done
//!     ▲                                      └─ Err ─► END F  └─ EAGAIN: others changed what it read
//!     └────────────────────────────────────────────────────────────┘
//! ```

use super::client::{Asked, NO_TRANSACTION};
use super::wire::{self, Kind};
use super::{Permission, StoreError, Xenstore};

/// How often a transaction is tried. Each conflict means that somebody else made progress.
const TRIES_MAX: usize = 100;

impl Xenstore {
    /// Runs `body` in a transaction: others see all of its changes or none. If others change what it read, it is run
    /// again, so it must not have other effects. An error of `body` undoes its changes.
    pub fn transaction<T>(
        &mut self,
        mut body: impl FnMut(&mut Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        for _ in 0..TRIES_MAX {
            let id = self.begin()?;
            let done = body(&mut Transaction { store: self, id });
            let commits: &[u8] = if done.is_ok() { b"T\0" } else { b"F\0" };
            let asked = Asked { what: "end", subject: "a transaction" };
            let ended = self.ask(Kind::TransactionEnd, id, &[commits], asked).map(drop);
            match (done, ended) {
                (Ok(value), Ok(())) => return Ok(value),
                (Ok(_), Err(error)) | (Err(error), _) if error.is("EAGAIN") => {}
                (Ok(_), Err(error)) | (Err(error), _) => return Err(error),
            }
        }
        Err(StoreError::Conflict(TRIES_MAX))
    }

    fn begin(&mut self) -> Result<u32, StoreError> {
        let asked = Asked { what: "begin", subject: "a transaction" };
        let answer = self.ask(Kind::TransactionStart, NO_TRANSACTION, &[b"\0"], asked)?;
        let id = wire::string(&answer)?;
        match id.parse() {
            Ok(id) if id != NO_TRANSACTION => Ok(id),
            _ => Err(StoreError::Protocol(format!("{id:?} as the number of a transaction"))),
        }
    }
}

/// A transaction in progress. Others do not see its changes yet.
#[derive(Debug)]
pub struct Transaction<'s> {
    store: &'s mut Xenstore,
    id: u32,
}

impl Transaction<'_> {
    /// [`Xenstore::read`] in the transaction.
    pub fn read(&mut self, path: &str) -> Result<Option<String>, StoreError> {
        self.store.read_in(self.id, path)
    }

    /// [`Xenstore::write`] in the transaction.
    pub fn write(&mut self, path: &str, value: &str) -> Result<(), StoreError> {
        self.store.write_in(self.id, path, value)
    }

    /// [`Xenstore::mkdir`] in the transaction.
    pub fn mkdir(&mut self, path: &str) -> Result<(), StoreError> {
        self.store.mkdir_in(self.id, path)
    }

    /// [`Xenstore::rm`] in the transaction.
    pub fn rm(&mut self, path: &str) -> Result<(), StoreError> {
        self.store.rm_in(self.id, path)
    }

    /// [`Xenstore::directory`] in the transaction.
    pub fn directory(&mut self, path: &str) -> Result<Vec<String>, StoreError> {
        self.store.directory_in(self.id, path)
    }

    /// [`Xenstore::set_permissions`] in the transaction.
    pub fn set_permissions(&mut self, path: &str, permissions: &[Permission]) -> Result<(), StoreError> {
        self.store.set_permissions_in(self.id, path, permissions)
    }
}
