//! The guest's network stack and key-value service: answers frames.

use super::table::{Entry, Full};
use super::{Guest, table};
use crate::conditions::Moment;
use crate::mac::Mac;
use crate::memcached::{self, PORT, Reply, Request};
use crate::nic::Port;
use crate::registers::{Client, Said};
use crate::wire::{Arp, ArpOp, Body, Echo, Flow, Frame, Udp};
use understudy_checkpoint::Pfn;

/// What becomes of a request's reply.
enum Outcome {
    /// It is written.
    Reply,
    /// The client wants none.
    Silence,
    /// The table has changed in a frame, or was asked while changes are on their way to the disk. The reply follows once all
    /// that is there, unless the client wants none.
    Changed { frame: Pfn, said: Said, noreply: bool },
}

/// Longest echo request that the guest answers: a frame of usual size.
const ECHO_BYTES_MAX: usize = 1472;

impl Guest {
    pub(super) fn answer(&mut self, frame: &Frame<'_>, moment: Moment, port: &dyn Port) {
        let (mac, ip) = (self.registers.mac, self.registers.ip);
        let is_mine = frame.dst == mac;
        match frame.body {
            Body::Arp(arp) if (is_mine || frame.dst == Mac::BROADCAST) && arp.target_ip == ip => {
                self.answer_arp(&arp, port);
            }
            Body::Echo(flow, echo)
                if is_mine && flow.dst == ip && !echo.is_reply && echo.data.len() <= ECHO_BYTES_MAX =>
            {
                let body = Body::Echo(flow.reversed(), Echo { is_reply: true, ..echo });
                self.send(&Frame { dst: frame.src, src: mac, body }, port);
            }
            Body::Udp(flow, udp) if is_mine && flow.dst == ip && udp.dst_port == PORT => {
                self.serve(moment, frame.src, flow, &udp, port);
            }
            _ => self.registers.counters.frames_ignored += 1,
        }
    }

    fn answer_arp(&mut self, arp: &Arp, port: &dyn Port) {
        if arp.op != ArpOp::Request {
            return;
        }
        let (mac, ip) = (self.registers.mac, self.registers.ip);
        let reply = Arp {
            op: ArpOp::Reply,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: arp.sender_mac,
            target_ip: arp.sender_ip,
        };
        self.send(&Frame { dst: arp.sender_mac, src: mac, body: Body::Arp(reply) }, port);
    }

    fn serve(&mut self, moment: Moment, client: Mac, flow: Flow, udp: &Udp<'_>, port: &dyn Port) {
        let mut datagram = Vec::with_capacity(memcached::DATAGRAM_BYTES_MAX);
        let wants_reply = match memcached::split(udp.payload) {
            None => false,
            Some(Err(id)) => {
                memcached::write_header(id, &mut datagram);
                Reply::ServerError("multi-packet request not supported").write(&mut datagram);
                true
            }
            Some(Ok((id, text))) => {
                memcached::write_header(id, &mut datagram);
                match self.execute(text, &mut datagram) {
                    Outcome::Reply => true,
                    Outcome::Silence => false,
                    Outcome::Changed { frame, said, noreply } if self.registers.disk.is_some() => {
                        let (mac, ip, port, mark) = (client.0, flow.src, udp.src_port, moment.mark);
                        let client = Client { mac, ip, port, request: id, mark };
                        self.store(frame, (!noreply).then_some(client), said);
                        false
                    }
                    Outcome::Changed { said, noreply, .. } => {
                        said.write(&mut datagram);
                        !noreply
                    }
                }
            }
        };
        self.registers.counters.requests += 1;
        if wants_reply {
            memcached::mark(moment.mark, &mut datagram);
            let reply = Udp { src_port: PORT, dst_port: udp.src_port, payload: &datagram };
            let body = Body::Udp(flow.reversed(), reply);
            self.send(&Frame { dst: client, src: self.registers.mac, body }, port);
        }
    }

    /// Executes a request and appends the reply to `out`, if there is one yet.
    fn execute(&mut self, text: &[u8], out: &mut Vec<u8>) -> Outcome {
        if self.registers.disk.as_ref().is_some_and(|disk| disk.counters.differing > 0) {
            // Every client is told: whatever is answered from here on may be wrong.
            Reply::ServerError("memory and disk are of different times").write(out);
            return Outcome::Reply;
        }
        let table = table(&self.registers);
        match Request::parse(text) {
            Err(reply) => reply.write(out),
            Ok(Request::Stats) => {
                let counters = self.registers.counters;
                Reply::Stats { requests: counters.requests, load_pages: counters.load_pages }.write(out);
            }
            Ok(Request::Get { key }) if self.has_unanswered() => {
                // Behind what is on its way to the disk: what is read is there as well when it is told.
                let place = table.place(&self.ram, key);
                let (frame, said) =
                    place.map_or((Pfn(0), Said::Miss), |(frame, slot)| (frame, Said::Value(slot)));
                return Outcome::Changed { frame, said, noreply: false };
            }
            Ok(Request::Get { key }) => match table.get(&self.ram, key) {
                Some(Entry { flags, value }) => Reply::Value { key, flags, value }.write(out),
                None => Reply::Miss.write(out),
            },
            Ok(Request::Set { key, flags, value, noreply }) => {
                match table.set(&mut self.ram, key, Entry { flags, value }) {
                    Ok(frame) => return Outcome::Changed { frame, said: Said::Stored, noreply },
                    Err(Full) if noreply => return Outcome::Silence,
                    Err(Full) => Reply::ServerError("out of memory storing object").write(out),
                }
            }
            Ok(Request::Incr { key, by, noreply }) => match self.increment(key, by) {
                Ok((frame, sum)) => return Outcome::Changed { frame, said: Said::Number(sum), noreply },
                Err(_) if noreply => return Outcome::Silence,
                Err(reply) => reply.write(out),
            },
        }
        Outcome::Reply
    }

    /// The frame that changed, and the sum.
    fn increment(&mut self, key: &[u8], by: u64) -> Result<(Pfn, u64), Reply<'static>> {
        let table = table(&self.registers);
        let Entry { flags, value } = table.get(&self.ram, key).ok_or(Reply::NotFound)?;
        let number = memcached::number(value)
            .ok_or(Reply::ClientError("cannot increment or decrement non-numeric value"))?;
        let sum = number.wrapping_add(by);
        match table.set(&mut self.ram, key, Entry { flags, value: sum.to_string().as_bytes() }) {
            Ok(frame) => Ok((frame, sum)),
            Err(Full) => Err(Reply::ServerError("out of memory incrementing value")),
        }
    }
}

impl Said {
    /// What a client is told that waits for no disk.
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => Reply::Number(number).write(out),
            Self::Stored => Reply::Stored.write(out),
            Self::Value(_) | Self::Miss => Reply::Miss.write(out),
        }
    }
}
