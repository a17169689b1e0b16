//! The witness's session: one record per guest, changed by compare-and-swap only, stable before it is told.
//!
//! The driver keeps the records on disk (fsync) and hands them back at start.

use super::{NodeName, WitnessReply, WitnessRequest};

/// What the driver tells the witness.
#[derive(Clone, Debug)]
pub enum Input {
    /// A request about `guest` by `from`; the reply goes back by `client`.
    Request {
        /// Connection, as the driver numbers them.
        client: u64,
        /// Name the connection's hello gave.
        from: NodeName,
        /// Name of the guest.
        guest: String,
        /// The request.
        request: WitnessRequest,
    },
    /// `Persist` is done for this ticket.
    Persisted {
        /// Of the `Persist`.
        ticket: u64,
    },
    /// `Persist` failed: the record must not be told; memory goes back to what the disk holds.
    PersistFailed {
        /// Of the `Persist`.
        ticket: u64,
    },
}

/// What the witness tells the driver to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Make the record of `guest` stable, then say so.
    Persist {
        /// Pairs the answer.
        ticket: u64,
        /// Name of the guest.
        guest: String,
        /// The record.
        record: super::Record,
    },
    /// Send this to a client (nothing happens if it is gone).
    Reply {
        /// Connection.
        client: u64,
        /// Name of the guest.
        guest: String,
        /// The reply.
        reply: WitnessReply,
    },
}
