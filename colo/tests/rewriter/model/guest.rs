//! A guest: connections, a service whose replies depend on nothing but the input, and numbers that are its own.

use super::socket::Socket;
use crate::support::*;
use std::collections::BTreeMap;
use understudy_colo::packet::Side;

/// A byte of a request that makes the guest open a connection itself, to the port that much higher.
pub(crate) const CALL: u8 = 0xcb;
pub(crate) const CALLED: u16 = 1000;

pub(crate) fn reply_to(byte: u8) -> Vec<u8> {
    vec![byte ^ 0x5a; usize::from(byte % 7) * 60]
}

#[derive(Clone, Debug)]
pub(crate) struct Guest {
    pub(crate) sockets: BTreeMap<u16, Socket>,
    answered: BTreeMap<u16, usize>,
    /// The clock stood at this at that time.
    clock: (u32, u64),
    seed: u64,
}

impl Guest {
    pub(crate) fn new(seed: u64, clock: u32) -> Self {
        Self { sockets: BTreeMap::new(), answered: BTreeMap::new(), clock: (clock, 0), seed }
    }

    /// The guest of this image, which begins to run now, on another host.
    pub(crate) fn start(mut self, now: u64, cut: u64, seed: u64) -> Self {
        self.clock = (self.clock_at(cut), now);
        self.seed = seed;
        for socket in self.sockets.values_mut() {
            socket.is_inherited = true;
            socket.faults.clear();
        }
        self
    }

    pub(crate) fn clock_at(&self, now: u64) -> u32 {
        self.clock.0.wrapping_add((now - self.clock.1) as u32)
    }

    fn open(&mut self, port: u16) -> &mut Socket {
        let seed = &mut self.seed;
        let mut draw = || {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 32) as u32
        };
        self.sockets.entry(port).or_insert_with(|| Socket::new(Side::Guest, port, &mut draw))
    }

    pub(crate) fn receive(&mut self, frame: &[u8]) {
        let (flow, segment) = parsed(frame, Side::World);
        if segment.flags.has(SYN) && !segment.flags.has(ACK) {
            self.open(flow.world_port);
        }
        match self.sockets.get_mut(&flow.world_port) {
            Some(socket) => socket.receive(&segment),
            None => panic!("no connection for {segment:?}"),
        }
    }

    pub(crate) fn poll(&mut self, now: u64) -> Vec<Tcp> {
        let mut calls = Vec::new();
        for (port, socket) in &mut self.sockets {
            let answered = self.answered.entry(*port).or_default();
            for byte in &socket.input[*answered..] {
                socket.output.extend(reply_to(*byte));
                calls.extend((*byte == CALL).then_some(port + CALLED));
            }
            *answered = socket.input.len();
            socket.is_closing = socket.is_input_whole();
        }
        calls.into_iter().for_each(|port| {
            self.open(port);
        });
        let clock = self.clock_at(now);
        self.sockets.values_mut().flat_map(|socket| socket.poll(now, clock)).collect()
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        self.sockets.values().flat_map(|socket| socket.faults.clone()).collect()
    }
}
