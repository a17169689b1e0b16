//! A connection to xenstore that is made anew when it has come to nothing: xenstored was restarted, or answered late.
//!
//! Only for requests that may be made twice. Watches and transactions end with their connection; there are no watches
//! here, and a transaction is done again as a whole.

use super::{StoreError, Xenstore};
use std::path::PathBuf;

/// A connection, or the way to one.
#[derive(Debug)]
pub struct Reopening {
    /// `None`: where xenstore usually is.
    at: Option<PathBuf>,
    store: Option<Xenstore>,
}

impl Reopening {
    /// Connects to this host's xenstore.
    pub fn open() -> Result<Self, StoreError> {
        Self::of(None)
    }

    /// Connects to a socket of this path, each time.
    pub fn connect(path: PathBuf) -> Result<Self, StoreError> {
        Self::of(Some(path))
    }

    fn of(at: Option<PathBuf>) -> Result<Self, StoreError> {
        let mut this = Self { at, store: None };
        this.connection()?;
        Ok(this)
    }

    /// A connection that nothing is known against.
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

    /// Does `request`, and once more where it turns out that the connection had ended. A xenstored that does not answer
    /// in time is not asked again: the guest may stand still meanwhile.
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
