//! Services as Debian has them, in both guests. Those whose replies their requests alone decide must never differ, whatever
//! happens to the primary; of others it is told how often they did.
//!
//! ```text
//!   redis     clients with keys of their own     the same
//!   nginx     static files                       but for the second in `Date`
//!   iperf3    both ways                          but for what each host has measured, at the end
//!   postgres  pgbench                           a key for each new connection
//!   sshd      a command                          never: keys are exchanged
//! ```

pub(crate) mod nginx;
pub(crate) mod postgres;
pub(crate) mod programs;
pub(crate) mod redis;

use std::path::Path;

/// Whether a program is here.
pub(crate) fn is_installed(program: &str) -> bool {
    let places = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];
    places.iter().any(|place| Path::new(place).join(program).exists())
}
