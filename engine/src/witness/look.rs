//! One record read by a command, which has no event loop: connects, asks, waits, and goes.

use super::client::{News, WitnessLink};
use crate::connection::ConnectionError;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use understudy_link::Identity;
use understudy_session::{NodeName, Record, RequestId, Time, WitnessRequest};

/// Why a record is not known.
#[derive(thiserror::Error, Debug)]
pub enum LookError {
    /// Nobody answers there.
    #[error("it cannot be reached ({0}); is it running, and is this its address?")]
    Unreachable(#[from] ConnectionError),
    /// It hung up.
    #[error("it ended the connection; its log says why")]
    Ended,
    /// It says nothing.
    #[error("it does not answer within {} s; is it running?", .0.as_secs())]
    Silent(Duration),
    /// This host.
    #[error("this host cannot wait for it: {0}")]
    System(#[from] io::Error),
}

/// The witness's record of `guest`, `None` if it has none.
pub fn read_record(
    witness: SocketAddr,
    guest: &str,
    within_max: Duration,
) -> Result<Option<Record>, LookError> {
    let begun = Instant::now();
    let now = || Time(begun.elapsed().as_nanos() as u64);
    // A name of its own: a node of this host may be connected.
    let this = Identity { node: NodeName(format!("look-{}", std::process::id())), instance: 0 };
    let id = RequestId(1);
    let mut link = WitnessLink::dial(witness, this, now())?;
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
                News::Reply { .. } => {}
                News::Ended => return Err(LookError::Ended),
            }
        }
    }
    Err(LookError::Silent(within_max))
}
