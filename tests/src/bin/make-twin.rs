//! Makes a domain of this host go on in place of a guest of this host, for the rig's scenario `twin`.
//!
//! ```text
//!   make-twin GUEST TWIN            domain numbers; the guest stays suspended, and its cards are in no bridge
//!   make-twin --check GUEST TWIN    whether that could be done; the guest is suspended for a moment, the twin is let alone
//!   make-twin --offer-port DOMAIN   gives a domain an event channel port of which it does not know
//! ```
//!
//! Not a tool for operators: nothing keeps back what the guest sends.

use std::process::ExitCode;
use std::time::Instant;
use understudy_checkpoint::domain::Source;
use understudy_xen::domain::{Suspender, XenSource};
use understudy_xen::twin::{Capture, Layout, Twin, unplug_cards};
use understudy_xen::xenstore::Xenstore;
use understudy_xen::{DomId, Xen};

type Fallible<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Fallible<()> {
    let number = |word: &str| word.parse().map(DomId);
    match arguments {
        ["--check", guest, twin] => check(number(guest)?, number(twin)?),
        ["--offer-port", domain] => {
            println!("port {}", Xen::open()?.offer_port_of(number(domain)?)?);
            Ok(())
        }
        [guest, twin] => go_on(number(guest)?, number(twin)?),
        _ => Err("usage: make-twin [--check] GUEST TWIN | --offer-port DOMAIN".into()),
    }
}

/// A guest that stands, and its twin.
struct Pair {
    store: Xenstore,
    source: XenSource<Suspender>,
    twin: Twin,
    captured: Capture,
    suspended: Instant,
}

impl Pair {
    /// Suspends the guest and sees whether `twin` is its twin; if not, the guest goes on.
    fn stop(guest: DomId, twin: DomId) -> Fallible<Self> {
        let (xen, mut store) = (Xen::open()?, Xenstore::open()?);
        let (twin, layout) = (Twin::find(&xen, &mut store, twin)?, Layout::of(&xen, guest)?);
        println!("memory at {:x?}", layout.runs());
        let mut source = XenSource::open(xen.clone(), guest, Suspender::open(xen.clone(), guest)?)?;
        source.suspend()?;
        let suspended = Instant::now();
        let captured = Capture::of(&xen, &mut store, guest, layout);
        match captured.and_then(|captured| twin.check(&mut store, &captured).map(|()| captured)) {
            Ok(captured) => Ok(Self { store, source, twin, captured, suspended }),
            Err(error) => {
                source.resume()?;
                Err(error.into())
            }
        }
    }

    fn tell(&self, what: &str) {
        println!("{:>6} ms {what}", self.suspended.elapsed().as_millis());
    }
}

fn check(guest: DomId, twin: DomId) -> Fallible<()> {
    let mut pair = Pair::stop(guest, twin)?;
    pair.source.resume()?;
    pair.tell("the domain is the guest's twin");
    Ok(())
}

fn go_on(guest: DomId, twin: DomId) -> Fallible<()> {
    let mut pair = Pair::stop(guest, twin)?;
    pair.tell("captured and checked");
    unplug_cards(&mut pair.store, guest)?;
    pair.tell("the guest's cards are unplugged");
    pair.twin.stop(pair.captured.vcpus())?;
    pair.tell("the twin is stopped, its cards are detached");
    let done = pair.twin.overwrite(&pair.captured)?;
    pair.tell(&format!("overwritten: {} pages, {} bytes of grants", done.pages, done.grant_bytes));
    pair.twin.resume(&mut pair.store, &pair.captured)?;
    pair.tell("goes on");
    Ok(())
}
