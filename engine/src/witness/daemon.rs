//! The witness's event loop: one thread, one poll, and no allocation whose size a client chooses.
//!
//! ```text
//!   tokens   0 signal │ 1 listener │ 2.. metrics server │ CLIENTS_FIRST.. one for each connection
//! ```
//!
//! A client that sends without reading replies is not read from until it does. A client that sends no hello is closed
//! after a while. A client that connects again replaces its earlier connection.

mod decide;
mod health;
mod leases;
mod places;
mod twins;

use super::{Store, StoreError};
use crate::connection::{Connection, ConnectionError, Fill, Security, TlsError, Transport};
use crate::metrics::{Metrics, http};
use crate::request_server::{RequestServer, SERVER_TOKENS};
use crate::signals::{Hangup, ShutdownSignal};
use crate::supervisor::Supervisor;
use crate::trust::{CredentialsError, WITNESS};
use health::Health;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use places::{NODES_MAX, Ranks, STRANGERS_MAX};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use twins::Twins;
use understudy_link::handshake::HELLO_MAX;
use understudy_link::{Event, Identity, Lane, LinkError, LinkFrame, WitnessFrame, encode};
use understudy_session::lease::Arbiter;
use understudy_session::witness::Witness;
use understudy_session::{NodeName, Time};

/// A client with more unread replies than this is not read from.
const UNREAD_BYTES_MAX: usize = 64 << 10;

/// How many steps one client gets before the others have their turn.
const STEPS_MAX: usize = 64;

const SIGNAL: Token = Token(0);
pub(super) const LISTENER: Token = Token(1);
const METRICS_FIRST: usize = 2;
const CLIENTS_FIRST: usize = METRICS_FIRST + SERVER_TOKENS;

/// A witness's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address that nodes connect to.
    pub listen: SocketAddr,
    /// The directory of the records.
    pub state: PathBuf,
    /// The address to serve metrics at.
    pub metrics: Option<SocketAddr>,
    /// How connections are secured; `listen` was checked against it.
    pub transport: Transport,
}

/// Why a witness cannot run.
#[derive(thiserror::Error, Debug)]
pub enum DaemonError {
    /// The directory cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its certificates cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// An address cannot be listened on.
    #[error("Cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    /// The event loop failed.
    #[error("The event loop failed: {0}")]
    Loop(#[from] io::Error),
}

pub(super) struct Client {
    pub(super) connection: Connection,
    /// After its hello.
    pub(super) node: Option<Identity>,
    /// When it last sent anything.
    pub(super) heard_at: Time,
}

/// A witness that is listening.
pub struct Daemon {
    pub(super) poll: Poll,
    signal: ShutdownSignal,
    pub(super) listener: TcpListener,
    metrics_server: Option<RequestServer<TcpListener>>,
    transport: Transport,
    pub(super) security: Security,
    /// Set by a signal, or when a node has joined by an invitation.
    reload_wanted: bool,
    pub(super) this: Identity,
    began: Instant,
    pub(super) store: Store,
    pub(super) session: Witness,
    pub(super) arbiter: Arbiter,
    pub(super) ranks: Ranks,
    pub(super) clients: BTreeMap<usize, Client>,
    /// Clients that may have more to read when their turn ended.
    unfinished: BTreeSet<usize>,
    pub(super) twins: Twins,
    pub(super) next_client: usize,
    pub(super) metrics: Metrics,
    pub(super) health: Health,
    /// The disk cannot be trusted any more: no request is answered after this.
    pub(super) broken: Option<StoreError>,
}

impl Daemon {
    /// Reads the records and listens. Call it before starting any thread, because it blocks signals.
    pub fn open(config: Config) -> Result<Self, DaemonError> {
        let signal = ShutdownSignal::install(Hangup::Reloads)?;
        let this = NodeName(WITNESS.into());
        let security = Security::open(&config.transport, &this)?;
        let (store, records, leases) = Store::open(&config.state)?;
        tracing::info!(guests = records.len(), leases = leases.len(), state = %config.state.display(), "Records read");
        let listen = |address| move |source| DaemonError::Listen { address, source };
        let listener = TcpListener::bind(config.listen).map_err(listen(config.listen))?;
        let poll = Poll::new()?;
        let metrics_server = match config.metrics {
            Some(address) => {
                Some(http::open_server(address, poll.registry(), METRICS_FIRST).map_err(listen(address))?)
            }
            None => None,
        };
        let mut daemon = Self {
            poll,
            signal,
            listener,
            metrics_server,
            transport: config.transport,
            security,
            reload_wanted: false,
            this: Identity { node: this, instance: u64::from(std::process::id()) },
            began: Instant::now(),
            store,
            session: Witness::new(records),
            arbiter: Arbiter::new(leases),
            ranks: Ranks::default(),
            clients: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            twins: Twins::default(),
            next_client: CLIENTS_FIRST,
            metrics: Metrics::new(),
            health: Health::new(),
            broken: None,
        };
        daemon.metrics.begin_witness();
        let registry = daemon.poll.registry();
        registry.register(&mut daemon.signal, SIGNAL, Interest::READABLE)?;
        registry.register(&mut daemon.listener, LISTENER, Interest::READABLE)?;
        Ok(daemon)
    }

    /// The address that it listens on.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until SIGINT or SIGTERM. `supervisor` hears how it goes.
    pub fn run(&mut self, mut supervisor: Supervisor) -> Result<(), DaemonError> {
        let mut events = Events::with_capacity(NODES_MAX + STRANGERS_MAX);
        supervisor.ready();
        loop {
            match self.poll.poll(&mut events, self.wait_max(supervisor.next_timeout())) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error.into()),
                _ => {}
            }
            let mut due = std::mem::take(&mut self.unfinished);
            for event in &events {
                match event.token() {
                    SIGNAL => {
                        if let Some(signal) = self.signal.arrived()? {
                            tracing::info!(signal, "Ending");
                            supervisor.stopping();
                            return Ok(());
                        }
                        self.reload_wanted |= self.signal.take_reload();
                    }
                    LISTENER => self.let_in(),
                    Token(client) if client >= CLIENTS_FIRST => _ = due.insert(client),
                    token => self.show_metrics(token),
                }
            }
            due.into_iter().for_each(|client| self.serve(client));
            if std::mem::take(&mut self.reload_wanted) {
                self.reload();
                supervisor.reloaded();
            }
            self.decide_twins();
            self.expire();
            self.probe();
            if let Some(error) = self.broken.take() {
                return Err(error.into());
            }
            supervisor.turned(self.now(), || format!("{} nodes are connected", self.nodes().count()));
        }
    }

    pub(super) fn now(&self) -> Time {
        Time(self.began.elapsed().as_nanos() as u64)
    }

    fn wait_max(&self, supervisor: Option<Time>) -> Option<Duration> {
        if !self.unfinished.is_empty() {
            return Some(Duration::ZERO);
        }
        let hellos = self.clients.values().filter_map(|client| client.connection.deadline());
        let visits = self.metrics_server.iter().filter_map(RequestServer::next_timeout);
        let next = hellos
            .chain(visits)
            .chain(self.twins.next_timeout())
            .chain(supervisor)
            .chain([self.health.probe_at()])
            .min()?;
        Some((next - self.now()).into())
    }

    /// Gives a client its turn.
    fn serve(&mut self, id: usize) {
        for _ in 0..STEPS_MAX {
            match self.step(id) {
                Ok(Step::Again) => {}
                Ok(Step::Wait) => return,
                Ok(Step::Done) => return self.close(id, None),
                Err(error) => return self.close(id, Some(&error)),
            }
        }
        self.unfinished.insert(id);
    }

    fn step(&mut self, id: usize) -> Result<Step, ConnectionError> {
        let now = self.now();
        let Some(client) = self.clients.get_mut(&id) else {
            return Ok(Step::Wait);
        };
        client.connection.flush()?;
        if client.connection.is_finished() {
            return Ok(Step::Done);
        }
        if client.connection.outbox().queued_bytes(Lane::Link) > UNREAD_BYTES_MAX {
            return Ok(Step::Wait);
        }
        let event = client.connection.next_event()?;
        if event.is_some() {
            client.heard_at = now;
        }
        match event {
            Some(Event::Hello(hello)) => self.greet(id, hello)?,
            Some(Event::Witness(WitnessFrame::Request { guest, request })) => {
                let guest = guest.to_owned();
                self.decide(id, guest, request)?;
            }
            Some(Event::Witness(WitnessFrame::AboutLease { host, request })) => {
                let host = host.to_owned();
                self.decide_lease(id, &host, request)?;
            }
            Some(Event::Ping) => client.connection.push(encode(&LinkFrame::Pong.into())?)?,
            Some(Event::Bye) => return Ok(Step::Done),
            Some(
                event @ (Event::Witness(WitnessFrame::Reply { .. } | WitnessFrame::LeaseReply { .. })
                | Event::Guest(..)
                | Event::Pong
                | Event::Bulletin(_)
                | Event::FactsWanted
                | Event::Facts(_)),
            ) => {
                let found = event.kind_name();
                return Err(LinkError::Unexpected { expected: "a witness request", found }.into());
            }
            Some(Event::Up(_)) | None => match client.connection.fill()? {
                Fill::Some | Fill::Last => {}
                Fill::Drained => return Ok(Step::Wait),
                Fill::Ended => return Ok(Step::Done),
            },
        }
        Ok(Step::Again)
    }

    /// Connections of nodes, in the order in which they were made.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (usize, &NodeName)> {
        self.clients.iter().filter_map(|(id, client)| Some((*id, &client.node.as_ref()?.node)))
    }

    pub(super) fn client_of(&self, node: &NodeName) -> Option<usize> {
        self.nodes().find(|(_, known)| *known == node).map(|(id, _)| id)
    }

    /// When the process that is connected as `node` last sent anything.
    pub(super) fn heard_of(&self, node: &NodeName) -> Option<Time> {
        Some(self.clients[&self.client_of(node)?].heard_at)
    }

    /// The client has its turn in the next round.
    pub(super) fn serve_later(&mut self, id: usize) {
        self.unfinished.insert(id);
    }

    pub(super) fn connection(&mut self, id: usize) -> &mut Connection {
        &mut self.clients.get_mut(&id).expect("a client being served").connection
    }

    pub(super) fn close(&mut self, id: usize, why: Option<&ConnectionError>) {
        let Some(mut client) = self.clients.remove(&id) else { return };
        self.twins.forget(id);
        // Closing deregisters as well; an error here changes nothing.
        let _ = self.poll.registry().deregister(&mut client.connection);
        if let Some(ConnectionError::Tls(joined @ TlsError::Joined { .. })) = why {
            self.reload_wanted = true;
            return tracing::info!("{joined}");
        }
        let node = client.node.map_or_else(|| "(no hello)".to_owned(), |known| known.node.0);
        match why {
            Some(error) => {
                tracing::warn!(%node, remote = %client.connection.remote(), %error, "Connection closed");
            }
            None => tracing::info!(%node, "Connection ended"),
        }
    }

    /// Reads the certificates again. A node that is no longer trusted loses its connection. If the files are unusable,
    /// nothing changes.
    fn reload(&mut self) {
        match Security::open(&self.transport, &self.this.node) {
            Err(error) => return tracing::warn!(%error, "The certificates are used as they were"),
            Ok(Security::PlainLoopback) => {
                return tracing::info!("There is no --tls, and so nothing to read anew");
            }
            Ok(security) => self.security = security,
        }
        tracing::info!("Certificates read anew");
        let gone: Vec<_> = self
            .clients
            .iter()
            .filter_map(|(id, client)| Some((*id, client.connection.check_trust(&self.security).err()?)))
            .collect();
        gone.into_iter().for_each(|(id, why)| self.close(id, Some(&why.into())));
    }

    fn expire(&mut self) {
        let now = self.now();
        if let Some(server) = &mut self.metrics_server {
            server.expire(now);
        }
        let late = self.clients.iter().filter(|(_, client)| client.connection.check_timeout(now).is_err());
        for id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            tracing::warn!("No hello for {} ms", HELLO_MAX.0 / 1_000_000);
            self.close(id, None);
        }
    }

    fn show_metrics(&mut self, token: Token) {
        let now = self.now();
        let Some(server) = &mut self.metrics_server else { return };
        if let Some(question) = server.ready(token, now) {
            self.metrics.set_certificate_expiry(self.security.expires_at());
            server.answer(question.client, http::respond(&question.bytes, &self.metrics));
        }
    }
}

enum Step {
    /// There may be more to read.
    Again,
    /// An event will tell when there is more.
    Wait,
    /// The connection is over.
    Done,
}
