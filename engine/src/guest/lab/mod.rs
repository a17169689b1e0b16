//! Guests of the lab as the engine runs them: the host that starts them, and their network cards.

mod copy;
mod host;
mod machine;
mod tap;
pub(in crate::guest) mod watchdog;

pub use host::{LabHost, LabStartError, activated};
pub use tap::{LabCard, LabCards};
