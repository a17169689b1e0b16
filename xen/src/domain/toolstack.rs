//! [`Toolstack`]: what a source or a restore needs from the program that suspends and resumes the guest.
//!
//! Under stock `xl` this is libxl, reached through the save helper's messages ([`helper`](crate::helper)). For a guest
//! that understudy protects itself, it is xenstore and a few hypercalls ([`Suspender`](super::Suspender)).

use understudy_checkpoint::domain::DomainError;

/// What [`Toolstack::settle`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// The guest ran; there was nothing to do.
    Ran,
    /// The guest was suspended, and runs now.
    WasSuspended,
    /// The guest is paused, so it follows a request only when it runs again.
    Later,
}

/// Suspends and resumes a guest and its device model. Calls come from one thread.
pub trait Toolstack: Send {
    /// Suspends the guest. When this returns, the guest has shut down with the reason *suspend* and no vCPU runs.
    fn suspend(&mut self) -> Result<(), DomainError>;

    /// Lets a suspended guest continue where it stopped.
    fn resume(&mut self) -> Result<(), DomainError>;

    /// Does what resuming the guest left to do and nothing waits for. What is left out is done with the next suspend.
    fn after_resume(&mut self) {}

    /// No more suspends are asked for before long: other tools may suspend the guest, and hear of it.
    fn leave_alone(&mut self) {}

    /// Ends a suspend that some process began and did not finish. Afterwards the guest runs, and no request to suspend
    /// is on its way to it.
    fn settle(&mut self) -> Result<Settled, DomainError> {
        Ok(Settled::Ran)
    }

    /// Whether the guest shut itself down for the last [`suspend`](Self::suspend), which it cannot do without writing
    /// memory; `false` if that is not known.
    fn guest_took_part(&self) -> bool {
        false
    }

    /// Whether a request to suspend may be on its way to the guest although nobody waits for it.
    fn is_asked_to_suspend(&self) -> bool {
        false
    }

    /// Appends records of the device model's state, if there is one and nobody else saves it. Only while suspended.
    fn save_device_model(&mut self, out: &mut Vec<u8>) -> Result<(), DomainError>;

    /// Makes the device model report the frames that it writes, or allows it to stop. Xen sees only the writes of the
    /// guest's own vCPUs.
    fn log_device_model(&mut self, on: bool) -> Result<(), DomainError>;
}
