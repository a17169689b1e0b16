//! How a node opens what its configuration asks for, and starts its guests. Nothing moves before the loop runs.
//!
//! ```text
//!   NodeConfig ─► poll, waker, clock ─► listeners: links, control, metrics ─► witness ─► host ─► Guests ─► Node
//! ```

use super::clock::Clock;
use super::discovery::Discovery;
use super::export::Exports;
use super::guests::Guests;
use super::handle::NodeHandle;
use super::host_facts::Facts;
use super::journal::Journal;
use super::links::Links;
use super::maintenance::Maintenance;
use super::node_context::NodeContext;
use super::uplink::SwitchPort;
use super::witness::{EtcdWitness, OwnWitness, Witness, WitnessClient};
use super::{
    COMMANDS_MAX, CONTROL_FIRST, LINKS_FIRST, METRICS_FIRST, Node, NodeError, REPORTS_MAX, SWITCH, TIMER,
    WAKER, WITNESS, door, hosts, stall,
};
use crate::config::{NodeConfig, WitnessConfig};
use crate::connection::Security;
use crate::control;
use crate::etcd::{Cluster, EtcdConfig, Records};
use crate::guest::{Host, LoopWaker, OutputMaker, Threads};
use crate::metrics::{Metrics, http};
use crate::request_server::RequestServer;
use crate::supervisor::Supervisor;
use crossbeam::channel::bounded;
use mio::net::TcpListener;
use mio::{Events, Poll, Registry, Waker};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use understudy_link::Identity;
use understudy_session::NodeName;

/// How long to wait for an address that another process has. A process that was just killed keeps its addresses until
/// its memory is freed, which takes longer the more guests it has.
const DYING_MAX: Duration = Duration::from_secs(1);

/// Opens something that listens at an address.
fn patiently<T>(mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let began = Instant::now();
    loop {
        match open() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < DYING_MAX => {
                std::thread::sleep(Duration::from_millis(20));
            }
            result => return result,
        }
    }
}

pub(super) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> NodeError {
    let what = what.into();
    move |source| NodeError::System { what, source }
}

fn unusable(what: impl Into<String>) -> impl FnOnce(io::Error) -> NodeError {
    let what = what.into();
    move |source| NodeError::Unusable { what, source }
}

/// Starts listening for peers.
fn listen(
    config: &NodeConfig,
    this: &Identity,
    security: &Security,
    registry: &Registry,
    waker: &LoopWaker,
) -> Result<Links, NodeError> {
    let open = || {
        let registry = registry.try_clone()?;
        Links::open(config, this.clone(), security.clone(), registry, LINKS_FIRST, waker.clone())
    };
    let at = config.listen.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ");
    patiently(open).map_err(unusable(format!("Cannot listen on {at}")))
}

/// Starts serving metrics, if that is configured.
fn serve_metrics(
    at: Option<SocketAddr>,
    registry: &Registry,
) -> Result<Option<RequestServer<TcpListener>>, NodeError> {
    let Some(at) = at else { return Ok(None) };
    let opened = patiently(|| http::open_server(at, registry, METRICS_FIRST));
    opened.map(Some).map_err(unusable(format!("Cannot serve metrics on {at}")))
}

/// Makes the client of the witness, if there is one.
fn open_witness(
    config: &NodeConfig,
    this: Identity,
    security: Security,
    registry: Registry,
    waker: &LoopWaker,
) -> Result<Option<Box<dyn WitnessClient>>, NodeError> {
    Ok(match &config.witness {
        None => None,
        Some(WitnessConfig::Own(at)) => {
            Some(Box::new(OwnWitness::new(*at, this, security, registry, WITNESS)))
        }
        Some(WitnessConfig::Etcd(etcd)) => Some(Box::new(open_etcd(etcd, &config.node, waker)?)),
    })
}

/// Starts the client for etcd, as configured.
fn open_etcd(etcd: &EtcdConfig, node: &NodeName, waker: &LoopWaker) -> Result<EtcdWitness, NodeError> {
    let cluster = Cluster::new(etcd.clone()).map_err(NodeError::Etcd)?;
    EtcdWitness::new(Records::new(cluster, node.clone()), waker)
        .map_err(system("No thread can be had for etcd"))
}

impl Node {
    pub(super) fn open_with(
        config: NodeConfig,
        host: impl FnOnce(&NodeConfig, OutputMaker) -> Result<(Arc<dyn Host>, Discovery), NodeError>,
    ) -> Result<(Self, NodeHandle), NodeError> {
        const NO_LOOP: &str = "No event loop can be had";
        let poll = Poll::new().map_err(system(NO_LOOP))?;
        let registry = || poll.registry().try_clone().map_err(system(NO_LOOP));
        let waker = LoopWaker::new(Waker::new(poll.registry(), WAKER).map_err(system(NO_LOOP))?);
        let clock = Clock::new(poll.registry(), TIMER).map_err(system("No timer can be had"))?;
        let this =
            Identity { node: config.node.clone(), instance: RandomState::new().build_hasher().finish() };
        let security = Security::open(&config.transport, &config.node)?;
        let links = listen(&config, &this, &security, poll.registry(), &waker)?;
        let addresses = links.addresses().map_err(system("A listener has no address"))?;
        let (control_server, socket_file) =
            control::open_server(&config.control, poll.registry(), CONTROL_FIRST)?;
        let metrics_server = serve_metrics(config.metrics, poll.registry())?;
        let (to_reports, reports) = bounded(REPORTS_MAX);
        let (to_commands, commands) = bounded(COMMANDS_MAX);
        let maintenance = Maintenance::open(&config).map_err(unusable(format!(
            "Whether this node is in maintenance cannot be read in {}; give --state another directory",
            config.state.display()
        )))?;
        let metrics = Metrics::new();
        let witness = open_witness(&config, this, security, registry()?, &waker)?;
        let witness = Witness::new(witness, metrics.clone());
        let mut cx = NodeContext { links, witness, now: clock.now(), start_ns: clock.start_ns() };
        let switch = SwitchPort::new(config.uplink.clone(), config.node.0.clone(), registry()?, SWITCH);
        let limits = understudy_netbuf::Limits {
            bytes_max: config.limits.held_output_bytes as usize,
            ..understudy_netbuf::Limits::default()
        };
        let outputs = OutputMaker { limits, waker: waker.clone() };
        let (host, discovery) = host(&config, outputs.clone())?;
        let mut guests =
            Guests::new(config.clone(), metrics.clone(), host, Arc::new(Threads), to_reports, outputs);
        config.guests.xen().iter().for_each(|guest| guests.look_for(&guest.name));
        guests.set_maintenance(maintenance.is_on(), &mut cx);
        let journal = Journal::new(&config.node);
        let handle = NodeHandle::new(to_commands.clone(), waker.clone(), addresses[0]);
        let mut node = Self {
            events: Events::with_capacity(256),
            leaving: Vec::new(),
            stalls: stall::Stalls::default(),
            stopping: false,
            shutdown: None,
            supervisor: Supervisor::default(),
            config,
            poll,
            clock,
            waker,
            reports,
            commands,
            to_commands,
            maintenance,
            exports: Exports::default(),
            journal,
            facts: Facts::default(),
            cx,
            guests,
            discovery,
            switch,
            metrics,
            control_server,
            doorplate: door::Doorplate::new(socket_file),
            metrics_server,
        };
        node.start_guests()?;
        Ok((node, handle))
    }

    fn start_guests(&mut self) -> Result<(), NodeError> {
        for guest in hosts::first_guests(&self.config, &self.guests.outputs)? {
            let name = guest.name.to_string();
            self.guests
                .add(guest, &mut self.cx)
                .map_err(|why| NodeError::Guest { name, reason: why.to_string() })?;
        }
        Ok(())
    }
}
