//! A lab guest's network card: plugged into the lab's switch by the event loop, or a tap of this host, whose output is
//! held in the kernel as that of a real guest's interface is.
//!
//! ```text
//!   switch   guest ──► queue in this process ──► event loop ──► switch
//!
//!   tap      guest ──► tap ──redirect──► queue (`interfaces`) ──► tap ──► bridge
//!                 ◄── thread ◄── tap
//! ```

use crate::guest::copy::{Heard, Traffic};
use crate::guest::output::interfaces::Card;
use crate::guest::output::{HeldOutput, OutputMaker};
use crate::guest::waker::LoopWaker;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};
use understudy_checkpoint::Epoch;
use understudy_lab::{Inlet, LabGuest, Port};
use understudy_netbuf::kernel::{GuestTap, KernelError};

/// How often a thread that waits for frames looks whether its guest has ended.
const LOOK_EVERY_MS: u16 = 100;

/// How long a card may still be that of a guest that has just ended.
const LET_GO_MAX: Duration = Duration::from_secs(2);

/// Room for any frame of a tap without super-packets, whose MTU is at most 64 KiB.
const FRAME_BYTES_MAX: usize = (64 << 10) + 64;

/// What makes network cards of lab guests.
#[derive(Clone, Debug)]
pub struct LabCards {
    outputs: OutputMaker,
    /// A guest's tap is called this and the guest's name; `None`: guests are on the switch.
    taps: Option<String>,
}

impl LabCards {
    /// Cards on the lab's switch, or, where `taps` is given, taps with names that begin with it.
    pub fn new(outputs: OutputMaker, taps: Option<String>) -> Self {
        Self { outputs, taps }
    }

    /// An error if there is no card for a guest `name`.
    pub fn check(&self, name: &str) -> Result<(), KernelError> {
        self.taps.as_ref().map_or(Ok(()), |prefix| GuestTap::check(&format!("{prefix}{name}")))
    }

    /// A card for the guest `name`, which sends nothing that is not held as of epoch `open`.
    pub fn make(&self, name: &str, open: Epoch) -> Result<LabCard, KernelError> {
        let waker = self.outputs.waker.clone();
        let Some(prefix) = &self.taps else {
            return Ok(LabCard { tap: None, output: self.outputs.frames(open), waker });
        };
        let tap = Arc::new(open_tap(&format!("{prefix}{name}"))?);
        let output = self.outputs.interfaces(open);
        output.hold(&[Card { interface: tap.name().into(), mac: None, is_connected: false }])?;
        Ok(LabCard { tap: Some(tap), output, waker })
    }
}

/// The guest that had the tap before may be on its way out.
fn open_tap(name: &str) -> Result<GuestTap, KernelError> {
    let begun = Instant::now();
    loop {
        match GuestTap::open(name) {
            Err(KernelError::InUse { .. }) if begun.elapsed() < LET_GO_MAX => {
                sleep(Duration::from_millis(20))
            }
            opened => return opened,
        }
    }
}

/// A lab guest's network card: on the switch, unless it is a tap.
#[derive(Debug)]
pub struct LabCard {
    tap: Option<Arc<GuestTap>>,
    /// What the guest sends by it.
    output: HeldOutput,
    waker: LoopWaker,
}

impl LabCard {
    /// Where the guest is to send.
    pub fn port(&self) -> Arc<dyn Port> {
        match &self.tap {
            None => Arc::new(self.output.clone()),
            Some(tap) => Arc::new(TapPort(tap.clone())),
        }
    }

    /// What wakes the loop.
    pub(super) fn waker(&self) -> LoopWaker {
        self.waker.clone()
    }

    /// The guest has started: from here on it receives, and this is its output.
    pub(super) fn plug(self, guest: &LabGuest, heard: &Arc<Heard>) -> std::io::Result<HeldOutput> {
        let (deliver, heard) = (guest.inlet(), heard.clone());
        self.receive(guest, move |frame| heard.hear_elsewhere(frame, |frame| deliver.inject_numbered(frame)))
    }

    /// The same for a guest that was a copy: what it receives goes through `traffic`.
    pub(super) fn plug_through(
        self,
        guest: &LabGuest,
        traffic: Arc<Traffic>,
        heard: Arc<Heard>,
    ) -> std::io::Result<HeldOutput> {
        self.receive(guest, move |frame| heard.hear_elsewhere(frame, |frame| traffic.deliver(frame)))
    }

    /// What comes by a tap goes to the guest on a thread of its own.
    fn receive(
        self,
        guest: &LabGuest,
        deliver: impl Fn(&[u8]) + Send + 'static,
    ) -> std::io::Result<HeldOutput> {
        if let Some(tap) = self.tap {
            let inlet = guest.inlet();
            Builder::new().name("tap".into()).spawn(move || receive(&tap, &inlet, deliver))?;
        }
        Ok(self.output)
    }
}

#[derive(Debug)]
struct TapPort(Arc<GuestTap>);

impl Port for TapPort {
    fn transmit(&self, frame: &[u8]) {
        // A network without a cable: what is lost is for the guest's protocols.
        let _ = self.0.send(frame);
    }
}

/// Until the guest has ended, or its tap is gone.
fn receive(tap: &GuestTap, inlet: &Inlet, deliver: impl Fn(&[u8])) {
    let mut frame = vec![0; FRAME_BYTES_MAX];
    while !inlet.has_ended() {
        let mut ready = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
        // Whatever it says, the read finds out.
        let _ = poll(&mut ready, PollTimeout::from(LOOK_EVERY_MS));
        loop {
            match tap.receive(&mut frame) {
                Ok(Some(bytes)) => deliver(&frame[..bytes]),
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(tap = tap.name(), %error, "The guest's network card is gone");
                    return;
                }
            }
        }
    }
}
