//! What is said to etcd's JSON gateway and what it says: keys and values in base64, 64-bit numbers as texts, and everything
//! that is 0, false or empty left out.
//!
//! Because so much may be left out, an answer counts only with its header, and "no such key" only with everything that says
//! so. An answer that could be of something else is an error.
//!
//! Pure. Not here: records inside of values (`record`), and who asks (`records`).

use super::record::RECORD_BYTES_MAX;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

/// What the key of a guest holds: its value, or that there is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held {
    /// There is no such key.
    Nothing,
    /// This value.
    Value(Vec<u8>),
}

/// What became of a compare-and-swap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Swap {
    /// It is done.
    Done,
    /// It is not: the key holds this instead of what was expected.
    Differs(Held),
}

/// Why an answer cannot be used.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("{0}")]
pub struct MalformedAnswer(String);

fn malformed(what: impl Into<String>) -> MalformedAnswer {
    MalformedAnswer(what.into())
}

/// Which state of which store an answer is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The cluster, as it was created.
    pub cluster: u64,
    /// Grows with each change of any key.
    pub revision: u64,
}

#[derive(Serialize)]
struct RangeRequest<'a> {
    key: &'a str,
}

/// The question what a key holds. Nothing in it asks for less than a linearizable answer.
pub(super) fn range(key: &str) -> String {
    to_json(&RangeRequest { key: &BASE64.encode(key) })
}

#[derive(Serialize)]
struct TxnRequest {
    compare: [Compare; 1],
    success: [serde_json::Value; 1],
    failure: [serde_json::Value; 1],
}

#[derive(Serialize)]
struct Compare {
    key: String,
    result: &'static str,
    target: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(rename = "createRevision", skip_serializing_if = "Option::is_none")]
    create_revision: Option<&'static str>,
}

/// If `key` holds exactly `held`, put `new`; else tell what it holds.
pub(super) fn swap(key: &str, held: &Held, new: &[u8]) -> String {
    let key = BASE64.encode(key);
    let (target, value, create_revision) = match held {
        Held::Nothing => ("CREATE", None, Some("0")),
        Held::Value(value) => ("VALUE", Some(BASE64.encode(value)), None),
    };
    to_json(&TxnRequest {
        compare: [Compare { key: key.clone(), result: "EQUAL", target, value, create_revision }],
        success: [serde_json::json!({ "requestPut": { "key": key, "value": BASE64.encode(new) } })],
        failure: [serde_json::json!({ "requestRange": { "key": key } })],
    })
}

/// Removes all keys that begin with `prefix`.
pub(super) fn delete_all(prefix: &str) -> String {
    let mut end = prefix.as_bytes().to_vec();
    // A prefix is text, whose last byte is never the highest.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    to_json(&serde_json::json!({ "key": BASE64.encode(prefix), "range_end": BASE64.encode(end) }))
}

/// A login.
pub(super) fn authenticate(name: &str, password: &str) -> String {
    to_json(&serde_json::json!({ "name": name, "password": password }))
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts are always JSON")
}

/// 64-bit numbers travel as texts.
fn number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let text = <&str>::deserialize(from)?;
    text.parse().map_err(|_| serde::de::Error::custom("a number is expected"))
}

#[derive(Deserialize)]
struct HeaderJson {
    /// Left out inside of a transaction's answer.
    #[serde(default, deserialize_with = "number")]
    cluster_id: u64,
    #[serde(default, deserialize_with = "number")]
    revision: u64,
}

#[derive(Deserialize)]
struct RangeJson<'a> {
    header: Option<HeaderJson>,
    #[serde(borrow, default)]
    kvs: Vec<KeyValue<'a>>,
    #[serde(borrow, default)]
    count: Option<&'a str>,
}

#[derive(Deserialize)]
struct KeyValue<'a> {
    #[serde(borrow)]
    key: &'a str,
    #[serde(borrow, default)]
    value: &'a str,
}

#[derive(Deserialize)]
struct TxnJson<'a> {
    header: Option<HeaderJson>,
    #[serde(default)]
    succeeded: bool,
    #[serde(borrow, default)]
    responses: Vec<ResponseJson<'a>>,
}

#[derive(Deserialize)]
struct ResponseJson<'a> {
    #[serde(borrow)]
    response_range: Option<RangeJson<'a>>,
    response_put: Option<serde::de::IgnoredAny>,
}

/// The answer to `range` of this key.
pub fn parse_range(key: &str, answer: &[u8]) -> Result<(Header, Held), MalformedAnswer> {
    let answer: RangeJson<'_> = read(answer)?;
    let header = header_of(answer.header.as_ref())?;
    Ok((header, held_of(key, &answer)?))
}

/// The answer to `swap` of this key.
pub fn parse_txn(key: &str, answer: &[u8]) -> Result<(Header, Swap), MalformedAnswer> {
    let answer: TxnJson<'_> = read(answer)?;
    let header = header_of(answer.header.as_ref())?;
    let swap = match (answer.succeeded, &answer.responses[..]) {
        (true, [ResponseJson { response_put: Some(_), response_range: None }]) => Swap::Done,
        (false, [ResponseJson { response_range: Some(range), response_put: None }]) => {
            Swap::Differs(held_of(key, range)?)
        }
        _ => return Err(malformed("neither done nor refused")),
    };
    Ok((header, swap))
}

/// The header of an answer of which nothing else matters.
pub(super) fn parse_header(answer: &[u8]) -> Result<Header, MalformedAnswer> {
    #[derive(Deserialize)]
    struct Answer {
        header: Option<HeaderJson>,
    }
    header_of(read::<Answer>(answer)?.header.as_ref())
}

/// The token of a login.
pub(super) fn parse_token(answer: &[u8]) -> Result<String, MalformedAnswer> {
    #[derive(Deserialize)]
    struct Answer {
        token: String,
    }
    let token = read::<Answer>(answer)?.token;
    let plain = token.bytes().all(|byte| byte.is_ascii_graphic()) && !token.is_empty();
    if plain { Ok(token) } else { Err(malformed("a token that cannot be sent")) }
}

/// Why etcd refuses, in its own words.
pub(super) fn parse_refusal(answer: &[u8]) -> String {
    let answer_json = serde_json::from_slice::<serde_json::Value>(answer).ok();
    let words =
        answer_json.as_ref().and_then(|json| json.get("message").or_else(|| json.get("error"))?.as_str());
    let words = words.map_or_else(|| String::from_utf8_lossy(answer), Into::into);
    words.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn read<'a, T: Deserialize<'a>>(answer: &'a [u8]) -> Result<T, MalformedAnswer> {
    serde_json::from_slice(answer).map_err(|error| malformed(error.to_string()))
}

fn header_of(header: Option<&HeaderJson>) -> Result<Header, MalformedAnswer> {
    let header = header.ok_or_else(|| malformed("no header"))?;
    if header.cluster_id == 0 || header.revision == 0 {
        return Err(malformed("a header of no cluster, or without a revision"));
    }
    Ok(Header { cluster: header.cluster_id, revision: header.revision })
}

fn held_of(key: &str, range: &RangeJson<'_>) -> Result<Held, MalformedAnswer> {
    let count = range.count.map_or(Ok(0), str::parse::<u64>).map_err(|_| malformed("no count"))?;
    match (&range.kvs[..], count) {
        ([], 0) => Ok(Held::Nothing),
        ([held], 1) if BASE64.decode(held.key).is_ok_and(|held| held == key.as_bytes()) => {
            // Four characters are three bytes.
            if held.value.len() > RECORD_BYTES_MAX.div_ceil(3) * 4 {
                return Err(malformed(format!("{key} holds more than a record")));
            }
            let value = BASE64.decode(held.value);
            Ok(Held::Value(value.map_err(|_| malformed(format!("{key} is not in base64")))?))
        }
        _ => Err(malformed(format!("{count} keys where one was asked for"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = r#"{"cluster_id":"14841639068965178418","member_id":"10276657743932975437","revision":"7","raft_term":"2"}"#;

    fn told(rest: &str) -> Vec<u8> {
        format!("{{\"header\":{HEADER}{rest}}}").into_bytes()
    }

    /// As Debian's etcd 3.4.23 writes them.
    #[test]
    fn what_is_said_are_these_bytes() {
        assert_eq!(range("p/g"), r#"{"key":"cC9n"}"#);
        assert_eq!(
            swap("p/g", &Held::Value(b"old".to_vec()), b"new"),
            r#"{"compare":[{"key":"cC9n","result":"EQUAL","target":"VALUE","value":"b2xk"}],"success":[{"requestPut":{"key":"cC9n","value":"bmV3"}}],"failure":[{"requestRange":{"key":"cC9n"}}]}"#
        );
        assert_eq!(
            swap("p/g", &Held::Nothing, b"new"),
            r#"{"compare":[{"key":"cC9n","result":"EQUAL","target":"CREATE","createRevision":"0"}],"success":[{"requestPut":{"key":"cC9n","value":"bmV3"}}],"failure":[{"requestRange":{"key":"cC9n"}}]}"#
        );
        assert_eq!(delete_all("p/"), r#"{"key":"cC8=","range_end":"cDA="}"#);
    }

    #[test]
    fn what_a_key_holds_is_read() {
        let header = Header { cluster: 14_841_639_068_965_178_418, revision: 7 };
        assert_eq!(parse_range("p/g", &told("")), Ok((header, Held::Nothing)));
        let one = r#","kvs":[{"key":"cC9n","create_revision":"2","mod_revision":"7","version":"3","value":"b2xk"}],"count":"1""#;
        assert_eq!(parse_range("p/g", &told(one)), Ok((header, Held::Value(b"old".to_vec()))));
    }

    #[test]
    fn what_became_of_a_swap_is_read() {
        let done = r#","succeeded":true,"responses":[{"response_put":{"header":{"revision":"7"}}}]"#;
        assert_eq!(parse_txn("p/g", &told(done)).unwrap().1, Swap::Done);
        let differs = r#","responses":[{"response_range":{"header":{"revision":"7"},"kvs":[{"key":"cC9n","value":"b2xk"}],"count":"1"}}]"#;
        let old = Held::Value(b"old".to_vec());
        assert_eq!(parse_txn("p/g", &told(differs)).unwrap().1, Swap::Differs(old));
        let gone = r#","responses":[{"response_range":{}}]"#;
        assert_eq!(parse_txn("p/g", &told(gone)).unwrap().1, Swap::Differs(Held::Nothing));
    }

    #[test]
    fn what_could_be_another_answer_is_none() {
        for answer in [
            b"{}".to_vec(),
            b"null".to_vec(),
            b"".to_vec(),
            br#"{"kvs":[]}"#.to_vec(),
            br#"{"header":{"revision":"7"}}"#.to_vec(),
            br#"{"error":"etcdserver: request timed out","code":14}"#.to_vec(),
            told(r#","count":"1""#),
            told(r#","kvs":[{"key":"cC9n","value":"b2xk"}]"#),
            told(r#","kvs":[{"key":"cC9o","value":"b2xk"}],"count":"1""#),
            told(r#","kvs":[{"key":"cC9n","value":"b2xk"}],"count":"2""#),
            told(r#","kvs":[{"key":"cC9n","value":"*"}],"count":"1""#),
        ] {
            assert!(parse_range("p/g", &answer).is_err(), "{}", String::from_utf8_lossy(&answer));
        }
        for answer in [
            told(""),
            told(r#","succeeded":true"#),
            told(r#","succeeded":false,"responses":[{"response_put":{}}]"#),
            told(r#","succeeded":true,"responses":[{"response_range":{}}]"#),
            told(r#","responses":[]"#),
        ] {
            assert!(parse_txn("p/g", &answer).is_err(), "{}", String::from_utf8_lossy(&answer));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_more_than_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = (parse_range("p/g", &bytes), parse_txn("p/g", &bytes), parse_header(&bytes), parse_token(&bytes));
            let _ = (super::super::decode_record(&bytes), super::super::decode_lease(&bytes), parse_refusal(&bytes));
        }

        /// "No such key" lets a guest be claimed: no accident of an answer that has one may say so.
        #[test]
        fn a_key_that_is_there_is_never_told_as_absent(
            at in 0usize..400,
            with in proptest::prelude::any::<u8>(),
            cut in proptest::prelude::any::<bool>(),
        ) {
            let mut answer = told(r#","kvs":[{"key":"cC9n","mod_revision":"7","value":"b2xk"}],"count":"1""#);
            let at = at % answer.len();
            if cut { answer.truncate(at) } else { answer[at] = with }
            let read = parse_range("p/g", &answer);
            proptest::prop_assert!(!matches!(read, Ok((_, Held::Nothing))), "{}", String::from_utf8_lossy(&answer));
        }
    }

    #[test]
    fn a_refusal_is_told_in_etcds_words() {
        let answer = br#"{"error":"etcdserver: permission denied","code":7}"#;
        assert_eq!(parse_refusal(answer), "etcdserver: permission denied");
        assert_eq!(parse_refusal(b"404 page not found\n"), "404 page not found");
    }
}
