//! A place between a client and a member of etcd where a swap's answer gets lost, or the swap itself waits.
//!
//! ```text
//!   client ──► waits here while `held` ──► member       a request that arrives after its sender gave it up
//!          ◄── lost while `loses_answers` ──┘            a swap that is done, and nobody is told
//! ```
//!
//! Only swaps: what is read before one passes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The place.
pub(crate) struct Interception {
    pub(crate) listen: SocketAddr,
    ways: Arc<Ways>,
}

#[derive(Default)]
struct Ways {
    held: AtomicBool,
    loses_answers: AtomicBool,
}

impl Interception {
    /// In front of a member. Ends with the process.
    pub(crate) fn start(member: SocketAddr) -> Self {
        let listener = TcpListener::bind((member.ip(), 0)).unwrap();
        let (listen, ways) = (listener.local_addr().unwrap(), Arc::<Ways>::default());
        let place = Self { listen, ways: ways.clone() };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (member, ways) = (TcpStream::connect(member).unwrap(), ways.clone());
                std::thread::spawn(move || pass(client, member, &ways));
            }
        });
        place
    }

    /// Swaps wait, or go on.
    pub(crate) fn hold(&self, held: bool) {
        self.ways.held.store(held, Ordering::SeqCst);
    }

    /// Answers to swaps get lost, or through.
    pub(crate) fn lose_answers(&self, loses: bool) {
        self.ways.loses_answers.store(loses, Ordering::SeqCst);
    }
}

/// One question and its answer after the other, each of which is small and comes in one piece or soon after.
fn pass(mut client: TcpStream, mut member: TcpStream, ways: &Ways) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let Some(question) = whole(&mut client, &mut bytes) else { return };
        let is_swap = question.starts_with(b"POST /v3/kv/txn");
        while is_swap && ways.held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        if member.write_all(&question).is_err() {
            return;
        }
        let Some(answer) = whole(&mut member, &mut bytes) else { return };
        let is_lost = is_swap && ways.loses_answers.load(Ordering::SeqCst);
        // A client that has gone is no reason to drop the question.
        if !is_lost && client.write_all(&answer).is_err() {
            return;
        }
    }
}

/// A message of HTTP with its body.
fn whole(from: &mut TcpStream, bytes: &mut [u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        if let Some(end) = message.windows(4).position(|it| it == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&message[..end]).to_lowercase();
            let length = head.split("content-length:").nth(1).and_then(|rest| rest.lines().next());
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if message.len() >= end + 4 + length {
                return Some(message);
            }
        }
        match from.read(bytes) {
            Ok(0) | Err(_) => return None,
            Ok(count) => message.extend_from_slice(&bytes[..count]),
        }
    }
}
