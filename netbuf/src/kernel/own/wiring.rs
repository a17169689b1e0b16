//! How an interface is wired to the tap that holds its output: the tap's settings and the two redirects.
//!
//! ```text
//!   vif receives ─ marked? ─ no ──► tap, to be read      tap is written to ─ marked, redirected ─┐
//!        ▲            └───── yes ─► bridge                                                       │
//!        └───────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Every call waits for the kernel. Not here: checking and repairing the wiring ([`inspect`](super::inspect)).

use super::nic::Parts;
use crate::kernel::netlink::filter::{Matcher, Target};
use crate::kernel::netlink::{Connection, link, qdisc};
use crate::kernel::owner::Owner;
use crate::kernel::redirect::{self, Device, Redirect, Way};
use crate::kernel::tap::{Offloads, Tap};
use crate::kernel::{KernelError, sys};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Frames that a tap keeps for a late reader: 10 ms of full frames at 10 Gbit/s.
const RING_FRAMES: u32 = 8192;
/// The largest MTU that the kernel gives a tap, so that frames fit whatever MTU the vif has or gets.
pub(super) const TAP_MTU_BYTES: u32 = 65_521;
/// The mark (`fwmark`) of released frames, which the vif's redirect lets through. A guest cannot set a mark: it belongs
/// to the host's buffers and is no part of a frame. The host's firewall sees it.
const RELEASED_MARK: u32 = 0x5553_0001;
/// A tap of this process that was just closed may still exist for this long; how often to retry meanwhile.
const CLOSE_MAX: Duration = Duration::from_secs(1);
const CLOSE_RETRY: Duration = Duration::from_millis(5);

/// What all redirects of an own queue have in common.
#[derive(Debug)]
pub(super) struct Wiring {
    pub(super) owner: Owner,
    /// The classifier that marks released frames.
    marker: OwnedFd,
}

impl Wiring {
    pub(super) fn new() -> Result<Self, KernelError> {
        let owner = Owner::this_process()?;
        // The redirects keep the program once they are there.
        let marker = sys::load_marker(RELEASED_MARK).map_err(KernelError::Classifier)?;
        Ok(Self { owner, marker })
    }

    /// Creates the tap of `vif`. Nothing is redirected yet.
    pub(super) fn open(&self, connection: &mut Connection, vif: &str) -> Result<Parts, KernelError> {
        let vif = Device::find(connection, vif)?;
        let tap = create_tap(&vif.intermediate_name())?;
        let tap_device = Device::find(connection, tap.name())?;
        prepare(connection, &tap_device, &vif)?;
        Ok(Parts::new(vif, tap_device, tap))
    }

    /// The redirect from the tap back to the vif, and the redirect from the vif to the tap: the order in which they are
    /// set up.
    pub(super) fn redirects(&self, parts: &Parts) -> [Redirect; 2] {
        let (vif, tap) = (&parts.vif, &parts.tap_device);
        let marked = Matcher::Program(self.marker.as_raw_fd());
        [
            Redirect { from: tap.clone(), way: Way::To(marked, Target::ReceiveOn(vif.index)) },
            Redirect {
                from: vif.clone(),
                way: Way::To(Matcher::Unmarked(RELEASED_MARK), Target::TransmitOn(tap.index)),
            },
        ]
    }

    /// Installs `redirects`. Frames arrive at the taps from here on.
    pub(super) fn install(
        &self,
        connection: &mut Connection,
        redirects: &[Redirect],
    ) -> Result<(), KernelError> {
        redirect::install(connection, redirects, &self.owner)
    }

    /// Removes the redirects from `vifs`.
    pub(super) fn remove(&self, connection: &mut Connection, vifs: &[Device]) -> Result<(), KernelError> {
        redirect::remove(connection, vifs, &self.owner)
    }
}

/// Creates the tap `name`, and waits for one of this process that was just closed.
fn create_tap(name: &str) -> Result<Tap, KernelError> {
    let begun = Instant::now();
    loop {
        match Tap::create(name, Offloads::All) {
            Err(KernelError::InUse { .. }) if begun.elapsed() < CLOSE_MAX => sleep(CLOSE_RETRY),
            created => return created,
        }
    }
}

/// Sets a tap up: the vif's address, so that "for this host" means the same at both; room for a late reader; no queue
/// of the host's, and no IPv6 traffic of the host's own.
pub(super) fn prepare(connection: &mut Connection, tap: &Device, vif: &Device) -> Result<(), KernelError> {
    let described = connection.ask(link::get_by_index(vif.index, &vif.name), link::decode)?;
    let address = described.first().map(|link| link.address.as_slice());
    let room = link::Change {
        mtu_bytes: Some(TAP_MTU_BYTES),
        queue_frames: Some(RING_FRAMES),
        address,
        ..Default::default()
    };
    let silent = link::Change { silent: true, ..Default::default() };
    let up = link::Change { up: Some(true), ..Default::default() };
    let mut requests = [room, up].map(|change| link::change(tap.index, &tap.name, change));
    // The kernel refuses this where the host has no IPv6; then there is nothing to silence.
    connection.all(&mut [link::change(tap.index, &tap.name, silent)], |_| true)?;
    connection.all(&mut [qdisc::add_noqueue(tap.index, &tap.name)], |_| false)?;
    Ok(connection.all(&mut requests, |_| false)?)
}
