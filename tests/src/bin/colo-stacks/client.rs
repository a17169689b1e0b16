//! Clients of the deterministic service: each knows every byte that it may be sent, and says what was wrong.
//!
//! ```text
//!   Down      one connection, replies of up to 2 MB
//!   Slow      the same, little room, and pauses in which it fills
//!   Up        one connection, requests of up to 1 MB, each answered by its digest
//!   Small     one connection, requests of up to 64 bytes, one after the other
//!   Churn     a new connection for each few requests, closed by either side
//! ```

use crate::service::{Kind, PORT, Pattern, Request};
use crate::world::Family;
use nix::sys::socket::{setsockopt, sockopt};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use thiserror::Error;
use understudy_tests::drivers::rng::Rng;
use xxhash_rust::xxh3::Xxh3;

/// Nothing that is right takes so long: TCP has by then sent a lost segment again six times.
pub(crate) const HANG: Duration = Duration::from_secs(15);
const CHUNK_BYTES: usize = 64 << 10;
/// A few segments.
const SLOW_ROOM_BYTES: usize = 8 << 10;
/// Longer than TCP's first timeout.
const SLOW_PAUSE: Duration = Duration::from_millis(250);

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Habit {
    Down,
    Slow,
    Up,
    Small,
    Churn,
}

/// Clients of a round.
pub(crate) const HABITS: [Habit; 6] =
    [Habit::Down, Habit::Slow, Habit::Up, Habit::Small, Habit::Churn, Habit::Churn];

/// What a client has seen.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) connections: u64,
    pub(crate) requests: u64,
    pub(crate) down_bytes: u64,
    pub(crate) up_bytes: u64,
    /// The longest that a request of at most 64 bytes took.
    pub(crate) stall_max: Duration,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.connections += other.connections;
        self.requests += other.requests;
        self.down_bytes += other.down_bytes;
        self.up_bytes += other.up_bytes;
        self.stall_max = self.stall_max.max(other.stall_max);
    }
}

/// What no client should see.
#[derive(Debug, Error)]
pub(crate) enum Wrong {
    #[error("nothing happened for {} s", HANG.as_secs())]
    Hang,
    #[error("the connection was reset")]
    Reset,
    #[error("the connection was closed early")]
    Closed,
    #[error("byte {0} of a reply was wrong")]
    Byte(usize),
    #[error("a reply was not that of its request")]
    Reply,
    #[error("bytes followed the end")]
    Surplus,
    #[error("{0}")]
    Other(io::Error),
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Self::Hang,
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Self::Reset,
            ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Other(error),
        }
    }
}

/// One client, until it is told to end.
pub(crate) struct Client {
    pub(crate) habit: Habit,
    pub(crate) family: Family,
    pub(crate) rng: Rng,
    /// What is under way is finished, and one more thing begun after that.
    pub(crate) is_ending: Arc<AtomicBool>,
}

impl Client {
    pub(crate) fn run(mut self) -> Result<Tally, Wrong> {
        match self.habit {
            Habit::Churn => self.come_and_go(),
            _ => self.stay(),
        }
    }

    fn stay(&mut self) -> Result<Tally, Wrong> {
        let mut connection = Connection::open(self.family)?;
        if self.habit == Habit::Slow {
            connection.be_slow()?;
        }
        while !self.is_ending.load(Ordering::Acquire) {
            self.ask(&mut connection)?;
        }
        self.ask(&mut connection)?;
        connection.finish()
    }

    fn come_and_go(&mut self) -> Result<Tally, Wrong> {
        let mut tally = Tally::default();
        let mut is_last = false;
        while !is_last {
            is_last = self.is_ending.load(Ordering::Acquire);
            let mut connection = Connection::open(self.family)?;
            for _ in 0..self.rng.below(4) {
                self.ask(&mut connection)?;
            }
            tally.add(match self.rng.chance(50) {
                true => connection.finish()?,
                false => connection.be_closed(self.rng.below(20_000) as u32, self.rng.bits())?,
            });
        }
        Ok(tally)
    }

    fn ask(&mut self, connection: &mut Connection) -> Result<(), Wrong> {
        let seed = self.rng.bits();
        let up_to = |rng: &mut Rng, most: u64| 1 + rng.below(most) as u32;
        match self.habit {
            Habit::Down => connection.get(Kind::Get, up_to(&mut self.rng, 2_000_000), seed),
            Habit::Slow => connection.get(Kind::Get, up_to(&mut self.rng, 120_000), seed),
            Habit::Up => connection.put(up_to(&mut self.rng, 1_000_000), seed),
            Habit::Small => connection.echo(up_to(&mut self.rng, 64), seed),
            Habit::Churn if self.rng.chance(50) => {
                connection.get(Kind::Get, up_to(&mut self.rng, 5_000), seed)
            }
            Habit::Churn => connection.echo(up_to(&mut self.rng, 64), seed),
        }
    }
}

/// A connection, and what was asked on it.
struct Connection {
    stream: TcpStream,
    requests: u64,
    carried: Xxh3,
    chunk: Vec<u8>,
    got: Vec<u8>,
    tally: Tally,
    is_slow: bool,
}

impl Connection {
    fn open(family: Family) -> Result<Self, Wrong> {
        let stream = TcpStream::connect_timeout(&SocketAddr::new(family.guest(), PORT), HANG)?;
        stream.set_read_timeout(Some(HANG))?;
        stream.set_write_timeout(Some(HANG))?;
        stream.set_nodelay(true)?;
        let tally = Tally { connections: 1, ..Tally::default() };
        let (chunk, got) = (vec![0; CHUNK_BYTES], vec![0; CHUNK_BYTES]);
        Ok(Self { stream, requests: 0, carried: Xxh3::new(), chunk, got, tally, is_slow: false })
    }

    /// Has little room, and reads with pauses.
    fn be_slow(&mut self) -> Result<(), Wrong> {
        setsockopt(&self.stream, sockopt::RcvBuf, &SLOW_ROOM_BYTES).map_err(io::Error::from)?;
        self.is_slow = true;
        Ok(())
    }

    fn get(&mut self, kind: Kind, bytes: u32, seed: u64) -> Result<(), Wrong> {
        self.stream.write_all(&Request { kind, bytes, seed }.encode())?;
        let mut pattern = Pattern::new(seed, bytes);
        let mut at = 0;
        loop {
            let piece = pattern.next(&mut self.chunk);
            if piece == 0 {
                break;
            }
            if self.is_slow {
                std::thread::sleep(SLOW_PAUSE);
            }
            self.stream.read_exact(&mut self.got[..piece])?;
            let pairs = self.chunk[..piece].iter().zip(&self.got[..piece]);
            if let Some(wrong) = pairs.into_iter().position(|(should, is)| should != is) {
                return Err(Wrong::Byte(at + wrong));
            }
            at += piece;
        }
        self.count(0, u64::from(bytes));
        Ok(())
    }

    fn put(&mut self, bytes: u32, seed: u64) -> Result<(), Wrong> {
        self.stream.write_all(&Request { kind: Kind::Put, bytes, seed }.encode())?;
        let mut own = Xxh3::new();
        let mut pattern = Pattern::new(seed, bytes);
        loop {
            let piece = pattern.next(&mut self.chunk);
            if piece == 0 {
                break;
            }
            own.update(&self.chunk[..piece]);
            self.carried.update(&self.chunk[..piece]);
            self.stream.write_all(&self.chunk[..piece])?;
        }
        let mut digest = [0; 8];
        self.stream.read_exact(&mut digest)?;
        self.count(u64::from(bytes), 0);
        if u64::from_be_bytes(digest) == own.digest() { Ok(()) } else { Err(Wrong::Reply) }
    }

    fn echo(&mut self, bytes: u32, seed: u64) -> Result<(), Wrong> {
        let began = Instant::now();
        let mut whole = Request { kind: Kind::Echo, bytes, seed }.encode().to_vec();
        let piece = Pattern::new(seed, bytes).next(&mut self.chunk);
        self.carried.update(&self.chunk[..piece]);
        whole.extend_from_slice(&self.chunk[..piece]);
        self.stream.write_all(&whole)?;
        let mut reply = [0; 16];
        self.stream.read_exact(&mut reply)?;
        self.count(u64::from(bytes), 16);
        self.tally.stall_max = self.tally.stall_max.max(began.elapsed());
        let right = [self.requests.to_be_bytes(), self.carried.digest().to_be_bytes()].concat();
        if reply[..] == right { Ok(()) } else { Err(Wrong::Reply) }
    }

    /// The client closes first.
    fn finish(mut self) -> Result<Tally, Wrong> {
        self.stream.shutdown(Shutdown::Write)?;
        let mut digest = [0; 8];
        self.stream.read_exact(&mut digest)?;
        if u64::from_be_bytes(digest) != self.carried.digest() {
            return Err(Wrong::Reply);
        }
        self.expect_end()
    }

    /// The service closes first.
    fn be_closed(mut self, bytes: u32, seed: u64) -> Result<Tally, Wrong> {
        self.get(Kind::Last, bytes, seed)?;
        self.expect_end()
    }

    fn expect_end(mut self) -> Result<Tally, Wrong> {
        match self.stream.read(&mut self.got)? {
            0 => Ok(self.tally),
            _ => Err(Wrong::Surplus),
        }
    }

    fn count(&mut self, up_bytes: u64, down_bytes: u64) {
        self.requests += 1;
        self.tally.requests += 1;
        self.tally.up_bytes += up_bytes;
        self.tally.down_bytes += down_bytes;
    }
}
