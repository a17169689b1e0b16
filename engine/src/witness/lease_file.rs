//! A host's lease as a file: text for operators, and a checksum against damage. Pure.
//!
//! ```text
//!   understudy witness lease 1
//!   host a
//!   number 7
//!   standing held                or: released, taken
//!   watchdog_ms 5000
//!   xxh3 8f0a4f6d0f3f7c11        of all bytes above, as 16 hex digits
//! ```

use crate::names::check_name;
use understudy_session::NodeName;
use understudy_session::lease::{Lease, Standing};
use xxhash_rust::xxh3::xxh3_64;

const HEAD: &str = "understudy witness lease 1";

/// Encodes the content of a file.
pub fn write(host: &NodeName, lease: &Lease) -> String {
    let (number, watchdog_ms) = (lease.number, lease.watchdog_ms());
    let standing = lease.standing.word();
    let text =
        format!("{HEAD}\nhost {host}\nnumber {number}\nstanding {standing}\nwatchdog_ms {watchdog_ms}\n");
    let checksum = xxh3_64(text.as_bytes());
    format!("{text}xxh3 {checksum:016x}\n")
}

/// Decodes a file's content; `None` if it is not exactly what [`write()`] writes.
pub fn read(content: &str) -> Option<(NodeName, Lease)> {
    let mut lines = content.lines();
    let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
    value("understudy")?;
    let host = value("host").filter(|name| check_name(name).is_ok())?;
    let number = value("number")?.parse().ok()?;
    let standing = Standing::of_word(value("standing")?)?;
    let lease = Lease::of_numbers(number, standing, value("watchdog_ms")?.parse().ok()?)?;
    let host = NodeName(host.to_owned());
    // Encoding it again and comparing checks head, words and checksum at once: a lease has only one form.
    (write(&host, &lease) == content).then_some((host, lease))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_lease_is_this_text() {
        let lease = Lease::of_numbers(7, Standing::Held, 5_000).unwrap();
        let text = write(&NodeName("a".into()), &lease);
        let expected = "understudy witness lease 1\nhost a\nnumber 7\nstanding held\nwatchdog_ms 5000\nxxh3 ";
        assert_eq!(&text[..expected.len()], expected);
        assert_eq!(text.len(), expected.len() + "0123456789abcdef\n".len());
        for wrong in ["standing help", "number 0", "watchdog_ms 3999", "host ../a"] {
            let key = wrong.split_once(' ').unwrap().0;
            let line = text.lines().find(|line| line.starts_with(key)).unwrap();
            let body = text[..expected.len() - "xxh3 ".len()].replace(line, wrong);
            let sealed = format!("{body}xxh3 {:016x}\n", xxh3_64(body.as_bytes()));
            assert_eq!(read(&sealed), None, "{sealed}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_nothing_else(
            number in 1u64.., standing in 0usize..3, watchdog_ms in 4_000u32..=300_000,
            at in any::<proptest::sample::Index>(), byte in 0u8..128,
        ) {
            let standing = [Standing::Held, Standing::Released, Standing::Taken][standing];
            let (host, lease) = (NodeName("host-1".into()), Lease::of_numbers(number, standing, watchdog_ms).unwrap());
            let text = write(&host, &lease);
            prop_assert!(text.len() as u64 <= super::super::record_file::FILE_BYTES_MAX);
            prop_assert_eq!(read(&text), Some((host, lease)));
            let mut damaged = text.clone().into_bytes();
            let at = at.index(damaged.len());
            if damaged[at] != byte {
                damaged[at] = byte;
                prop_assert_eq!(read(std::str::from_utf8(&damaged).unwrap()), None);
            }
            prop_assert_eq!(read(&text[..at]), None, "truncated at {}", at);
        }
    }
}
