//! The records of guests in a cluster, by the rules of authority.

use super::cluster::{Cluster, EtcdError};
use super::lease::{decode_lease, encode_lease};
use super::message::{self, Held, Swap};
use super::record::{decode_record, encode_record};
use understudy_session::lease::{self, Lease, LeaseReply, LeaseRequest};
use understudy_session::witness::judge;
use understudy_session::{NodeName, Record, WitnessOutcome, WitnessReply, WitnessRequest};

const RANGE: &str = "/v3/kv/range";
const TXN: &str = "/v3/kv/txn";
const DELETE: &str = "/v3/kv/deleterange";

/// What a cluster keeps for a node.
#[derive(Debug)]
pub struct Records {
    cluster: Cluster,
    /// Who asks: the rules say what it may.
    node: NodeName,
}

impl Records {
    /// The records in this cluster, asked for by `node`.
    pub fn new(cluster: Cluster, node: NodeName) -> Self {
        Self { cluster, node }
    }

    /// Does what is asked. An error: it may be done, or not.
    pub fn answer(&self, guest: &str, request: &WitnessRequest) -> Result<WitnessReply, EtcdError> {
        let (outcome, record) = match request {
            WitnessRequest::Read { .. } => (WitnessOutcome::Told, self.read(guest)?),
            WitnessRequest::Swap { expect, new, .. } => self.swap(guest, *expect, new, false)?,
            WitnessRequest::Reclaim { expect, new, .. } => self.swap(guest, *expect, new, true)?,
        };
        Ok(WitnessReply { id: request.id(), outcome, record })
    }

    /// The record of a guest.
    pub fn read(&self, guest: &str) -> Result<Option<Record>, EtcdError> {
        let key = self.key(guest);
        record_of(&key, &self.held(&key)?)
    }

    /// Does what is asked about the lease of a host. An error: it may be done, or not.
    pub fn lease_answer(&self, host: &NodeName, request: &LeaseRequest) -> Result<LeaseReply, EtcdError> {
        // No guest's name begins with a point.
        let key = self.key(&format!(".lease/{host}"));
        let held = self.held(&key)?;
        let lease = lease_of(&key, &held)?;
        let (outcome, lease) = match request {
            LeaseRequest::Read { .. } => (WitnessOutcome::Told, lease),
            LeaseRequest::Swap { expect, new, .. } => {
                match lease::judge(lease.as_ref(), *expect, new, host, &self.node) {
                    WitnessOutcome::Swapped => {
                        let question = message::swap(&key, &held, &encode_lease(new));
                        match self.cluster.ask(TXN, &question, |answer| message::parse_txn(&key, answer))? {
                            Swap::Done => (WitnessOutcome::Swapped, Some(*new)),
                            Swap::Differs(now) => (WitnessOutcome::Conflict, lease_of(&key, &now)?),
                        }
                    }
                    refused => (refused, lease),
                }
            }
        };
        Ok(LeaseReply { id: request.id(), outcome, lease })
    }

    /// Asks whether a majority of the cluster is there, and whether this node may read what it needs.
    pub fn ping(&self) -> Result<(), EtcdError> {
        // No guest's name begins with a point.
        self.held(&self.key(".ping")).map(drop)
    }

    /// Removes every record. For what was only a rehearsal.
    pub fn remove_all(&self) -> Result<(), EtcdError> {
        let question = message::delete_all(&self.key(""));
        self.cluster.ask(DELETE, &question, |answer| Ok((message::parse_header(answer)?, ())))
    }

    fn key(&self, guest: &str) -> String {
        format!("{}/{guest}", self.cluster.prefix())
    }

    fn held(&self, key: &str) -> Result<Held, EtcdError> {
        self.cluster.ask(RANGE, &message::range(key), |answer| message::parse_range(key, answer))
    }

    /// What is held is judged, and replaced only if it is still what was judged.
    fn swap(
        &self,
        guest: &str,
        expect: u64,
        new: &Record,
        by_person: bool,
    ) -> Result<(WitnessOutcome, Option<Record>), EtcdError> {
        let key = self.key(guest);
        let held = self.held(&key)?;
        let record = record_of(&key, &held)?;
        let outcome = judge(record.as_ref(), expect, new, &self.node, by_person);
        if outcome != WitnessOutcome::Swapped {
            return Ok((outcome, record));
        }
        let question = message::swap(&key, &held, &encode_record(new));
        match self.cluster.ask(TXN, &question, |answer| message::parse_txn(&key, answer))? {
            Swap::Done => Ok((WitnessOutcome::Swapped, Some(new.clone()))),
            // Somebody was faster, or this very swap was done by an attempt of which the answer was lost: the record says.
            Swap::Differs(now) => Ok((WitnessOutcome::Conflict, record_of(&key, &now)?)),
        }
    }
}

/// A value that is no lease is not "none".
fn lease_of(key: &str, held: &Held) -> Result<Option<Lease>, EtcdError> {
    let Held::Value(value) = held else { return Ok(None) };
    decode_lease(value).map(Some).map_err(|why| EtcdError::Damaged { key: key.to_owned(), why })
}

/// A value that is no record is not "none".
fn record_of(key: &str, held: &Held) -> Result<Option<Record>, EtcdError> {
    match held {
        Held::Nothing => Ok(None),
        Held::Value(value) => match decode_record(value) {
            Ok(record) => Ok(Some(record)),
            Err(why) => Err(EtcdError::Damaged { key: key.to_owned(), why }),
        },
    }
}
