//! Makes the control socket again when its file is gone. Without it a node could not be seen or controlled, and ending
//! the node to get it back would cost its guests.

use super::{CONTROL_FIRST, Node};
use crate::control::{self, SocketFile};
use understudy_session::{Span, Time};

/// How often to check that the socket's file is there.
const LOOK_EVERY: Span = Span::from_ms(2_000);

/// What is known about the socket's file.
#[derive(Debug)]
pub(super) struct Doorplate {
    file: SocketFile,
    look_at: Time,
    /// It is gone, and that was logged.
    is_missed: bool,
}

impl Doorplate {
    pub(super) fn new(file: SocketFile) -> Self {
        Self { file, look_at: Time(0), is_missed: false }
    }

    pub(super) fn look_at(&self) -> Time {
        self.look_at
    }
}

impl Node {
    /// Makes the socket again if nothing is in its place. A file in its place belongs to somebody else.
    pub(super) fn look_after_control(&mut self) {
        let now = self.cx.now;
        if self.doorplate.look_at > now {
            return;
        }
        self.doorplate.look_at = now + LOOK_EVERY;
        if !self.doorplate.file.is_gone() {
            return;
        }
        let control = &self.config.control;
        match control::open_server(control, self.poll.registry(), CONTROL_FIRST) {
            Ok((server, file)) => {
                tracing::warn!(control = %control.display(), "The control socket was removed by another program; it is made anew");
                self.control_server = server;
                self.doorplate.file = file;
                self.doorplate.is_missed = false;
            }
            Err(error) if !std::mem::replace(&mut self.doorplate.is_missed, true) => {
                tracing::error!(%error, "The control socket was removed by another program and cannot be made anew; it is tried again");
            }
            Err(_) => {}
        }
    }
}
