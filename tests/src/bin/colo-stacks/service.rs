//! A deterministic service, and what its clients ask of it: what is sent is decided by requests alone.
//!
//! ```text
//!   request:  kind u8 │ 0 u8 × 3 │ bytes u32 │ seed u64                                      16 bytes, big-endian
//!   Get       ─► that many bytes of the seed's pattern
//!   Last      ─► the same; then the service closes
//!   Put       that many bytes of the seed's pattern ─► digest of them u64
//!   Echo      that many bytes of the seed's pattern ─► requests on this connection u64, digest of all they carried u64
//! ```
//!
//! A client that closes gets the digest of all it carried, and the service closes too.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use xxhash_rust::xxh3::Xxh3;

/// Where it listens.
pub(crate) const PORT: u16 = 7007;

const REQUEST_BYTES: usize = 16;
const CHUNK_BYTES: usize = 64 << 10;
const STACK_BYTES: usize = 256 << 10;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Get = 1,
    Last = 2,
    Put = 3,
    Echo = 4,
}

/// One request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) bytes: u32,
    pub(crate) seed: u64,
}

impl Request {
    pub(crate) fn encode(self) -> [u8; REQUEST_BYTES] {
        let mut request = [0; REQUEST_BYTES];
        request[0] = self.kind as u8;
        request[4..8].copy_from_slice(&self.bytes.to_be_bytes());
        request[8..].copy_from_slice(&self.seed.to_be_bytes());
        request
    }

    fn decode(request: [u8; REQUEST_BYTES]) -> Option<Self> {
        let kind = match request[0] {
            1 => Kind::Get,
            2 => Kind::Last,
            3 => Kind::Put,
            4 => Kind::Echo,
            _ => return None,
        };
        let bytes = u32::from_be_bytes(*request[4..].first_chunk()?);
        Some(Self { kind, bytes, seed: u64::from_be_bytes(*request[8..].first_chunk()?) })
    }
}

/// Bytes that a seed decides, in pieces.
pub(crate) struct Pattern {
    state: u64,
    left: usize,
}

impl Pattern {
    pub(crate) fn new(seed: u64, bytes: u32) -> Self {
        Self { state: seed | 1, left: bytes as usize }
    }

    /// The next piece, into the beginning of `chunk`; its length, 0 at the end. Only the last is shorter than `chunk`, whose
    /// length is a multiple of 8.
    pub(crate) fn next(&mut self, chunk: &mut [u8]) -> usize {
        let bytes = self.left.min(chunk.len());
        for word in chunk[..bytes.next_multiple_of(8)].chunks_exact_mut(8) {
            // Xorshift (Marsaglia 2003).
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            word.copy_from_slice(&self.state.to_le_bytes());
        }
        self.left -= bytes;
        bytes
    }
}

/// Serves until it is killed.
pub(crate) fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)))?;
    loop {
        let (stream, _) = listener.accept()?;
        // What becomes of a connection is its client's to judge.
        std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || drop(converse(stream)))?;
    }
}

fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let (mut requests, mut carried) = (0_u64, Xxh3::new());
    loop {
        let mut request = [0; REQUEST_BYTES];
        match stream.read_exact(&mut request) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return stream.write_all(&carried.digest().to_be_bytes());
            }
            Err(error) => return Err(error),
        }
        let Some(request) = Request::decode(request) else { return Ok(()) };
        requests += 1;
        match request.kind {
            Kind::Get | Kind::Last => {
                let mut pattern = Pattern::new(request.seed, request.bytes);
                loop {
                    match pattern.next(&mut chunk) {
                        0 => break,
                        bytes => stream.write_all(&chunk[..bytes])?,
                    }
                }
                if request.kind == Kind::Last {
                    return Ok(());
                }
            }
            Kind::Put => {
                let mut own = Xxh3::new();
                take(&mut stream, request.bytes, &mut chunk, |bytes| {
                    own.update(bytes);
                    carried.update(bytes);
                })?;
                stream.write_all(&own.digest().to_be_bytes())?;
            }
            Kind::Echo => {
                take(&mut stream, request.bytes, &mut chunk, |bytes| carried.update(bytes))?;
                let mut reply = [0; 16];
                reply[..8].copy_from_slice(&requests.to_be_bytes());
                reply[8..].copy_from_slice(&carried.digest().to_be_bytes());
                stream.write_all(&reply)?;
            }
        }
    }
}

fn take(
    stream: &mut TcpStream,
    bytes: u32,
    chunk: &mut [u8],
    mut with: impl FnMut(&[u8]),
) -> std::io::Result<()> {
    let mut left = bytes as usize;
    while left > 0 {
        let most = left.min(chunk.len());
        match stream.read(&mut chunk[..most])? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            read => {
                with(&chunk[..read]);
                left -= read;
            }
        }
    }
    Ok(())
}
