//! A running domain: maps its memory, reads its dirty log, captures its state.
//!
//! * [`XenSource`] implements the engine's [`Source`](understudy_checkpoint::domain::Source)
//! * [`CompareError`] says why a guest's changes cannot be found without a log
//! * [`Toolstack`] suspends and resumes the guest
//!
//! Not here: rebuilding a domain ([`restore`](crate::restore)).

mod compare;
mod device_model;
mod frames;
mod hvm;
mod notice;
mod peek;
pub(crate) mod pv;
mod source;
mod suspender;
mod toolstack;
mod tsc;

pub use compare::CompareError;
pub use device_model::continue_device_model;
pub(crate) use notice::suspend_port;
pub use source::XenSource;
pub use suspender::{Suspender, settle, takes_part};
pub use toolstack::{Settled, Toolstack};

use crate::{DomainInfo, XenError};
use understudy_checkpoint::domain::DomainError;

/// A hypervisor's error in the engine's terms.
pub(crate) fn error(error: XenError) -> DomainError {
    match error {
        XenError::Gone { .. } => DomainError::Gone(error.to_string()),
        XenError::LogLost { .. } => DomainError::LogLost(error.to_string()),
        other => DomainError::Failed(other.to_string()),
    }
}

/// The error for a domain that should be suspended but is not.
fn gone(info: &DomainInfo) -> DomainError {
    let how = match info.shutdown_reason() {
        Some(0) => "it powered off",
        Some(1) => "it is rebooting",
        Some(3) => "it crashed",
        Some(4) => "its watchdog expired",
        Some(5) => "it asked for a soft reset",
        Some(_) => "it ended for a reason that is not known",
        None if info.is_dying() => "it is being destroyed",
        None => return DomainError::Failed(format!("Domain {} did not suspend; it runs on", info.domain)),
    };
    DomainError::Gone(format!("Domain {} did not suspend: {how}", info.domain))
}
