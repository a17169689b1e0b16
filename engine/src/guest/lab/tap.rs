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

/// How often a thread that waits for frames checks whether its guest has ended.
const LOOK_EVERY_MS: u16 = 100;

/// How long a tap may still belong to a guest that has just ended.
const LET_GO_MAX: Duration = Duration::from_secs(2);

/// Room for any frame of a tap without super-packets, whose MTU is at most 64 KiB.
const FRAME_BYTES_MAX: usize = (64 << 10) + 64;

/// Makes the network cards of lab guests.
#[derive(Clone, Debug)]
pub struct LabCards {
    outputs: OutputMaker,
    /// Prefix of the taps' names, which the guest's name follows; `None`: guests are on the switch.
    taps: Option<String>,
}

impl LabCards {
    /// Cards on the lab's switch, or taps if `taps` gives a prefix for their names.
    pub fn new(outputs: OutputMaker, taps: Option<String>) -> Self {
        Self { outputs, taps }
    }

    /// Fails if the guest `name` cannot have a card.
    pub fn check(&self, name: &str) -> Result<(), KernelError> {
        self.taps.as_ref().map_or(Ok(()), |prefix| GuestTap::check(&format!("{prefix}{name}")))
    }

    /// A card for the guest `name`. All output is held and belongs to epoch `open`.
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

/// The tap's former guest may still be ending.
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
    /// The output that the card holds.
    output: HeldOutput,
    waker: LoopWaker,
}

impl LabCard {
    /// The port that the guest sends to.
    pub fn port(&self) -> Arc<dyn Port> {
        match &self.tap {
            None => Arc::new(self.output.clone()),
            Some(tap) => Arc::new(TapPort(tap.clone())),
        }
    }

    /// The waker of the loop.
    pub(super) fn waker(&self) -> LoopWaker {
        self.waker.clone()
    }

    /// Connects the started guest, which receives from here on, and returns its held output.
    pub(super) fn plug(self, guest: &LabGuest, heard: &Arc<Heard>) -> std::io::Result<HeldOutput> {
        let (inlet, heard) = (guest.inlet(), heard.clone());
        self.receive(guest, move |frame| heard.hear_elsewhere(frame, |frame| inlet.push(frame)))
    }

    /// The same for a guest that was a copy: its input goes through `traffic`.
    pub(super) fn plug_through(
        self,
        guest: &LabGuest,
        traffic: Arc<Traffic>,
        heard: Arc<Heard>,
    ) -> std::io::Result<HeldOutput> {
        self.receive(guest, move |frame| heard.hear_elsewhere(frame, |frame| traffic.deliver(frame)))
    }

    /// A thread of its own delivers a tap's frames to the guest.
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
        // Like an unplugged cable: the guest's protocols deal with the loss.
        let _ = self.0.send(frame);
    }
}

/// Runs until the guest has ended or its tap is gone.
fn receive(tap: &GuestTap, inlet: &Inlet, deliver: impl Fn(&[u8])) {
    let mut frame = vec![0; FRAME_BYTES_MAX];
    while !inlet.has_ended() {
        let mut ready = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
        // The read that follows shows what poll found.
        let _ = poll(&mut ready, PollTimeout::from(LOOK_EVERY_MS));
        loop {
            match tap.receive(&mut frame) {
                Ok(Some(bytes)) => deliver(&frame[..bytes]),
                Ok(None) => {
                    inlet.notify();
                    break;
                }
                Err(error) => {
                    tracing::warn!(tap = tap.name(), %error, "The guest's network card is gone");
                    return;
                }
            }
        }
    }
}
