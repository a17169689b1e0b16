//! Bytes of a socket, cut into requests.
//!
//! ```text
//!   space ─► filled ─► next: a head ──── no data ───► request
//!                        │  data follow                 ▲
//!                        └─► gathered as they come ─────┘
//! ```
//!
//! Memory grows as bytes come, never by what a length announces, and not beyond one request.
//!
//! Not here: the socket.

use super::wire::{Head, NbdError, Request};
use super::{DATA_BYTES_MAX, REQUEST_BYTES};
use understudy_checkpoint::room;

/// What is read at once.
const GROWTH_BYTES: usize = 256 << 10;

/// Of one socket.
#[derive(Debug)]
pub struct Decoder {
    size_bytes: u64,
    buffer: Vec<u8>,
    /// What is read and not handed out: `begin..end` of the buffer.
    begin: usize,
    end: usize,
    has_failed: Option<NbdError>,
}

impl Decoder {
    /// For a device of this size.
    pub fn new(size_bytes: u64) -> Self {
        Self { size_bytes, buffer: Vec::new(), begin: 0, end: 0, has_failed: None }
    }

    /// Where bytes of the socket go; never empty.
    pub fn space(&mut self) -> Result<&mut [u8], NbdError> {
        if self.begin > 0 {
            self.buffer.copy_within(self.begin..self.end, 0);
            (self.begin, self.end) = (0, self.end - self.begin);
        }
        if self.end == self.buffer.len() {
            // One request at most waits for its end.
            let length = (self.end + GROWTH_BYTES).min(REQUEST_BYTES + DATA_BYTES_MAX + GROWTH_BYTES);
            room::lengthen(&mut self.buffer, length, 0)?;
        }
        Ok(&mut self.buffer[self.end..])
    }

    /// So many bytes were put there.
    pub fn filled(&mut self, count: usize) {
        assert!(count <= self.buffer.len() - self.end, "no more than there was space for");
        self.end += count;
    }

    /// The next request, if it is whole. After an error there is none: where the next one begins nobody knows.
    pub fn next_request(&mut self) -> Result<Option<Request<'_>>, NbdError> {
        if let Some(error) = self.has_failed {
            return Err(error);
        }
        let pending = &self.buffer[self.begin..self.end];
        let Some(head) = pending.first_chunk::<REQUEST_BYTES>() else { return Ok(None) };
        let head = match Head::decode(head, self.size_bytes) {
            Ok(head) => head,
            Err(error) => {
                self.has_failed = Some(error);
                return Err(error);
            }
        };
        let bytes = REQUEST_BYTES + head.data_bytes as usize;
        if pending.len() < bytes {
            return Ok(None);
        }
        let data = &self.buffer[self.begin + REQUEST_BYTES..self.begin + bytes];
        self.begin += bytes;
        Ok(Some(Request { cookie: head.cookie, command: head.command, data }))
    }

    /// Bytes that are no whole request yet.
    pub fn pending_bytes(&self) -> usize {
        self.end - self.begin
    }

    /// What it takes.
    pub fn memory_bytes(&self) -> usize {
        self.buffer.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nbd::wire::{Command, Errno};
    use crate::words::Extent;
    use proptest::prelude::*;

    const SIZE: u64 = 64 << 20;

    fn wire(requests: &[(Command, u8)]) -> Vec<u8> {
        let mut wire = Vec::new();
        for (index, (command, fill)) in requests.iter().enumerate() {
            let data_bytes = if let Command::Write { extent, .. } = command { extent.bytes() } else { 0 };
            wire.extend(Head { cookie: index as u64, command: Ok(*command), data_bytes }.encode());
            wire.extend(vec![*fill; data_bytes as usize]);
        }
        wire
    }

    type Seen = (u64, Result<Command, Errno>, Vec<u8>);

    fn feed(decoder: &mut Decoder, wire: &[u8], piece_bytes: usize) -> Result<Vec<Seen>, NbdError> {
        let mut requests = Vec::new();
        for mut piece in wire.chunks(piece_bytes) {
            while !piece.is_empty() {
                let space = decoder.space()?;
                let count = space.len().min(piece.len());
                space[..count].copy_from_slice(&piece[..count]);
                decoder.filled(count);
                piece = &piece[count..];
                while let Some(request) = decoder.next_request()? {
                    requests.push((request.cookie, request.command, request.data.to_vec()));
                }
            }
        }
        Ok(requests)
    }

    fn command() -> impl Strategy<Value = (Command, u8)> {
        let extent = (0u64..100, 1u32..40)
            .prop_map(|(sector, sectors)| Extent::new(sector * 512, sectors * 512).unwrap());
        (extent, 0..5, any::<bool>(), any::<u8>()).prop_map(|(extent, kind, is_forced, fill)| {
            let command = match kind {
                0 => Command::Read(extent),
                1 | 2 => Command::Write { extent, is_forced },
                3 => Command::Zero { extent, is_forced },
                _ => Command::Flush,
            };
            (command, fill)
        })
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_requests(requests in proptest::collection::vec(command(), 0..12), piece_bytes in 1usize..50_000) {
            let wire = wire(&requests);
            let mut decoder = Decoder::new(SIZE);
            let seen = feed(&mut decoder, &wire, piece_bytes).unwrap();
            prop_assert_eq!(decoder.pending_bytes(), 0);
            prop_assert_eq!(seen.len(), requests.len());
            for ((index, (command, fill)), (cookie, seen, data)) in requests.iter().enumerate().zip(seen) {
                prop_assert_eq!((cookie, seen), (index as u64, Ok(*command)));
                prop_assert!(data.iter().all(|byte| byte == fill));
            }
        }
    }

    #[test]
    fn the_longest_write_is_taken_and_memory_stays_within_its_bound() {
        let extent = Extent::new(0, DATA_BYTES_MAX as u32).unwrap();
        let wire = wire(&[(Command::Write { extent, is_forced: false }, 7)]);
        let mut decoder = Decoder::new(SIZE);
        for round in 0..3 {
            let seen = feed(&mut decoder, &wire, 1 << 20).unwrap();
            assert_eq!((seen.len(), seen[0].2.len()), (1, DATA_BYTES_MAX));
            assert!(
                decoder.memory_bytes() <= 2 * (DATA_BYTES_MAX + GROWTH_BYTES),
                "round {round}: {}",
                decoder.memory_bytes()
            );
        }
        let mut announced = Decoder::new(SIZE);
        feed(&mut announced, &wire[..100], 100).unwrap();
        assert!(announced.memory_bytes() <= GROWTH_BYTES, "a length alone takes nothing");
    }

    #[test]
    fn after_what_is_no_request_there_is_none() {
        let mut decoder = Decoder::new(SIZE);
        let mut bytes = wire(&[(Command::Flush, 0)]);
        bytes.extend([0; REQUEST_BYTES]);
        bytes.extend(wire(&[(Command::Flush, 0)]));
        assert_eq!(feed(&mut decoder, &bytes, 1000), Err(NbdError::Magic(0)));
        assert_eq!(decoder.next_request(), Err(NbdError::Magic(0)));
    }

    #[test]
    fn data_of_a_write_that_is_refused_are_not_taken_for_a_request() {
        let mut decoder = Decoder::new(4096);
        let extent = Extent::new(8192, 512).unwrap();
        let bytes = wire(&[(Command::Write { extent, is_forced: false }, 0x25), (Command::Flush, 0)]);
        let seen = feed(&mut decoder, &bytes, 100).unwrap();
        assert_eq!(
            seen.iter().map(|(_, command, _)| *command).collect::<Vec<_>>(),
            [Err(Errno::NoSpace), Ok(Command::Flush)]
        );
    }
}
