//! Reads one record for a command, which has no event loop: connects, asks, waits and disconnects. It works with any
//! kind of witness.

use super::client::{News, WitnessLink};
use crate::config::WitnessConfig;
use crate::connection::{ConnectionError, Security, Transport};
use crate::etcd::{Cluster, EtcdError, Records};
use crate::names::NAME_BYTES_MAX;
use crate::trust::CredentialsError;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use understudy_link::Identity;
use understudy_link::handshake::READER_PREFIX;
use understudy_session::{NodeName, Record, RequestId, Time, WitnessRequest};

/// Why a record could not be read.
#[derive(thiserror::Error, Debug)]
pub enum LookError {
    /// Nobody answers at the address.
    #[error("it cannot be reached ({0}); is it running, and is this its address?")]
    Unreachable(#[from] ConnectionError),
    /// The witness closed the connection.
    #[error("it ended the connection; its log says why")]
    Ended,
    /// The witness does not answer in time.
    #[error("it does not answer within {} s; is it running?", .0.as_secs())]
    Silent(Duration),
    /// This host's certificates are unusable.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// etcd failed.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// Something on this host failed.
    #[error("this host cannot wait for it: {0}")]
    System(#[from] io::Error),
}

/// How long our own witness may take. It usually answers in milliseconds; etcd has its own limits.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Reads the witness's record of `guest` on behalf of `node`, whose certificate is used where the witness requires TLS.
/// `None` if there is no record.
pub fn read_record(
    witness: &WitnessConfig,
    node: &NodeName,
    transport: &Transport,
    guest: &str,
) -> Result<Option<Record>, LookError> {
    match witness {
        WitnessConfig::Own(at) => {
            let security = Security::open(transport, node)?;
            read_own(*at, node, &security, guest, ANSWER_MAX)
        }
        WitnessConfig::Etcd(etcd) => {
            let cluster = Cluster::new(etcd.clone()).map_err(EtcdError::from)?;
            Ok(Records::new(cluster, node.clone()).read(guest)?)
        }
    }
}

fn read_own(
    witness: SocketAddr,
    node: &NodeName,
    security: &Security,
    guest: &str,
    within_max: Duration,
) -> Result<Option<Record>, LookError> {
    let begun = Instant::now();
    let now = || Time(begun.elapsed().as_nanos() as u64);
    // A name of its own, since this host's node may be connected as well.
    let mut name = format!("{READER_PREFIX}{}.{node}", std::process::id());
    name.truncate(NAME_BYTES_MAX);
    let this = Identity { node: NodeName(name), instance: 0 };
    let id = RequestId(1);
    let mut link = WitnessLink::dial(witness, this, security, now())?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut link, Token(0), Interest::READABLE | Interest::WRITABLE)?;
    let mut events = Events::with_capacity(4);
    while let Some(left) = within_max.checked_sub(begun.elapsed()) {
        match poll.poll(&mut events, Some(left)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        while let Some(news) = link.next_news(now())? {
            match news {
                News::Up => link.ask(guest, WitnessRequest::Read { id })?,
                News::Reply { reply, .. } if reply.id == id => return Ok(reply.record),
                News::Reply { .. } | News::LeaseReply { .. } => {}
                News::Ended => return Err(LookError::Ended),
            }
        }
    }
    Err(LookError::Silent(within_max))
}
