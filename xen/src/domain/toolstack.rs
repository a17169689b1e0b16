//! What a source or a restore needs from the program that suspends and resumes the guest.
//!
//! Under stock `xl` that is libxl, reached through the save helper's messages ([`helper`](crate::helper)); for a
//! guest that understudy protects by itself it is xenstore and a few hypercalls ([`Suspender`](super::Suspender)).

use understudy_checkpoint::domain::DomainError;

/// What became of a guest that was to be settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// The guest ran: there was nothing to end.
    Ran,
    /// It was suspended, and runs now.
    WasSuspended,
    /// It is paused: it would follow a request only when it runs.
    Later,
}

/// Suspends and resumes the guest and its device model. Calls come from one thread.
pub trait Toolstack: Send {
    /// Suspends the guest: when this returns, it has shut itself down with reason *suspend* and no vCPU runs.
    fn suspend(&mut self) -> Result<(), DomainError>;

    /// Lets a suspended guest run on where it stopped.
    fn resume(&mut self) -> Result<(), DomainError>;

    /// Ends what was begun and not seen through, by whatever process: afterwards the guest runs, and no request to suspend
    /// is on its way to it.
    fn settle(&mut self) -> Result<Settled, DomainError> {
        Ok(Settled::Ran)
    }

    /// Whether the guest shut itself down for the last [`suspend`](Self::suspend), which it cannot do without writing
    /// memory; false where that is not known.
    fn guest_took_part(&self) -> bool {
        false
    }

    /// Whether a request to suspend may be on its way to the guest, though nobody waits for it.
    fn is_asked_to_suspend(&self) -> bool {
        false
    }

    /// Appends records of the device model's state, if there is one and nobody else saves it. Only while suspended.
    fn save_device_model(&mut self, out: &mut Vec<u8>) -> Result<(), DomainError>;

    /// Makes the device model report the frames that it writes itself, or allows it to stop doing so. Xen sees
    /// only what the guest's own vCPUs write.
    fn log_device_model(&mut self, on: bool) -> Result<(), DomainError>;
}
