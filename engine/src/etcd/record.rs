//! A record as etcd keeps it: the value of a guest's key, as JSON that a person can read with `etcdctl get`.
//!
//! ```text
//!   PREFIX/web   {"format":1,"revision":6,"generation":2,"owner":"a","fresh_at":"b"}
//! ```
//!
//! What is not exactly this is no record, and no answer either: who finds it decides nothing.

use crate::names::check_name;
use serde::{Deserialize, Serialize};
use understudy_checkpoint::Generation;
use understudy_session::{Copy, NodeName, Record};

/// Which form a value has.
const FORMAT: u32 = 1;

/// A record with the longest names is shorter.
pub const RECORD_BYTES_MAX: usize = 512;

/// Why a value is no record.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum RecordError {
    /// Too long.
    #[error("it has {0} bytes, more than a record")]
    TooLong(usize),
    /// Not this JSON.
    #[error("it is no record of understudy's: {0}")]
    Form(String),
    /// Of a later version.
    #[error("it has form {0}, and this version knows form {FORMAT}; use the same version on all nodes")]
    Version(u32),
    /// A name or number that no record has.
    #[error("it says what no record can say: {0}")]
    Impossible(&'static str),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Value {
    format: u32,
    revision: u64,
    generation: u64,
    owner: String,
    /// The node whose copy may take over; null if no copy may.
    fresh_at: Option<String>,
}

/// The value of a record.
pub fn encode_record(record: &Record) -> Vec<u8> {
    let fresh_at = match &record.copy {
        Copy::Stale => None,
        Copy::Fresh { holder } => Some(holder.0.clone()),
    };
    let Record { revision, generation, owner, .. } = record;
    let value = Value {
        format: FORMAT,
        revision: *revision,
        generation: generation.0,
        owner: owner.0.clone(),
        fresh_at,
    };
    serde_json::to_vec(&value).expect("numbers and texts are always JSON")
}

/// The record of a value.
pub fn decode_record(value: &[u8]) -> Result<Record, RecordError> {
    if value.len() > RECORD_BYTES_MAX {
        return Err(RecordError::TooLong(value.len()));
    }
    let value: Value = serde_json::from_slice(value).map_err(|error| RecordError::Form(error.to_string()))?;
    if value.format != FORMAT {
        return Err(RecordError::Version(value.format));
    }
    if value.revision == 0 || value.generation == 0 {
        return Err(RecordError::Impossible("a revision or generation of 0"));
    }
    if check_name(&value.owner).is_err()
        || value.fresh_at.as_deref().is_some_and(|at| check_name(at).is_err())
    {
        return Err(RecordError::Impossible("a name that no node can have"));
    }
    if value.fresh_at.as_ref() == Some(&value.owner) {
        return Err(RecordError::Impossible("an owner that holds its own copy"));
    }
    let copy = value.fresh_at.map_or(Copy::Stale, |holder| Copy::Fresh { holder: NodeName(holder) });
    let generation = Generation(value.generation);
    Ok(Record { revision: value.revision, generation, owner: NodeName(value.owner), copy })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN: &str = r#"{"format":1,"revision":6,"generation":2,"owner":"a","fresh_at":"b"}"#;

    #[test]
    fn a_record_is_these_bytes() {
        let copy = Copy::Fresh { holder: NodeName("b".into()) };
        let record = Record { revision: 6, generation: Generation(2), owner: NodeName("a".into()), copy };
        assert_eq!(String::from_utf8(encode_record(&record)).unwrap(), GOLDEN);
        assert_eq!(decode_record(GOLDEN.as_bytes()), Ok(record.clone()));
        let stale = Record { copy: Copy::Stale, ..record };
        assert_eq!(decode_record(&encode_record(&stale)), Ok(stale));
    }

    #[test]
    fn the_longest_names_fit() {
        let name = || NodeName("n".repeat(crate::names::NAME_BYTES_MAX));
        let copy = Copy::Fresh { holder: NodeName("m".repeat(crate::names::NAME_BYTES_MAX)) };
        let record = Record { revision: u64::MAX, generation: Generation(u64::MAX), owner: name(), copy };
        assert_eq!(decode_record(&encode_record(&record)), Ok(record));
    }

    #[test]
    fn anything_else_is_no_record() {
        for (from, to) in [
            ("\"format\":1", "\"format\":2"),
            ("\"format\":1,", ""),
            ("\"revision\":6", "\"revision\":0"),
            ("\"revision\":6", "\"revision\":-6"),
            ("\"revision\":6", "\"revision\":\"6\""),
            ("\"generation\":2", "\"generation\":0"),
            ("\"owner\":\"a\"", "\"owner\":\"\""),
            ("\"owner\":\"a\"", "\"owner\":\"../a\""),
            ("\"fresh_at\":\"b\"", "\"fresh_at\":\"a\""),
            ("\"fresh_at\":\"b\"", "\"fresh_at\":7"),
            ("\"fresh_at\":\"b\"", "\"fresh_at\":\"b\",\"lease\":1"),
            ("}", ""),
        ] {
            let text = GOLDEN.replacen(from, to, 1);
            assert!(decode_record(text.as_bytes()).is_err(), "{text}");
        }
        assert!(decode_record(b"").is_err());
        let padded = format!("{GOLDEN}{}", " ".repeat(RECORD_BYTES_MAX));
        assert!(matches!(decode_record(padded.as_bytes()), Err(RecordError::TooLong(_))));
    }
}
