//! The clients: each sends its script, bit by bit, and knows what it must get.

use super::Plan;
use super::guest::{CALL, CALLED, reply_to};
use super::socket::Socket;
use crate::support::*;
use std::collections::BTreeMap;
use understudy_colo::packet::Side;

const FIRST_PORT: u16 = 100;

#[derive(Debug)]
pub(crate) struct World {
    sockets: BTreeMap<u16, Socket>,
    scripts: Vec<(u64, Vec<u8>)>,
    seed: u64,
    jitter_ms: u64,
    to_host: Vec<(u64, Vec<u8>)>,
    to_world: Vec<(u64, Vec<u8>)>,
}

impl World {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            sockets: BTreeMap::new(),
            scripts: plan.scripts.clone(),
            seed: plan.seed | 1,
            jitter_ms: plan.jitter_ms,
            to_host: Vec::new(),
            to_world: Vec::new(),
        }
    }

    pub(crate) fn draw(&mut self, below: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % below.max(1)
    }

    fn delay(&mut self, now: u64, frame: Vec<u8>) -> Vec<(u64, Vec<u8>)> {
        let copies = if self.draw(20) == 0 { 2 } else { 1 };
        (0..copies).map(|_| (now + 1 + self.draw(self.jitter_ms + 1), frame.clone())).collect()
    }

    /// A frame of the guest, on its way.
    pub(crate) fn deliver(&mut self, now: u64, frame: Vec<u8>) {
        let delayed = self.delay(now, frame);
        self.to_world.extend(delayed);
    }

    /// What arrives at the host.
    pub(crate) fn poll(&mut self, now: u64) -> Vec<Vec<u8>> {
        let arrived: Vec<_> = self.to_world.extract_if(.., |(at, _)| *at <= now).collect();
        for (_, frame) in arrived {
            let (flow, segment) = parsed(&frame, Side::Guest);
            if segment.flags.has(SYN) && !segment.flags.has(ACK) {
                self.open(flow.world_port);
            }
            match self.sockets.get_mut(&flow.world_port) {
                Some(socket) => socket.receive(&segment),
                None => panic!("no connection for {segment:?}"),
            }
        }
        for index in 0..self.scripts.len() {
            let (begin, script) = self.scripts[index].clone();
            if now >= begin {
                let socket = self.open(FIRST_PORT + index as u16);
                // A byte every 7 ms.
                let said = (((now - begin) / 7) as usize).min(script.len());
                socket.output = script[..said].to_vec();
                socket.is_closing = said == script.len();
            }
        }
        let mut segments = Vec::new();
        for (port, socket) in &mut self.sockets {
            // Who is called says one thing, and waits for the answer.
            if *port >= CALLED {
                socket.output = b"called".to_vec();
                socket.is_closing = true;
            }
            segments.extend(socket.poll(now, now as u32));
        }
        for tcp in segments {
            let delayed = self.delay(now, tcp.frame());
            self.to_host.extend(delayed);
        }
        self.to_host.extract_if(.., |(at, _)| *at <= now).map(|(_, frame)| frame).collect()
    }

    fn open(&mut self, port: u16) -> &mut Socket {
        let mut seed = self.seed.wrapping_add(u64::from(port));
        let mut draw = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 32) as u32
        };
        self.sockets.entry(port).or_insert_with(|| Socket::new(Side::World, port, &mut draw))
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        self.sockets.values().flat_map(|socket| socket.faults.clone()).collect()
    }

    pub(crate) fn is_done(&self) -> bool {
        let calls = |script: &[u8]| usize::from(script.contains(&CALL));
        let expected = self.scripts.iter().map(|(_, script)| 1 + calls(script)).sum::<usize>();
        self.sockets.len() == expected && self.sockets.values().all(Socket::is_done)
    }

    /// Whether every client got what it must.
    pub(crate) fn judge(&self) -> Result<(), String> {
        for socket in self.sockets.values() {
            let expected: Vec<u8> = socket.output.iter().flat_map(|byte| reply_to(*byte)).collect();
            if socket.input != expected {
                return Err(format!(
                    "port {}: {} bytes, not the right ones",
                    socket.port,
                    socket.input.len()
                ));
            }
        }
        Ok(())
    }
}
