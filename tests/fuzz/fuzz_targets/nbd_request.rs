//! Bytes of the kernel's block device, in pieces: what is a request encodes to the bytes it came from, and memory is bounded
//! by what has come.

#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy_disk::nbd::{Command, Decoder, Errno, Head, REQUEST_BYTES};

const SIZE: u64 = 1 << 20;

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    // A fuzzer finds a magic, but seldom a row of them.
    let wire: Vec<u8> = if mode & 1 == 0 { rest.to_vec() } else { rest.chunks(24).flat_map(with_magic).collect() };
    let mut decoder = Decoder::new(SIZE);
    let (mut at, piece_bytes) = (0, usize::from(mode >> 1) + 1);
    for piece in wire.chunks(piece_bytes) {
        let Ok(space) = decoder.space() else { return };
        space[..piece.len()].copy_from_slice(piece);
        decoder.filled(piece.len());
        loop {
            match decoder.next_request() {
                Ok(Some(request)) => {
                    let head = &wire[at..at + REQUEST_BYTES];
                    check(head, request.cookie, request.command, request.data);
                    at += REQUEST_BYTES + request.data.len();
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    assert_eq!(at + decoder.pending_bytes(), wire.len());
    assert!(decoder.memory_bytes() <= 2 * wire.len() + (512 << 10));
});

fn with_magic(rest: &[u8]) -> Vec<u8> {
    [&[0x25, 0x60, 0x95, 0x13], rest].concat()
}

fn check(wire: &[u8], cookie: u64, command: Result<Command, Errno>, data: &[u8]) {
    assert_eq!(wire[8..16], cookie.to_be_bytes());
    let (extent, is_write) = match command {
        Ok(Command::Write { extent, .. }) => (extent, true),
        Ok(Command::Read(extent) | Command::Zero { extent, .. }) => (extent, false),
        _ => return,
    };
    assert!(extent.end() <= SIZE);
    assert_eq!(data.len(), if is_write { extent.bytes() as usize } else { 0 });
    // Discards are zeros here, and what a read or a hole is told beside is not kept: place and length are.
    let again = Head { cookie, command, data_bytes: data.len() as u32 }.encode();
    assert_eq!(again[16..], wire[16..]);
}
