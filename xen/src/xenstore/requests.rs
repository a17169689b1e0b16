//! The requests: on nodes, on their permissions, and the notice that a domain runs again.
//!
//! Requests on nodes exist twice: alone, and in a transaction (`…_in`).
//!
//! Not here: receiving the reply (`client`), starting and ending a transaction (`transaction`).

use super::client::{Asked, NO_TRANSACTION, Xenstore};
use super::wire::{self, Kind};
use super::{Permission, StoreError};
use crate::DomId;

impl Xenstore {
    /// The value of a node; `None` if it does not exist.
    pub fn read(&mut self, path: &str) -> Result<Option<String>, StoreError> {
        self.read_in(NO_TRANSACTION, path)
    }

    /// Sets the value of a node, and creates the node if it does not exist.
    pub fn write(&mut self, path: &str, value: &str) -> Result<(), StoreError> {
        self.write_in(NO_TRANSACTION, path, value)
    }

    /// Creates an empty node. An existing node is left as it is.
    pub fn mkdir(&mut self, path: &str) -> Result<(), StoreError> {
        self.mkdir_in(NO_TRANSACTION, path)
    }

    /// Removes a node and everything below it, if it exists.
    pub fn rm(&mut self, path: &str) -> Result<(), StoreError> {
        self.rm_in(NO_TRANSACTION, path)
    }

    /// The names of a node's children; none if the node does not exist.
    pub fn directory(&mut self, path: &str) -> Result<Vec<String>, StoreError> {
        self.directory_in(NO_TRANSACTION, path)
    }

    /// Sets a node's permissions.
    pub fn set_permissions(&mut self, path: &str, permissions: &[Permission]) -> Result<(), StoreError> {
        self.set_permissions_in(NO_TRANSACTION, path, permissions)
    }

    /// Reports that a domain that shut down runs again, so that its next shutdown is announced.
    pub fn resume(&mut self, domain: DomId) -> Result<(), StoreError> {
        let domain = domain.to_string();
        let asked = Asked { what: "resume domain", subject: &domain };
        self.ask(Kind::Resume, NO_TRANSACTION, &[domain.as_bytes(), b"\0"], asked).map(drop)
    }

    pub(super) fn read_in(&mut self, transaction: u32, path: &str) -> Result<Option<String>, StoreError> {
        match self.of_path(Kind::Read, "read", transaction, path) {
            Ok(value) => Ok(Some(wire::text(&value)?.to_owned())),
            Err(error) if error.is("ENOENT") => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn write_in(&mut self, transaction: u32, path: &str, value: &str) -> Result<(), StoreError> {
        let asked = Asked { what: "write", subject: path };
        let parts: [&[u8]; 3] = [wire::name(path)?, b"\0", value.as_bytes()];
        self.ask(Kind::Write, transaction, &parts, asked).map(drop)
    }

    pub(super) fn mkdir_in(&mut self, transaction: u32, path: &str) -> Result<(), StoreError> {
        self.of_path(Kind::Mkdir, "create", transaction, path).map(drop)
    }

    pub(super) fn rm_in(&mut self, transaction: u32, path: &str) -> Result<(), StoreError> {
        match self.of_path(Kind::Rm, "remove", transaction, path) {
            // Xenstore says so only where the node above is not there either.
            Err(error) if error.is("ENOENT") => Ok(()),
            answer => answer.map(drop),
        }
    }

    pub(super) fn directory_in(&mut self, transaction: u32, path: &str) -> Result<Vec<String>, StoreError> {
        match self.of_path(Kind::Directory, "list", transaction, path) {
            Ok(names) => wire::strings(&names).map(|name| name.map(str::to_owned)).collect(),
            Err(error) if error.is("ENOENT") => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn set_permissions_in(
        &mut self,
        transaction: u32,
        path: &str,
        permissions: &[Permission],
    ) -> Result<(), StoreError> {
        let asked = Asked { what: "set the permissions of", subject: path };
        let entries: String = permissions.iter().map(|permission| format!("{permission}\0")).collect();
        let parts: [&[u8]; 3] = [wire::name(path)?, b"\0", entries.as_bytes()];
        self.ask(Kind::SetPerms, transaction, &parts, asked).map(drop)
    }

    /// A request whose payload is only a path.
    fn of_path(
        &mut self,
        kind: Kind,
        what: &'static str,
        transaction: u32,
        path: &str,
    ) -> Result<Vec<u8>, StoreError> {
        self.ask(kind, transaction, &[wire::name(path)?, b"\0"], Asked { what, subject: path })
    }
}
