//! Reads items from a descriptor that others read, too, and never takes a byte beyond an item: after libxc's CHECKPOINT
//! the next bytes are libxl's.

use std::io::{self, ErrorKind, Read};
use understudy_checkpoint::stream::{Item, Layer, Reader, Step, StreamError};
use understudy_checkpoint::{read_through_signals, room};

/// Memory is allocated in steps of this size, and only for bytes that arrive.
const GROW_BYTES: usize = 4 << 20;

/// A libxc stream, with a buffer for one item.
pub(crate) struct ExactItems<R> {
    input: R,
    reader: Reader,
    buffer: Vec<u8>,
}

impl<R: Read> ExactItems<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, reader: Reader::at(Layer::Libxc), buffer: Vec::new() }
    }

    /// The next item; `None` if the input ends between two items.
    pub(crate) fn next_item(&mut self) -> Result<Option<Item<'_>>, StreamError> {
        self.buffer.clear();
        loop {
            let needed = self.reader.needed(&self.buffer)?;
            if needed <= self.buffer.len() {
                break;
            }
            let have = self.buffer.len();
            let until = needed.min(have + GROW_BYTES);
            room::lengthen(&mut self.buffer, until, 0).map_err(io::Error::from)?;
            let read = read_through_signals(&mut self.input, &mut self.buffer[have..])?;
            self.buffer.truncate(have + read);
            match (read, have) {
                (0, 0) => return Ok(None),
                (0, _) => {
                    let within = io::Error::new(ErrorKind::UnexpectedEof, "it ends within a record");
                    return Err(within.into());
                }
                _ => {}
            }
        }
        match self.reader.next(&self.buffer)? {
            Step::Item(item) => Ok(Some(item)),
            Step::Need(_) => unreachable!("a whole item is in the buffer"),
            Step::End => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use understudy_checkpoint::stream::libxc::{DomainType, LibxcHeader, Record};

    #[test]
    fn nothing_beyond_a_checkpoint_is_taken() {
        let mut stream = Vec::new();
        LibxcHeader { version: 3, domain_type: DomainType::Hvm, xen_version: (4, 17) }.write(&mut stream);
        Record::StaticDataEnd.write(&mut stream);
        Record::Checkpoint.write(&mut stream);
        stream.extend_from_slice(b"libxl's bytes");
        let mut rest = &stream[..];
        let mut items = ExactItems::new(&mut rest);
        for _ in 0..3 {
            assert!(items.next_item().unwrap().is_some());
        }
        assert_eq!(rest, b"libxl's bytes");
    }

    #[test]
    fn an_end_between_items_is_none_and_within_one_an_error() {
        let mut stream = Vec::new();
        LibxcHeader { version: 3, domain_type: DomainType::Hvm, xen_version: (4, 17) }.write(&mut stream);
        let mut items = ExactItems::new(&stream[..]);
        assert!(items.next_item().unwrap().is_some());
        assert!(items.next_item().unwrap().is_none());
        let mut items = ExactItems::new(&stream[..stream.len() - 1]);
        assert!(matches!(items.next_item(), Err(StreamError::Io(_))));
    }
}
