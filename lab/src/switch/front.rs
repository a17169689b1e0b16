//! The socket of the switch: a Unix socket with one connection for each port, served by one thread.
//!
//! ```text
//!   connection:  | length | name | then | length | frame | length | frame | …       both ways: framing.rs
//! ```

use super::fabric::{Fabric, PortCounters, PortId};
use crate::framing::{Filled, FrameReader};
use crate::mac::Mac;
use mio::net::{UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
/// Ports count from here, so that a port's number is also its token.
const FIRST_PORT: usize = 2;
/// Longest name of a port.
pub(crate) const PORT_NAME_BYTES_MAX: usize = 64;

/// A frame that entered the switch.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    /// The time.
    pub at: Instant,
    /// The port.
    pub port: PortId,
    /// The port's name.
    pub name: &'a str,
    /// The frame.
    pub frame: &'a [u8],
}

/// Observes every frame that enters the switch through a port that is not cut, before it is forwarded.
pub trait Observer: Send {
    /// Called on the switch's thread, so a slow observer delays all ports.
    fn seen(&mut self, sighting: &Sighting<'_>);
}

/// A running switch. Dropping it stops it and removes its socket.
#[derive(Debug)]
pub struct Switch {
    path: PathBuf,
    fabric: Arc<Mutex<Fabric>>,
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    /// Listens on a socket at `path`, where nothing may exist yet.
    pub fn start(path: &Path, observer: Option<Box<dyn Observer>>) -> io::Result<Self> {
        let mut listener = UnixListener::bind(path)?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let (fabric, stop) = (Arc::new(Mutex::new(Fabric::default())), Arc::new(AtomicBool::new(false)));
        let mut front = Front {
            poll,
            listener,
            fabric: fabric.clone(),
            observer,
            connections: HashMap::new(),
            readable: VecDeque::new(),
            next_port: FIRST_PORT,
        };
        let until = stop.clone();
        let thread = thread::Builder::new().name("switch".into()).spawn(move || front.run(&until))?;
        Ok(Self { path: path.into(), fabric, stop, waker, thread: Some(thread) })
    }

    /// The path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Cuts or mends every port of this name, now and in future.
    pub fn set_cut(&self, name: &str, cut: bool) {
        self.fabric.lock().set_cut(name, cut);
    }

    /// The port behind which an address was last seen, with its name.
    pub fn port_of(&self, address: Mac) -> Option<(PortId, String)> {
        self.fabric.lock().port_of(address).map(|(port, name)| (port, name.to_string()))
    }

    /// The connected ports, with names and counters.
    pub fn ports(&self) -> Vec<(PortId, String, PortCounters)> {
        self.fabric.lock().counters()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Neither failure can be acted upon: the thread ends with the process, the file stays behind.
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

/// One connection.
struct Connection {
    stream: UnixStream,
    reader: FrameReader,
    /// Whether it has sent its name and is connected to the fabric.
    is_plugged: bool,
    /// The other side has closed its end: what is left is read up to that.
    is_ending: bool,
    /// Something waits until the socket takes more. Only then is room in it an event: a unix socket makes one whenever its other end
    /// has read.
    is_full: bool,
}

impl Connection {
    /// Whether something waits for room in the socket.
    fn tell(&mut self, poll: &Poll, port: PortId, is_full: bool) -> io::Result<()> {
        if std::mem::replace(&mut self.is_full, is_full) == is_full {
            return Ok(());
        }
        let interest = if is_full { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        poll.registry().reregister(&mut self.stream, Token(port.0), interest)
    }
}

/// The connection has ended.
struct Ended;

/// The state of the switch's thread.
struct Front {
    poll: Poll,
    listener: UnixListener,
    fabric: Arc<Mutex<Fabric>>,
    observer: Option<Box<dyn Observer>>,
    connections: HashMap<PortId, Connection>,
    /// Connections that may have more to read. Each gets one read a turn, so that none starves the others.
    readable: VecDeque<PortId>,
    next_port: usize,
}

impl Front {
    fn run(&mut self, stop: &AtomicBool) {
        let mut events = Events::with_capacity(256);
        while !stop.load(Ordering::Acquire) {
            let timeout = (!self.readable.is_empty()).then_some(Duration::ZERO);
            if let Err(error) = self.poll.poll(&mut events, timeout) {
                assert_eq!(
                    error.kind(),
                    io::ErrorKind::Interrupted,
                    "polling fails only for a wrong descriptor"
                );
                continue;
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept(),
                    WAKER => (),
                    // A port that can be written to is flushed below, like all others.
                    Token(port) => {
                        let has_ended = event.is_read_closed() || event.is_error();
                        self.read_soon(PortId(port), has_ended);
                    }
                }
            }
            for _ in 0..self.readable.len() {
                if let Some(port) = self.readable.pop_front() {
                    self.serve(port);
                }
            }
            self.flush();
        }
    }

    fn accept(&mut self) {
        // Until nobody waits; a connection that failed before it was taken is gone, the next one may be fine.
        while let Ok((mut stream, _)) = self.listener.accept() {
            let port = PortId(self.next_port);
            if self.poll.registry().register(&mut stream, Token(port.0), Interest::READABLE).is_ok() {
                self.next_port += 1;
                let (is_plugged, is_ending, is_full) = Default::default();
                let connection =
                    Connection { stream, reader: FrameReader::new(), is_plugged, is_ending, is_full };
                self.connections.insert(port, connection);
            }
        }
    }

    /// Queues a port for one read, unless it is queued already.
    fn read_soon(&mut self, port: PortId, has_ended: bool) {
        if let Some(connection) = self.connections.get_mut(&port) {
            connection.is_ending |= has_ended;
        }
        if !self.readable.contains(&port) {
            self.readable.push_back(port);
        }
    }

    /// Reads once from a connection, and forwards the frames.
    fn serve(&mut self, port: PortId) {
        let Some(connection) = self.connections.get_mut(&port) else { return };
        let filled = connection.reader.fill(&mut connection.stream);
        let is_ending = connection.is_ending;
        let taken = take_frames(port, connection, &self.fabric, self.observer.as_deref_mut());
        match (filled, taken) {
            (Ok(Filled::Last), Ok(())) if !is_ending => (),
            (Ok(Filled::Some | Filled::Last), Ok(())) => self.read_soon(port, false),
            (Ok(Filled::WouldBlock), Ok(())) => (),
            (Ok(Filled::End) | Err(_), _) | (_, Err(Ended)) => self.close(port),
        }
    }

    fn flush(&mut self) {
        let mut fabric = self.fabric.lock();
        let mut broken = Vec::new();
        for port in fabric.waiting() {
            let Some(connection) = self.connections.get_mut(&port) else { continue };
            let outgoing = fabric.outgoing(port).expect("a waiting port is plugged");
            let flushed = outgoing.flush(&mut connection.stream);
            if flushed.and_then(|()| connection.tell(&self.poll, port, !outgoing.is_empty())).is_err() {
                broken.push(port);
            }
        }
        drop(fabric);
        broken.into_iter().for_each(|port| self.close(port));
    }

    fn close(&mut self, port: PortId) {
        self.connections.remove(&port);
        self.fabric.lock().unplug(port);
    }
}

fn take_frames(
    port: PortId,
    connection: &mut Connection,
    fabric: &Mutex<Fabric>,
    mut observer: Option<&mut (dyn Observer + 'static)>,
) -> Result<(), Ended> {
    let at = Instant::now();
    let mut fabric = fabric.lock();
    while let Some(frame) = connection.reader.take().map_err(|_| Ended)? {
        if !connection.is_plugged {
            let name = std::str::from_utf8(frame).map_err(|_| Ended)?;
            if name.len() > PORT_NAME_BYTES_MAX {
                return Err(Ended);
            }
            fabric.plug(port, name);
            connection.is_plugged = true;
            continue;
        }
        // The fabric queues; nothing leaves before the observer has seen it.
        if let (Some(name), Some(observer)) = (fabric.forward(port, frame), observer.as_mut()) {
            observer.seen(&Sighting { at, port, name: &name, frame });
        }
    }
    Ok(())
}
