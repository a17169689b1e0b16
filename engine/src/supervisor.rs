//! [`Supervisor`]: what the service manager hears of a process that stays, by the protocol of `sd_notify(3)`.
//!
//! ```text
//!   ready ──► READY=1        turned, a third of the watchdog's time after the last ──► WATCHDOG=1, STATUS=…
//!   reloaded ──► RELOADING=1, READY=1                                    stopping ──► STOPPING=1
//! ```
//!
//! The watchdog is fed by the turns of the event loop and by nothing else: who hangs is not fed, and the manager kills it.
//! The loop never waits for the manager: a message that has no room is dropped, and a feeding is tried again soon. That is
//! what the crates for this do not do. Nothing is sent where no manager asked for it (`$NOTIFY_SOCKET`).
//!
//! Children inherit the variables. What they say is not heard, since units have `NotifyAccess=main`.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::{env, io, process};
use understudy_session::{Span, Time};

/// A feeding that had no room is tried again after this long.
const AGAIN: Span = Span::from_ms(100);

/// The longest status that is told.
const STATUS_MAX: usize = 1_000;

/// Whoever started this process and watches it; nobody, mostly.
#[derive(Debug, Default)]
pub struct Supervisor {
    socket: Option<UnixDatagram>,
    watchdog: Option<Watchdog>,
}

#[derive(Debug)]
struct Watchdog {
    every: Span,
    due: Time,
}

impl Supervisor {
    /// The one that the environment names.
    pub fn of_this_process() -> Self {
        let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let variable = |name| env::var(name).ok();
        let watchdog = watchdog_of(variable("WATCHDOG_USEC"), variable("WATCHDOG_PID"), process::id());
        match connect(&path) {
            Ok(socket) => Self { socket: Some(socket), watchdog },
            Err(error) => {
                tracing::warn!(%error, "The service manager that started this process cannot be told that it runs");
                Self::default()
            }
        }
    }

    /// The process serves from now on.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// What can be read anew while it serves was read anew.
    pub fn reloaded(&self) {
        self.tell("RELOADING=1");
        self.tell("READY=1");
    }

    /// The process has begun to end.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// When the loop has to turn next, for the watchdog.
    pub fn next_timeout(&self) -> Option<Time> {
        self.watchdog.as_ref().map(|watchdog| watchdog.due)
    }

    /// A turn of the loop is over. `status` is asked for a line when one is told.
    pub fn turned(&mut self, now: Time, status: impl FnOnce() -> String) {
        if self.next_timeout().is_none_or(|due| now < due) {
            return;
        }
        let mut message = status().replace('\n', " ");
        message.truncate(message.floor_char_boundary(STATUS_MAX));
        let is_fed = self.tell(&format!("WATCHDOG=1\nSTATUS={message}"));
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.due = now + if is_fed { watchdog.every } else { AGAIN };
        }
    }

    /// Whether the message is on its way.
    fn tell(&self, message: &str) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.send(message.as_bytes()).is_ok())
    }
}

fn connect(path: &OsStr) -> io::Result<UnixDatagram> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

/// The watchdog, if there is one and it watches this process.
fn watchdog_of(usec: Option<String>, pid: Option<String>, this: u32) -> Option<Watchdog> {
    let usec: u64 = usec?.parse().ok().filter(|usec| *usec > 0)?;
    if pid.is_some_and(|pid| pid != this.to_string()) {
        return None;
    }
    let every = Span::from_us(usec / 3);
    Some(Watchdog { every, due: Time(0) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time(ms * 1_000_000)
    }

    /// A manager's end of the socket, and ours with a watchdog of 3 s.
    fn pair(directory: &std::path::Path) -> (UnixDatagram, Supervisor) {
        let path = directory.join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let socket = Some(connect(path.as_os_str()).unwrap());
        (manager, Supervisor { socket, watchdog: watchdog_of(Some("3000000".into()), None, 7) })
    }

    fn heard(manager: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 4096];
        let count = manager.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..count]).into_owned())
    }

    #[test]
    fn the_watchdog_is_fed_by_turns_a_third_of_its_time_apart() {
        let directory = tempfile::tempdir().unwrap();
        let (manager, mut supervisor) = pair(directory.path());
        supervisor.ready();
        assert_eq!(heard(&manager).unwrap(), "READY=1");
        supervisor.turned(at(5), || "1 guest\nis protected".into());
        assert_eq!(heard(&manager).unwrap(), "WATCHDOG=1\nSTATUS=1 guest is protected");
        assert_eq!(supervisor.next_timeout(), Some(at(1_005)));
        supervisor.turned(at(1_004), || unreachable!("it is not due"));
        assert_eq!(heard(&manager), None);
        supervisor.turned(at(1_006), String::new);
        assert_eq!(heard(&manager).unwrap(), "WATCHDOG=1\nSTATUS=");
        supervisor.stopping();
        assert_eq!(heard(&manager).unwrap(), "STOPPING=1");
    }

    #[test]
    fn a_manager_that_does_not_listen_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let (manager, mut supervisor) = pair(directory.path());
        while supervisor.tell("READY=1") {}
        supervisor.turned(at(1), String::new);
        assert_eq!(supervisor.next_timeout(), Some(at(101)), "it is tried again soon");
        while heard(&manager).is_some() {}
        supervisor.turned(at(102), String::new);
        assert_eq!(heard(&manager).unwrap(), "WATCHDOG=1\nSTATUS=");
        drop(manager);
        supervisor.turned(at(2_000), String::new);
        assert_eq!(supervisor.next_timeout(), Some(at(2_100)), "nor does one that is gone");
    }

    #[test]
    fn a_watchdog_of_another_process_is_none_of_ours() {
        let every = |usec: &str, pid: Option<&str>| {
            watchdog_of(Some(usec.into()), pid.map(String::from), 7).map(|watchdog| watchdog.every)
        };
        assert_eq!(every("3000000", Some("7")), Some(Span::from_ms(1_000)));
        assert_eq!(every("3000000", None), Some(Span::from_ms(1_000)));
        assert_eq!(every("3000000", Some("8")), None);
        assert_eq!((every("0", None), every("soon", None)), (None, None));
        assert!(watchdog_of(None, None, 7).is_none());
    }

    #[test]
    fn an_abstract_socket_is_reached() {
        let name = format!("understudy-supervisor-{}", process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let supervisor =
            Supervisor { socket: Some(connect(OsStr::new(&format!("@{name}"))).unwrap()), watchdog: None };
        supervisor.reloaded();
        assert_eq!(heard(&manager).unwrap(), "RELOADING=1");
        assert_eq!(heard(&manager).unwrap(), "READY=1");
        assert_eq!(supervisor.next_timeout(), None);
    }
}
