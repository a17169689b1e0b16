//! A record as a file: text for operators, and a checksum against damage. Pure.
//!
//! ```text
//!   understudy witness record 1
//!   guest g1
//!   revision 7
//!   generation 2
//!   owner a
//!   copy fresh b                 or: copy stale
//!   xxh3 8f0a4f6d0f3f7c11        of all bytes above, as 16 hex digits
//! ```

use crate::names::check_name;
use understudy_checkpoint::Generation;
use understudy_session::{Copy, NodeName, Record};
use xxhash_rust::xxh3::xxh3_64;

const HEAD: &str = "understudy witness record 1";

/// The longest file: three names and the words around them. A longer file is not read at all.
pub const FILE_BYTES_MAX: u64 = 1 << 10;

/// Encodes the content of a file.
pub fn write(guest: &str, record: &Record) -> String {
    let Record { revision, generation, owner, copy } = record;
    let copy = match copy {
        Copy::Stale => "stale".to_owned(),
        Copy::Fresh { holder } => format!("fresh {holder}"),
    };
    let text = format!(
        "{HEAD}\nguest {guest}\nrevision {revision}\ngeneration {generation}\nowner {owner}\ncopy {copy}\n"
    );
    let checksum = xxh3_64(text.as_bytes());
    format!("{text}xxh3 {checksum:016x}\n")
}

/// Decodes a file's content; `None` if it is not exactly what [`write()`] writes.
pub fn read(content: &str) -> Option<(String, Record)> {
    let mut lines = content.lines();
    let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
    let name = |text: &str| check_name(text).ok().map(|()| text.to_owned());
    value("understudy")?;
    let guest = name(value("guest")?)?;
    let revision = value("revision")?.parse().ok()?;
    let generation = Generation(value("generation")?.parse().ok()?);
    let owner = NodeName(name(value("owner")?)?);
    let copy = match value("copy")?.split_once(' ') {
        None => Copy::Stale,
        Some((_, holder)) => Copy::Fresh { holder: NodeName(name(holder)?) },
    };
    let record = Record { revision, generation, owner, copy };
    // Encoding the record again and comparing checks head, words and checksum at once: a record has only one form.
    (write(&guest, &record) == content).then_some((guest, record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(revision: u64, generation: u64, holder: Option<String>) -> Record {
        let copy = holder.map_or(Copy::Stale, |holder| Copy::Fresh { holder: NodeName(holder) });
        Record { revision, generation: Generation(generation), owner: NodeName("a".into()), copy }
    }

    #[test]
    fn a_record_is_this_text() {
        let text = write("g1", &record(7, 2, Some("b".into())));
        let expected =
            "understudy witness record 1\nguest g1\nrevision 7\ngeneration 2\nowner a\ncopy fresh b\n";
        assert_eq!(&text[..expected.len()], expected);
        assert_eq!(text.len(), expected.len() + "xxh3 0123456789abcdef\n".len());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_else(
            revision: u64, generation: u64, holder in proptest::option::of("[a-z0-9._-]{1,64}".prop_filter("", |n| !n.starts_with('.'))),
            at in any::<proptest::sample::Index>(), byte in 0u8..128,
        ) {
            let record = record(revision, generation, holder);
            let text = write("guest-1", &record);
            prop_assert!(text.len() as u64 <= FILE_BYTES_MAX);
            prop_assert_eq!(read(&text), Some(("guest-1".to_owned(), record)));
            let mut damaged = text.clone().into_bytes();
            let at = at.index(damaged.len());
            if damaged[at] != byte {
                damaged[at] = byte;
                prop_assert_eq!(read(std::str::from_utf8(&damaged).unwrap()), None);
            }
            prop_assert_eq!(read(&text[..at]), None, "truncated at {}", at);
            prop_assert_eq!(read(&format!("{text}\n")), None);
        }
    }
}
