//! What TLS costs a link, beside the same link without it, in one run.

use super::testbed::{Testbeds, Wanted, every};
use mio::event::Source;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};
use understudy::connection::{Connection, ConnectionError, Dialing, Fill, Security, Transport};
use understudy::drill::DrillError;
use understudy::trust::keygen::keygen;
use understudy_link::{Event, Identity, Service};
use understudy_session::{NodeName, Time};

const SPAN: Duration = Duration::from_secs(6);
/// What a full sync has to carry whole: pages of random content.
const SET_MIB: u64 = 384;
/// Connections that are made, one after the other.
const CONNECTIONS: usize = 300;

/// Measures and prints.
pub(crate) fn run(testbeds: &mut Testbeds) -> Result<(), DrillError> {
    println!(
        "\nA link in plain and over TLS: {SET_MIB} MiB of random pages, 512 MiB guest, a checkpoint every 10 ms"
    );
    println!(
        "          full sync s   MB/s on the link │ commit ms p50    p99 │ connect to open, ms p50    p99"
    );
    for plain in [true, false] {
        let wanted = Wanted {
            load: format!("rate=20000,set={SET_MIB}M,skew=0,content=random"),
            pacing: every(Duration::from_millis(10)),
            memory_bytes: 512 << 20,
            plain,
            ..Wanted::default()
        };
        let opened = opening_times(testbeds.directory(), plain)?;
        let mut testbed = testbeds.testbed(&wanted)?;
        testbed.rest("filling the guest's memory", SPAN)?;
        let stretch = testbed.measure("measuring commits", SPAN)?;
        testbed.unprotect()?;
        let before = testbed.guest()?.link_bytes;
        let took = testbed.protect()?;
        let bytes = testbed.guest()?.link_bytes - before;
        println!(
            "  {:6}  {:11.2}   {:16.0} │ {:13.2} {:6.2} │ {:23.2} {:6.2}",
            if plain { "plain" } else { "TLS" },
            took.as_secs_f64(),
            bytes as f64 / 1e6 / took.as_secs_f64(),
            stretch.after.commit_us.p50 as f64 / 1e3,
            stretch.after.commit_us.p99 as f64 / 1e3,
            opened[CONNECTIONS / 2].as_secs_f64() * 1e3,
            opened[CONNECTIONS * 99 / 100].as_secs_f64() * 1e3,
        );
    }
    Ok(())
}

fn wrong(error: impl std::fmt::Display) -> DrillError {
    DrillError::WrongEnding(error.to_string())
}

/// How a and b go by certificates of their own, or by none.
fn securities(directory: &Path, plain: bool) -> Result<[Security; 2], DrillError> {
    if plain {
        return Ok([Security::PlainLoopback, Security::PlainLoopback]);
    }
    let directories = ["a", "b"].map(|name| directory.join(format!("{name}.tls")));
    for (name, (own, other)) in [("a", (0, 1)), ("b", (1, 0))] {
        let made = keygen(&directories[own], &NodeName(name.into())).map_err(wrong)?;
        let pins = directories[other].join("trust");
        std::fs::create_dir_all(&pins).map_err(wrong)?;
        std::fs::copy(&made.certificate, pins.join(format!("{name}.crt"))).map_err(wrong)?;
    }
    let [a, b] = directories.map(|directory| Transport::Tls { directory });
    let open = |transport: &Transport, name: &str| Security::open(transport, &NodeName(name.into()));
    Ok([open(&a, "a").map_err(wrong)?, open(&b, "b").map_err(wrong)?])
}

/// From the connect to the answered hello, both ends in this thread, sorted.
fn opening_times(directory: &Path, plain: bool) -> Result<Vec<Duration>, DrillError> {
    let [of_a, of_b] = securities(directory, plain)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0).into()).map_err(wrong)?;
    let at = listener.local_addr().map_err(wrong)?;
    let mut times = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        let began = Instant::now();
        open_one(&listener, at, &of_a, &of_b).map_err(wrong)?;
        times.push(began.elapsed());
    }
    times.sort();
    Ok(times)
}

fn identity(name: &str) -> Identity {
    Identity { node: NodeName(name.into()), instance: 1 }
}

fn open_one(
    listener: &TcpListener,
    remote: SocketAddr,
    of_a: &Security,
    of_b: &Security,
) -> Result<(), ConnectionError> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(8);
    let interest = Interest::READABLE | Interest::WRITABLE;
    let dialing = Dialing {
        peer: NodeName("b".into()),
        to: remote.into(),
        service: Service::Node,
        this: identity("a"),
    };
    let mut a = Connection::dial(dialing, of_a, Time(0))?;
    a.proceed()?;
    a.register(poll.registry(), Token(0), interest)?;
    let mut b = None;
    while !a.is_open() {
        if b.is_none()
            && let Ok((stream, remote)) = listener.accept()
        {
            let mut taken = Connection::accepted(stream, remote, Service::Node, of_b, Time(0));
            taken.register(poll.registry(), Token(1), interest)?;
            b = Some(taken);
        }
        let moved = turn(&mut a)? | b.as_mut().map_or(Ok(false), turn)?;
        if !moved && b.is_some() {
            poll.poll(&mut events, Some(Duration::from_millis(50)))?;
        }
    }
    Ok(())
}

/// Whether anything came.
fn turn(end: &mut Connection) -> Result<bool, ConnectionError> {
    end.flush()?;
    if let Some(Event::Hello(_)) = end.next_event()? {
        end.agree(identity("b"))?;
        return Ok(true);
    }
    Ok(end.fill()? != Fill::Drained)
}
