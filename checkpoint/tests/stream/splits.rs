//! However the input is cut into pieces, the same items come out; wherever it ends, that is told.

use crate::sample::{self, join};
use proptest::prelude::*;
use std::io::Read;
use understudy_checkpoint::stream::{
    Content, Ending, Fault, Items, Place, Reader, Rule, Step, StreamError, xl,
};

type Seen = (Place, Vec<u8>);

/// Reads all of `stream` at once.
fn whole(stream: &[u8]) -> (Vec<Seen>, Result<Ending, Fault>) {
    let mut reader = Reader::new();
    let (mut seen, mut rest) = (Vec::new(), stream);
    loop {
        match reader.next(rest) {
            Ok(Step::Item(item)) => {
                seen.push((item.place, item.bytes.to_vec()));
                rest = &rest[item.bytes.len()..];
            }
            Ok(Step::Need(_) | Step::End) => return (seen, reader.finish(rest)),
            Err(fault) => return (seen, Err(fault)),
        }
    }
}

/// Gives at most as many bytes at once as the next of `sizes` says, over and over.
struct Dribble<'a> {
    rest: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
}

impl Read for Dribble<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let size = self.sizes.next().copied().unwrap_or(1).min(into.len()).min(self.rest.len());
        into[..size].copy_from_slice(&self.rest[..size]);
        self.rest = &self.rest[size..];
        Ok(size)
    }
}

fn dribbled(stream: &[u8], sizes: &[usize]) -> (Vec<Seen>, Result<Ending, Fault>) {
    let mut items = Items::new(Dribble { rest: stream, sizes: sizes.iter().cycle() }, Reader::new());
    let mut seen = Vec::new();
    loop {
        match items.next_item() {
            Ok(Some(item)) => seen.push((item.place, item.bytes.to_vec())),
            Ok(None) => return (seen, items.ending()),
            Err(StreamError::Fault(fault)) => return (seen, Err(fault)),
            Err(StreamError::Io(error)) => panic!("{error}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_split_gives_the_same_items(which in 0..7usize, sizes in proptest::collection::vec(1..9000usize, 1..20), cut: prop::sample::Index) {
        let stream = join(&sample::all()[which].1);
        let stream = &stream[..=cut.index(stream.len())];
        let (expected, end) = whole(stream);
        let (seen, end_seen) = dribbled(stream, &sizes);
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(end_seen, end);
    }
}

#[test]
fn single_bytes_give_the_same_items() {
    for (name, pieces) in sample::all() {
        let mut stream = join(&pieces);
        stream.extend_from_slice(if name.starts_with("a saved") { xl::GO } else { &[] });
        let (seen, end) = dribbled(&stream, &[1]);
        assert_eq!((seen, end.clone()), whole(&stream), "{name}");
        assert!(end.is_ok(), "{name}: {end:?}");
    }
}

#[test]
fn items_are_the_pieces_that_were_written() {
    for (name, pieces) in sample::all() {
        let (seen, _) = whole(&join(&pieces));
        assert!(seen.iter().map(|(_, bytes)| bytes).eq(pieces.iter().map(|piece| &piece.bytes)), "{name}");
        let offsets = pieces.iter().scan(0, |offset, piece| {
            *offset += piece.bytes.len() as u64;
            Some(*offset - piece.bytes.len() as u64)
        });
        assert!(seen.iter().map(|(place, _)| place.offset).eq(offsets), "{name}");
    }
}

#[test]
fn a_stream_cut_at_any_byte_is_told_truncated_unless_a_checkpoint_ends_there() {
    for (name, pieces) in sample::all() {
        let stream = join(&pieces);
        let mut good_ends = vec![stream.len()];
        let mut offset = 0;
        for piece in &pieces {
            offset += piece.bytes.len();
            good_ends.extend((piece.name == "CHECKPOINT_END").then_some(offset));
        }
        for cut in 0..stream.len() {
            let (_, end) = whole(&stream[..cut]);
            match good_ends.contains(&cut) {
                true => assert_eq!(end, Ok(Ending::Checkpoint), "{name} cut at {cut}"),
                false => assert_eq!(end.map_err(|it| it.rule), Err(Rule::Truncated), "{name} cut at {cut}"),
            }
        }
    }
}

#[test]
fn a_handshake_is_an_item_of_its_own() {
    let mut stream = join(&sample::plain(understudy_checkpoint::domain::GuestKind::Pvh, 3));
    stream.extend_from_slice(xl::GO);
    let mut items = Items::new(&stream[..], Reader::new());
    let mut last = None;
    while let Some(item) = items.next_item().unwrap() {
        last = Some(matches!(item.content, Content::Go));
    }
    assert_eq!(last, Some(true));
    assert_eq!(whole(&stream[..stream.len() - 1]).1.unwrap_err().rule, Rule::Truncated);
    stream.push(0);
    assert_eq!(whole(&stream).1, Ok(Ending::Plain), "what follows is not the stream's");
}
