//! What a source or a restore needs from whoever holds the guest's life in hand.
//!
//! Under stock `xl` that is libxl, reached through the save helper's messages ([`helper`](crate::helper)); for a
//! guest that understudy protects by itself it is xenstore and a few hypercalls ([`Suspender`](super::Suspender)).

use understudy_checkpoint::domain::DomainError;

/// Suspends, resumes and tells the device model. Calls come from one thread.
pub trait Toolstack: Send {
    /// Suspends the guest: when this returns, it has shut itself down with reason *suspend* and no vCPU runs.
    fn suspend(&mut self) -> Result<(), DomainError>;

    /// Lets a suspended guest run on where it stopped.
    fn resume(&mut self) -> Result<(), DomainError>;

    /// Ends what a process that is gone may have begun: afterwards the guest runs, and no request to suspend is on its
    /// way to it. Whether it was suspended.
    fn settle(&mut self) -> Result<bool, DomainError> {
        Ok(false)
    }

    /// Appends records of the device model's state, if there is one and nobody else saves it. Only while suspended.
    fn save_device_model(&mut self, out: &mut Vec<u8>) -> Result<(), DomainError>;

    /// Makes the device model report the frames that it writes itself, or allows it to stop doing so. Xen sees
    /// only what the guest's own vCPUs write.
    fn log_device_model(&mut self, on: bool) -> Result<(), DomainError>;
}
