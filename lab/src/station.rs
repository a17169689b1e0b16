//! A small host on the switch: resolves, pings, and asks the guest's key-value service.
//!
//! Each answer says which Ethernet address it came from. A request without an answer says whether it can have
//! been done: [`Outcome::Unknown`] may, [`Outcome::NotSent`] cannot.

use crate::mac::Mac;
use crate::memcached::{self, Reply, Request};
use crate::uplink::{Uplink, UplinkError};
use crate::wire::{Arp, ArpOp, Body, Echo, Flow, Frame, Udp};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Neighbours a station remembers; a drill has far fewer guests.
const NEIGHBOURS_MAX: usize = 1024;

/// How long to wait for an answer, and how often to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// For one answer.
    pub timeout: Duration,
    /// Times to ask at most, 1 or more. More than one only for what may be done twice.
    pub attempts: u32,
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was answered.
    Answered {
        /// With this.
        answer: Answer,
        /// From this address.
        by: Mac,
    },
    /// No answer came in time. It may have been done, once for each attempt.
    Unknown,
    /// The address could not be resolved: it was not sent and not done.
    NotSent,
}

/// An answer of the key-value service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The value of the key asked for.
    Value(Vec<u8>),
    /// There is none.
    Miss,
    /// It is set.
    Stored,
    /// The sum.
    Number(u64),
    /// What the guest has done so far.
    Stats {
        /// Requests it answered.
        requests: u64,
        /// Frames that its load wrote.
        load_pages: u64,
    },
    /// There is nothing to add to.
    NotFound,
    /// The service refused, in its words.
    Refused(String),
}

/// An answered ping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pong {
    /// Who answered.
    pub by: Mac,
    /// How long it took.
    pub time: Duration,
}

/// A host with one address, plugged into the switch. One request at a time.
#[derive(Debug)]
pub struct Station {
    uplink: Uplink,
    mac: Mac,
    ip: Ipv4Addr,
    neighbours: HashMap<Ipv4Addr, Mac>,
    /// Id of the last request; ids count up and wrap.
    request_id: u16,
    /// Where frames are written before they leave; holds nothing between calls.
    outgoing: Vec<u8>,
}

impl Station {
    /// Plugs into the switch at `path` as `name`.
    pub fn connect(path: &Path, name: &str, mac: Mac, ip: Ipv4Addr) -> Result<Self, UplinkError> {
        let uplink = Uplink::connect(path, name)?;
        Ok(Self { uplink, mac, ip, neighbours: HashMap::new(), request_id: 0, outgoing: Vec::new() })
    }

    /// The Ethernet address of `ip`: remembered, or asked for. `None` if nobody answers.
    pub fn resolve(&mut self, ip: Ipv4Addr, patience: Patience) -> Result<Option<Mac>, UplinkError> {
        for _ in 0..patience.attempts {
            if let Some(mac) = self.neighbours.get(&ip) {
                return Ok(Some(*mac));
            }
            let request = Arp {
                op: ArpOp::Request,
                sender_mac: self.mac,
                sender_ip: self.ip,
                target_mac: Mac([0; 6]),
                target_ip: ip,
            };
            self.send(Mac::BROADCAST, Body::Arp(request))?;
            self.await_frame(patience.timeout, |frame| match frame.body {
                Body::Arp(arp) if arp.sender_ip == ip => Some(()),
                _ => None,
            })?;
        }
        Ok(self.neighbours.get(&ip).copied())
    }

    /// Sends an echo request; `None` if nobody answers.
    pub fn ping(&mut self, ip: Ipv4Addr, patience: Patience) -> Result<Option<Pong>, UplinkError> {
        let Some(mac) = self.resolve(ip, patience)? else { return Ok(None) };
        let flow = Flow { src: self.ip, dst: ip };
        for _ in 0..patience.attempts {
            let sequence = self.next_id();
            let sent = Instant::now();
            let echo = Echo { is_reply: false, id: 1, sequence, data: b"understudy lab station" };
            self.send(mac, Body::Echo(flow, echo))?;
            let by = self.await_frame(patience.timeout, |frame| match frame.body {
                Body::Echo(back, echo)
                    if back == flow.reversed() && echo.is_reply && echo.sequence == sequence =>
                {
                    Some(frame.src)
                }
                _ => None,
            })?;
            if let Some(by) = by {
                return Ok(Some(Pong { by, time: sent.elapsed() }));
            }
        }
        Ok(None)
    }

    /// Asks the key-value service at `ip` for a value.
    pub fn get(&mut self, ip: Ipv4Addr, key: &str, patience: Patience) -> Result<Outcome, UplinkError> {
        self.ask(ip, &Request::Get { key: key.as_bytes() }, patience)
    }

    /// Sets a value.
    pub fn set(
        &mut self,
        ip: Ipv4Addr,
        key: &str,
        value: &[u8],
        patience: Patience,
    ) -> Result<Outcome, UplinkError> {
        self.ask(ip, &Request::Set { key: key.as_bytes(), flags: 0, value, noreply: false }, patience)
    }

    /// Adds to a value, asking once: twice could add twice.
    pub fn incr(
        &mut self,
        ip: Ipv4Addr,
        key: &str,
        by: u64,
        timeout: Duration,
    ) -> Result<Outcome, UplinkError> {
        let once = Patience { timeout, attempts: 1 };
        self.ask(ip, &Request::Incr { key: key.as_bytes(), by, noreply: false }, once)
    }

    /// Asks anything of the key-value service at `ip`. All attempts of one request carry one id.
    pub fn ask(
        &mut self,
        ip: Ipv4Addr,
        request: &Request<'_>,
        patience: Patience,
    ) -> Result<Outcome, UplinkError> {
        let id = self.next_id();
        let Some(mac) = self.resolve(ip, patience)? else { return Ok(Outcome::NotSent) };
        let mut datagram = Vec::new();
        memcached::write_header(id, &mut datagram);
        request.write(&mut datagram);
        let flow = Flow { src: self.ip, dst: ip };
        // A client's port is its own; the switch tells stations apart, so one number will do for all.
        let udp = Udp { src_port: memcached::PORT + 1, dst_port: memcached::PORT, payload: &datagram };
        for _ in 0..patience.attempts {
            self.send(mac, Body::Udp(flow, udp))?;
            let answered = self.await_frame(patience.timeout, |frame| match frame.body {
                Body::Udp(back, reply) if back == flow.reversed() && reply.dst_port == udp.src_port => {
                    let answer = answer_to(id, reply.payload)?;
                    Some(Outcome::Answered { answer, by: frame.src })
                }
                _ => None,
            })?;
            if let Some(outcome) = answered {
                return Ok(outcome);
            }
        }
        Ok(Outcome::Unknown)
    }

    /// Id of the last request, as its datagrams carry it.
    pub fn last_request_id(&self) -> u16 {
        self.request_id
    }

    fn next_id(&mut self) -> u16 {
        self.request_id = self.request_id.wrapping_add(1);
        self.request_id
    }

    fn send(&mut self, to: Mac, body: Body<'_>) -> Result<(), UplinkError> {
        Frame { dst: to, src: self.mac, body }.write(&mut self.outgoing);
        self.uplink.write_frame(&self.outgoing);
        self.uplink.flush().map(drop)
    }

    /// Handles what arrives until `pick` has found what it looks for, or `timeout` has passed.
    fn await_frame<T>(
        &mut self,
        timeout: Duration,
        mut pick: impl FnMut(&Frame<'_>) -> Option<T>,
    ) -> Result<Option<T>, UplinkError> {
        let deadline = Instant::now() + timeout;
        loop {
            while let Some(bytes) = self.uplink.next_frame()? {
                let Some(frame) = Frame::parse(bytes) else { continue };
                if frame.dst != self.mac && frame.dst != Mac::BROADCAST {
                    continue;
                }
                let picked = pick(&frame);
                if let Body::Arp(arp) = frame.body {
                    self.handle_arp(&arp)?;
                }
                if picked.is_some() {
                    return Ok(picked);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.uplink.wait(left)?;
        }
    }

    fn handle_arp(&mut self, arp: &Arp) -> Result<(), UplinkError> {
        if self.neighbours.len() < NEIGHBOURS_MAX || self.neighbours.contains_key(&arp.sender_ip) {
            self.neighbours.insert(arp.sender_ip, arp.sender_mac);
        }
        if arp.op == ArpOp::Reply || arp.target_ip != self.ip {
            return Ok(());
        }
        let reply = Arp {
            op: ArpOp::Reply,
            sender_mac: self.mac,
            sender_ip: self.ip,
            target_mac: arp.sender_mac,
            target_ip: arp.sender_ip,
        };
        self.send(arp.sender_mac, Body::Arp(reply))
    }
}

/// The answer in a datagram, if it answers request `id`.
fn answer_to(id: u16, datagram: &[u8]) -> Option<Answer> {
    let (answered, text) = memcached::split(datagram)?.ok()?;
    if answered != id {
        return None;
    }
    Some(match Reply::parse(text)? {
        Reply::Value { value, .. } => Answer::Value(value.to_vec()),
        Reply::Miss => Answer::Miss,
        Reply::Stored => Answer::Stored,
        Reply::Number(number) => Answer::Number(number),
        Reply::Stats { requests, load_pages } => Answer::Stats { requests, load_pages },
        Reply::NotFound => Answer::NotFound,
        Reply::Error => Answer::Refused("unknown command".into()),
        Reply::ClientError(why) | Reply::ServerError(why) => Answer::Refused(why.into()),
    })
}
