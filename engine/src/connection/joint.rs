//! A link in its channel, on any stream: where frames become records of TLS, and records frames.
//!
//! ```text
//!   flush   Link::pieces ─► Channel::write ─► stream
//!   fill    stream ─► Channel::read ─► Link::space ── next_event ─► the loop
//! ```
//!
//! Pure but for the stream that it is handed. Not here: sockets.

use super::channel::{Channel, ChannelError};
use super::{ConnectionError, Fill};
use std::io::{self, IoSlice, Read, Write};
use understudy_link::{Event, Link};

/// A link and its channel.
#[derive(Debug)]
pub struct Joint {
    channel: Channel,
    link: Link,
    /// Dialled, and not told yet to say hello.
    waits: bool,
}

/// A stream whose reads are noted.
struct Noting<'a, S> {
    stream: &'a mut S,
    /// The last read brought less than it had room for: the stream was empty then.
    is_drained: bool,
}

impl<S: Read> Read for Noting<'_, S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(into)?;
        self.is_drained = count < into.len();
        Ok(count)
    }
}

impl<S: Write> Write for Noting<'_, S> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.stream.write(from)
    }

    // TLS hands over several records at once; without this only the first would go.
    fn write_vectored(&mut self, from: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.stream.write_vectored(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Joint {
    /// A link that says what it has to as soon as the channel is open.
    pub fn new(link: Link, channel: Channel) -> Self {
        Self { channel, link, waits: false }
    }

    /// The same, but it says nothing before it is told to [`proceed`](Self::proceed).
    pub fn waiting(link: Link, channel: Channel) -> Self {
        Self { channel, link, waits: true }
    }

    /// It may speak from now on.
    pub fn proceed(&mut self) {
        self.waits = false;
    }

    /// The channel.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The link.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// The link.
    pub fn link_mut(&mut self) -> &mut Link {
        &mut self.link
    }

    /// Whether the link has said its last, and the stream has taken all of it.
    pub fn is_finished(&self) -> bool {
        self.link.is_finished() && self.channel.is_drained()
    }

    /// Writes until the stream takes no more.
    pub fn flush(&mut self, stream: &mut impl Write) -> Result<(), ConnectionError> {
        while self.channel.drain(stream)? && !self.waits {
            let pieces: Vec<IoSlice<'_>> = self.link.pieces().map(IoSlice::new).collect();
            if pieces.is_empty() {
                if self.link.has_ended() {
                    self.channel.close(stream)?;
                }
                return Ok(());
            }
            match self.channel.write(stream, &pieces) {
                Ok(count) => self.link.written(count),
                Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads once.
    pub fn fill(&mut self, stream: &mut (impl Read + Write)) -> Result<Fill, ConnectionError> {
        // A peer that wants another service was refused while its hello was read: nobody else sends that.
        if self.link.has_ended() {
            self.flush(stream)?;
        }
        let was_open = self.channel.is_open();
        let result = self.read(stream);
        if !was_open && let Some(peer) = self.channel.peer() {
            self.link.peer_is(peer.clone());
            // What waited for the handshake; if bytes came behind it, they are looked at after this.
            self.flush(stream)?;
        }
        result
    }

    fn read(&mut self, stream: &mut (impl Read + Write)) -> Result<Fill, ConnectionError> {
        let mut skipped = [0; 4096];
        let mut stream = Noting { stream, is_drained: false };
        loop {
            let space = self.link.space().map_err(io::Error::from)?;
            let skipping = space.is_none();
            let space = space.unwrap_or(&mut skipped);
            let room = space.len();
            match self.channel.read(&mut stream, space) {
                Ok(0) => return Ok(Fill::Ended),
                Ok(_) if skipping => return Ok(Fill::Some),
                Ok(count) => {
                    self.link.filled(count);
                    // What TLS has opened and not handed over would have filled the rest. What it had opened before says nothing of
                    // the stream now.
                    let is_last = count < room && stream.is_drained;
                    return Ok(if is_last { Fill::Last } else { Fill::Some });
                }
                Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Fill::Drained);
                }
                Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What has arrived. `None`: call [`fill`](Self::fill).
    pub fn next_event(&mut self) -> Result<Option<Event<'_>>, ConnectionError> {
        Ok(self.link.next_event()?)
    }
}
