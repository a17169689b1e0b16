//! A TCP relay that can be cut, so that a drill can partition hosts on one machine without root.
//!
//! ```text
//!   node ──► listen ─┤ gate ├─► target      bytes of the dialling side towards the target
//!        ◄───────────┤ gate ├──             bytes back
//! ```
//!
//! A closed gate behaves like a network that loses everything: bytes wait in the senders' sockets, the ends of
//! connections go unnoticed, and new connections do not get through. When it opens, what was not given up arrives, as
//! after retransmission, so late messages are part of the drill.

use parking_lot::{Condvar, Mutex};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// Bytes of one read, large enough that system calls do not limit a first copy through the relay.
const CHUNK_BYTES: usize = 256 << 10;
/// Stack of a relay's thread, which does little.
const STACK_BYTES: usize = 64 << 10;

/// One direction of a relay: open or closed.
#[derive(Debug)]
pub struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self { open: Mutex::new(true), opened: Condvar::new() })
    }

    /// Opens or closes it.
    pub fn set_open(&self, open: bool) {
        *self.open.lock() = open;
        self.opened.notify_all();
    }

    /// Waits until the gate is open.
    fn pass(&self) {
        let mut open = self.open.lock();
        while !*open {
            self.opened.wait(&mut open);
        }
    }
}

/// A relay in front of one listener.
#[derive(Debug)]
pub struct Relay {
    /// The address to dial instead of the target.
    pub listen: SocketAddr,
    /// Direction from the dialler to the target.
    pub onward: Arc<Gate>,
    /// Direction from the target to the dialler.
    pub back: Arc<Gate>,
    /// The way in: while it is closed no new connection gets through, and those that stand go on.
    pub entry: Arc<Gate>,
}

impl Relay {
    /// Starts relaying from a free port to `target`, which may come and go. Ends with the process.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((target.ip(), 0))?;
        let relay = Self {
            listen: listener.local_addr()?,
            onward: Gate::new(),
            back: Gate::new(),
            entry: Gate::new(),
        };
        let (onward, back, entry) = (relay.onward.clone(), relay.back.clone(), relay.entry.clone());
        spawn("relay", move || {
            for dialled in listener.incoming().flatten() {
                let (onward, back, entry) = (onward.clone(), back.clone(), entry.clone());
                // A connection that cannot be relayed is a connection refused: dropping it says so.
                let _ = spawn("relay-dial", move || {
                    entry.pass();
                    connect(dialled, target, onward, back);
                });
            }
        })?;
        Ok(relay)
    }
}

fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).stack_size(STACK_BYTES).spawn(body).map(drop)
}

fn connect(dialled: TcpStream, target: SocketAddr, onward: Arc<Gate>, back: Arc<Gate>) {
    // A handshake needs both directions.
    onward.pass();
    back.pass();
    let Ok(reached) = TcpStream::connect(target) else { return };
    // Acks are small and must not wait for company.
    let _ = (dialled.set_nodelay(true), reached.set_nodelay(true));
    let (Ok(from), Ok(to)) = (dialled.try_clone(), reached.try_clone()) else { return };
    let _ = spawn("relay-onward", move || copy(from, to, &onward));
    copy(reached, dialled, &back);
}

/// Copies until the source ends, then ends the destination. An error on either side ends both.
fn copy(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = from.read(&mut chunk);
        gate.pass();
        match count {
            Ok(0) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(count) if to.write_all(&chunk[..count]).is_ok() => {}
            Ok(_) | Err(_) => {
                let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// A relay with one connection through it: dialler's end, target's end.
    fn connected() -> (Relay, TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Relay::start(listener.local_addr().unwrap()).unwrap();
        let dialled = TcpStream::connect(relay.listen).unwrap();
        let reached = listener.accept().unwrap().0;
        for end in [&dialled, &reached] {
            end.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        }
        (relay, dialled, reached)
    }

    fn arrives(mut from: &TcpStream, mut to: &TcpStream) -> bool {
        from.write_all(b"x").unwrap();
        to.read(&mut [0]).is_ok()
    }

    #[test]
    fn a_closed_gate_stops_its_own_direction_only() {
        let (relay, dialled, reached) = connected();
        assert!(arrives(&dialled, &reached) && arrives(&reached, &dialled));
        relay.back.set_open(false);
        assert!(arrives(&dialled, &reached) && !arrives(&reached, &dialled));
    }

    #[test]
    fn what_was_sent_into_a_cut_arrives_when_it_heals() {
        let (relay, dialled, mut reached) = connected();
        relay.onward.set_open(false);
        assert!(!arrives(&dialled, &reached));
        drop(dialled);
        relay.onward.set_open(true);
        reached.set_read_timeout(None).unwrap();
        let mut all = Vec::new();
        reached.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"x", "and then the end of the connection, which was not noticed before");
    }
}
