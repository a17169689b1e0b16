//! [`Station`]: a small host on the switch that resolves addresses, pings, and asks the guest's key-value service.
//!
//! Each answer comes with the Ethernet address that sent it. If there is no answer, the outcome tells whether the
//! request may have been executed: [`Outcome::Unknown`] it may, [`Outcome::NotSent`] it was not.

use crate::mac::Mac;
use crate::memcached::{self, Reply, Request};
use crate::uplink::{Uplink, UplinkError};
use crate::wire::{Arp, ArpOp, Body, Echo, Flow, Frame, Udp};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

/// Most neighbours that a station remembers; a drill has far fewer guests.
const NEIGHBOURS_MAX: usize = 1024;

/// How long to wait for an answer, and how often to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// How long to wait for one answer.
    pub timeout: Duration,
    /// How often to ask at most, 1 or more. More than one only for requests that may be executed twice.
    pub attempts: u32,
}

/// The outcome of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was answered.
    Answered {
        /// The answer.
        answer: Answer,
        /// The address that sent it.
        by: Mac,
    },
    /// No answer came in time. The request may have been executed, once for each attempt.
    Unknown,
    /// The address could not be resolved, so the request was not sent.
    NotSent,
}

/// An answer of the key-value service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The value of the key.
    Value(Vec<u8>),
    /// The key has no value.
    Miss,
    /// The value was set.
    Stored,
    /// The sum.
    Number(u64),
    /// What the guest has done so far.
    Stats {
        /// Requests answered.
        requests: u64,
        /// Frames that the load wrote.
        load_pages: u64,
    },
    /// The key has no value to add to.
    NotFound,
    /// The service refused, with its message.
    Refused(String),
}

/// An answered ping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pong {
    /// The address that answered.
    pub by: Mac,
    /// The round-trip time.
    pub time: Duration,
}

/// A host with one address, plugged into the switch. One request at a time.
#[derive(Debug)]
pub struct Station {
    uplink: Uplink,
    mac: Mac,
    ip: Ipv4Addr,
    neighbours: HashMap<Ipv4Addr, Mac>,
    /// The id of the last request. Ids count up and wrap.
    request_id: u16,
    /// A buffer for outgoing frames; empty between calls.
    outgoing: Vec<u8>,
}

impl Station {
    /// Connects to the switch at `path` under `name`.
    pub fn connect(path: &Path, name: &str, mac: Mac, ip: Ipv4Addr) -> Result<Self, UplinkError> {
        let uplink = Uplink::connect(path, name)?;
        Ok(Self { uplink, mac, ip, neighbours: HashMap::new(), request_id: 0, outgoing: Vec::new() })
    }

    /// The Ethernet address of `ip`, from memory or by ARP; `None` if nobody answers.
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

    /// Adds to a value. Asks once, because asking twice could add twice.
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

    /// Sends any request to the key-value service at `ip`. All attempts of one request have the same id.
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

    /// The id of the last request.
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

    /// Handles arriving frames until `pick` returns something, or `timeout` has passed.
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

/// Decodes the answer in a datagram, if it is for request `id`.
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
