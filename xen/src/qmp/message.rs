//! QMP messages: decodes lines to structures. No I/O.
//!
//! QEMU ends each message with a line feed, and some versions put a carriage return before it. A message contains no
//! other line feed.

use super::QmpError;
use serde_json::Value;
use std::fmt;

/// Most bytes of a message. The answers we ask for have a few hundred.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// A message from QEMU.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Message {
    /// QEMU is ready for `qmp_capabilities`.
    Greeting,
    /// The command `id` was executed.
    Return { id: u64, value: Value },
    /// The command `id` failed; without `id` QEMU could not even parse it.
    Error { id: Option<u64>, class: String, description: String },
    /// An event, by name.
    Event(String),
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Greeting => f.write_str("a greeting"),
            Self::Return { id, .. } => write!(f, "the answer to command {id}"),
            Self::Error { class, description, .. } => write!(f, "an error ({class}: {description})"),
            Self::Event(name) => write!(f, "the event {name}"),
        }
    }
}

/// Takes the first message from `incoming`; `None` if none is complete.
pub(super) fn take(incoming: &mut Vec<u8>) -> Result<Option<Message>, QmpError> {
    loop {
        let Some(end) = incoming.iter().position(|byte| *byte == b'\n') else {
            return match incoming.len() {
                0..=MESSAGE_BYTES_MAX => Ok(None),
                _ => Err(QmpError::Protocol(format!("more than {MESSAGE_BYTES_MAX} bytes in one message"))),
            };
        };
        let line: Vec<u8> = incoming.drain(..=end).collect();
        let line = line.trim_ascii();
        if !line.is_empty() {
            return decode(line).map(Some);
        }
    }
}

fn decode(line: &[u8]) -> Result<Message, QmpError> {
    let strange = |why: &str| {
        let shown = &line[..line.len().min(200)];
        QmpError::Protocol(format!("{:?} ({why})", String::from_utf8_lossy(shown)))
    };
    let mut value: Value = serde_json::from_slice(line).map_err(|error| strange(&error.to_string()))?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if value.get("QMP").is_some_and(Value::is_object) {
        return Ok(Message::Greeting);
    }
    if let Some(event) = value.get("event") {
        return text(event).map(Message::Event).ok_or_else(|| strange("an event without a name"));
    }
    let id = value.get("id").and_then(Value::as_u64);
    if let Some(error) = value.get("error") {
        let (class, description) = (text(&error["class"]), text(&error["desc"]));
        let (Some(class), Some(description)) = (class, description) else {
            return Err(strange("an error without class and desc"));
        };
        return Ok(Message::Error { id, class, description });
    }
    match (value.get_mut("return").map(Value::take), id) {
        (Some(value), Some(id)) => Ok(Message::Return { id, value }),
        (Some(_), None) => Err(strange("an answer without id")),
        (None, _) => Err(strange("no message of QMP")),
    }
}

/// For the fuzzer: takes every complete message from `bytes`, as a connection does.
#[cfg(fuzzing)]
pub fn take_all(bytes: &[u8]) {
    let mut incoming = bytes.to_vec();
    loop {
        let before = incoming.len();
        match take(&mut incoming) {
            Ok(Some(_)) => assert!(incoming.len() < before),
            Ok(None) => return assert!(incoming.len() <= MESSAGE_BYTES_MAX),
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(line: &str) -> Result<Option<Message>, QmpError> {
        take(&mut line.as_bytes().to_vec())
    }

    #[test]
    fn messages_are_told_apart_as_qemu_sends_them() {
        // As QEMU 7.2 sent them.
        let mut incoming = br#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian"}, "capabilities": ["oob"]}}
{"return": {}, "id": 7}
{"timestamp": {"seconds": 1795555127, "microseconds": 56485}, "event": "STOP"}

{"error": {"class": "CommandNotFound", "desc": "The command x has not been found"}, "id": 8}
{"error": {"class": "GenericError", "desc": "JSON parse error"}}
{"return": {"status": "running"#.to_vec();
        let expected = [
            Message::Greeting,
            Message::Return { id: 7, value: serde_json::json!({}) },
            Message::Event("STOP".into()),
            Message::Error {
                id: Some(8),
                class: "CommandNotFound".into(),
                description: "The command x has not been found".into(),
            },
            Message::Error { id: None, class: "GenericError".into(), description: "JSON parse error".into() },
        ];
        for message in expected {
            assert_eq!(take(&mut incoming).unwrap(), Some(message));
        }
        assert_eq!(take(&mut incoming).unwrap(), None);
        incoming.extend_from_slice(b"\", \"running\": true}, \"id\": 9}\r\n");
        let Some(Message::Return { id: 9, value }) = take(&mut incoming).unwrap() else {
            panic!("no answer")
        };
        assert_eq!((value["status"].as_str(), incoming.len()), (Some("running"), 0));
    }

    #[test]
    fn what_is_no_message_is_refused_with_what_it_was() {
        let deep = format!("{}\n", "[".repeat(10_000));
        for line in [
            "hello\n",
            "[]\n",
            "{}\n",
            "7\n",
            "{\"return\": {}}\n",
            "{\"return\": {}, \"id\": -1}\n",
            "{\"event\": 7}\n",
            "{\"error\": \"no\", \"id\": 1}\n",
            "{\"QMP\": 7}\n",
            "{\"return\": {}, \"id\": 1\n",
            &deep,
        ] {
            let error = one(line).unwrap_err();
            assert!(matches!(&error, QmpError::Protocol(said) if said.len() < 600), "{line:.40}: {error}");
        }
    }

    #[test]
    fn a_message_without_end_is_refused_before_memory_is_short() {
        let mut incoming = vec![b'x'; MESSAGE_BYTES_MAX];
        assert!(take(&mut incoming).unwrap().is_none());
        incoming.push(b'x');
        assert!(matches!(take(&mut incoming), Err(QmpError::Protocol(_))));
    }

    /// The messages that arrive in `pieces`.
    fn all<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Result<Message, String>> {
        let (mut incoming, mut taken) = (Vec::new(), Vec::new());
        for piece in pieces {
            incoming.extend_from_slice(piece);
            loop {
                match take(&mut incoming) {
                    Ok(Some(message)) => taken.push(Ok(message)),
                    Ok(None) => break,
                    Err(error) => taken.push(Err(error.to_string())),
                }
            }
        }
        taken
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_arrive(
            lines in proptest::collection::vec(prop_oneof![
                Just(r#"{"return": {"a": [1, "\n"]}, "id": 3}"#.to_owned()),
                Just(r#"{"event": "STOP", "timestamp": {}}"#.to_owned()),
                Just(r#"{"error": {"class": "C", "desc": "d"}, "id": 3}"#.to_owned()),
                "[\\[\\]{}\":,a-z0-9 ]{0,40}",
            ], 0..8),
            step in 1usize..50,
        ) {
            let bytes = lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect::<Vec<u8>>();
            let whole = all([&bytes[..]].into_iter());
            prop_assert_eq!(&all(bytes.chunks(step)), &whole);
            let filled = lines.iter().filter(|line| !line.trim().is_empty()).count();
            prop_assert_eq!(whole.len(), filled);
        }
    }
}
