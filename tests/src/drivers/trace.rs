//! The trace of one run: a line for each event, for a person to read.
//!
//! ```text
//!     time us  node      role            what
//!      123456  A         Protected       ◄ Message(Ack { generation: 1, epoch: 7 })
//!                                        ► Release { through: 7 }
//! ```

use super::GuestId;
use super::facts::Fact;
use super::guest::Step;
use super::host::Host;
use super::network::NODES;
use understudy::node::Glance;
use understudy_session::Time;

/// Lines of text.
#[derive(Debug, Default)]
pub struct Trace {
    /// In order.
    pub lines: Vec<String>,
}

impl Trace {
    pub(super) fn line(&mut self, at: Time, node: usize, role: &str, what: &str) {
        let name = ["A", "B", "W", "fault"][node.min(NODES)];
        let role = if node >= NODES { "" } else { role };
        self.lines.push(format!("{:>9} {name:<6} {role:<16} {what}", at.0 / 1000));
    }

    pub(super) fn fact(&mut self, at: Time, guest: GuestId, fact: &Fact) {
        match fact {
            Fact::Learnt { .. } | Fact::AckSent { .. } | Fact::Told { .. } => {}
            Fact::Stepped { step: Step { request: None, .. }, .. } => {}
            Fact::Stepped { host, by_copy, step: Step { request: Some(request), .. }, .. } => {
                let (name, who) = (super::names::guest_name(guest), if *by_copy { "copy" } else { "guest" });
                self.line(at, *host, name, &format!("the {who} takes request {request}"));
            }
            Fact::Left(frame) => {
                let (generation, epoch, counter) = (frame.generation, frame.epoch, frame.counter);
                let text = format!("frame {counter} of generation {generation}, epoch {epoch}");
                self.lines.push(format!(
                    "{:>9} {:<6} {:<16} {text}",
                    at.0 / 1000,
                    "world",
                    super::names::guest_name(guest)
                ));
            }
            fact => self.lines.push(format!(
                "{:>9} {:<6} {:<16} {fact:?}",
                at.0 / 1000,
                "fact",
                super::names::guest_name(guest)
            )),
        }
    }
}

/// What a host is doing for the first guest, for the column of that name.
pub(super) fn role(host: &Host) -> String {
    match host.glance(0) {
        None if host.engine.is_none() => "down".to_owned(),
        None => String::new(),
        Some(Glance::Primary { state, .. }) => format!("{state:?}"),
        Some(Glance::Secondary { state, .. }) => format!("{state:?}"),
    }
}
