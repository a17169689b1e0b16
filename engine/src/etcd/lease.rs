//! The lease of a host as etcd keeps it, as JSON that a person can read with `etcdctl get`.
//!
//! ```text
//!   PREFIX/.lease/a   {"format":1,"number":7,"standing":"held","watchdog_ms":5000}
//! ```
//!
//! What is not exactly this is no lease, and no answer either: who finds it decides nothing.

use super::record::{RECORD_BYTES_MAX, RecordError};
use serde::{Deserialize, Serialize};
use understudy_session::lease::{Lease, Standing};

/// Which form a value has.
const FORMAT: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Value {
    format: u32,
    number: u64,
    standing: String,
    watchdog_ms: u32,
}

/// The value of a lease.
pub fn encode_lease(lease: &Lease) -> Vec<u8> {
    let standing = lease.standing.word().to_owned();
    let value = Value { format: FORMAT, number: lease.number, standing, watchdog_ms: lease.watchdog_ms() };
    serde_json::to_vec(&value).expect("numbers and texts are always JSON")
}

/// The lease of a value.
pub fn decode_lease(value: &[u8]) -> Result<Lease, RecordError> {
    if value.len() > RECORD_BYTES_MAX {
        return Err(RecordError::TooLong(value.len()));
    }
    let value: Value = serde_json::from_slice(value).map_err(|error| RecordError::Form(error.to_string()))?;
    if value.format != FORMAT {
        return Err(RecordError::Version(value.format));
    }
    let standing =
        Standing::of_word(&value.standing).ok_or(RecordError::Impossible("a standing that no lease has"))?;
    Lease::of_numbers(value.number, standing, value.watchdog_ms)
        .ok_or(RecordError::Impossible("a number or a watchdog that no lease has"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = r#"{"format":1,"number":7,"standing":"held","watchdog_ms":5000}"#;

    #[test]
    fn a_lease_is_these_bytes_and_nothing_else_is_one() {
        let lease = Lease::of_numbers(7, Standing::Held, 5_000).unwrap();
        assert_eq!(String::from_utf8(encode_lease(&lease)).unwrap(), GOLDEN);
        assert_eq!(decode_lease(GOLDEN.as_bytes()), Ok(lease));
        for (from, to) in [
            ("\"format\":1", "\"format\":2"),
            ("\"number\":7", "\"number\":0"),
            ("\"number\":7", "\"number\":\"7\""),
            ("\"held\"", "\"help\""),
            ("5000", "3999"),
            ("5000", "300001"),
            ("5000", "-1"),
            ("}", ",\"owner\":\"a\"}"),
            ("}", ""),
        ] {
            let text = GOLDEN.replacen(from, to, 1);
            assert!(decode_lease(text.as_bytes()).is_err(), "{text}");
        }
        let padded = format!("{GOLDEN}{}", " ".repeat(RECORD_BYTES_MAX));
        assert!(matches!(decode_lease(padded.as_bytes()), Err(RecordError::TooLong(_))));
    }
}
