//! The port of a guest that is, or was, a copy.

use std::fmt;
use std::sync::Arc;
use understudy_lab::Port;

/// Where a guest sends to that is, or was, a copy.
#[derive(Clone)]
pub struct SharedPort(pub Arc<dyn Port>);

impl fmt::Debug for SharedPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Port")
    }
}
