//! A connection to xenstore that reconnects when it is broken: xenstored was restarted, or answered late.
//!
//! Only for requests that may be repeated. Watches and transactions end with their connection, so there are no watches
//! here, and a transaction is repeated as a whole.

use super::{StoreError, Xenstore};
use std::path::PathBuf;

/// A connection, or how to make one.
#[derive(Debug)]
pub struct Reopening {
    /// `None`: the usual place.
    at: Option<PathBuf>,
    store: Option<Xenstore>,
}

impl Reopening {
    /// Connects to this host's xenstore.
    pub fn open() -> Result<Self, StoreError> {
        Self::of(None)
    }

    /// Connects to the socket `path`, now and whenever it reconnects.
    pub fn connect(path: PathBuf) -> Result<Self, StoreError> {
        Self::of(Some(path))
    }

    fn of(at: Option<PathBuf>) -> Result<Self, StoreError> {
        let mut this = Self { at, store: None };
        this.connection()?;
        Ok(this)
    }

    /// A connection that is not known to be broken.
    pub fn connection(&mut self) -> Result<&mut Xenstore, StoreError> {
        if self.store.as_ref().is_none_or(Xenstore::is_broken) {
            // The old one first: xenstored bounds how many there are.
            self.store = None;
            self.store = Some(match &self.at {
                None => Xenstore::open()?,
                Some(path) => Xenstore::connect(path)?,
            });
        }
        Ok(self.store.as_mut().expect("it was just made"))
    }

    /// Does `request`, and repeats it once if the connection turns out to have ended. If xenstored does not answer in
    /// time the request is not repeated, because the guest may be suspended meanwhile.
    pub fn retry<T>(
        &mut self,
        mut request: impl FnMut(&mut Xenstore) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match request(self.connection()?) {
            Err(StoreError::Closed | StoreError::Io(_)) => request(self.connection()?),
            answer => answer,
        }
    }
}
