//! The part of the memcached text protocol over UDP that the lab uses: requests and replies, each with an encoder and a
//! parser, for the guest and its clients.
//!
//! ```text
//!   0          2          4          6          8
//!   | request  | datagram | datagrams| reserved | text …            all big-endian
//!   | id       | 0        | 1        | 0        |
//!
//!   get K\r\n                                   VALUE K FLAGS BYTES\r\nDATA\r\nEND\r\n │ END\r\n
//!   set K FLAGS 0 BYTES [noreply]\r\nDATA\r\n   STORED\r\n │ SERVER_ERROR out of memory …\r\n
//!   incr K N [noreply]\r\n                      NUMBER\r\n │ NOT_FOUND\r\n │ CLIENT_ERROR …\r\n
//!   stats\r\n                                   STAT requests N\r\nSTAT load_pages N\r\nEND\r\n
//! ```
//!
//! Unlike memcached, values have at most 1 KiB so that everything fits one datagram, and nothing expires.

/// Longest key; memcached's own limit.
pub const KEY_BYTES_MAX: usize = 250;
/// Longest value: with key and text it fits one unfragmented datagram.
pub const VALUE_BYTES_MAX: usize = 1024;
/// Longest datagram, header included.
pub const DATAGRAM_BYTES_MAX: usize = 1400;
/// The UDP port of the service.
pub const PORT: u16 = 11211;
/// Bytes before the text.
pub const HEADER_BYTES: usize = 8;

/// A request of a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request<'a> {
    /// The value of a key.
    Get {
        /// The key.
        key: &'a [u8],
    },
    /// Sets the value of a key.
    Set {
        /// The key.
        key: &'a [u8],
        /// Stored with the value, for the client's use.
        flags: u32,
        /// The value.
        value: &'a [u8],
        /// Whether the client wants no reply.
        noreply: bool,
    },
    /// Adds to a value that is a decimal number.
    Incr {
        /// The key.
        key: &'a [u8],
        /// The number to add; the sum wraps at 2⁶⁴.
        by: u64,
        /// Whether the client wants no reply.
        noreply: bool,
    },
    /// Asks what the guest has done so far.
    Stats,
}

/// A reply of the service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply<'a> {
    /// The value of the key.
    Value {
        /// The key.
        key: &'a [u8],
        /// The flags stored with the value.
        flags: u32,
        /// The value.
        value: &'a [u8],
    },
    /// The key has no value.
    Miss,
    /// The value was set.
    Stored,
    /// The sum.
    Number(u64),
    /// What the guest has done so far.
    Stats {
        /// Requests answered.
        requests: u64,
        /// Frames that the load wrote.
        load_pages: u64,
    },
    /// The key has no value to add to.
    NotFound,
    /// The request is unknown.
    Error,
    /// The request violates the protocol.
    ClientError(&'a str),
    /// The service cannot do it.
    ServerError(&'a str),
}

/// Splits a datagram that is a whole message into request id and text. `Err` with the id for a part of a longer
/// message.
pub fn split(datagram: &[u8]) -> Option<Result<(u16, &[u8]), u16>> {
    let (header, text) = datagram.split_at_checked(HEADER_BYTES)?;
    let id = u16::from_be_bytes([header[0], header[1]]);
    Some(if header[2..6] == [0, 0, 0, 1] { Ok((id, text)) } else { Err(id) })
}

/// Replaces the content of `out` with the header of a datagram that is a whole message.
pub fn write_header(id: u16, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, 1, 0, 0]);
}

/// Sets the reserved field of a datagram's header, which no client reads.
pub(crate) fn mark(mark: u16, datagram: &mut [u8]) {
    datagram[6..8].copy_from_slice(&mark.to_be_bytes());
}

impl<'a> Request<'a> {
    /// Parses a request. `Err` is the reply to an invalid one.
    pub fn parse(text: &'a [u8]) -> Result<Self, Reply<'static>> {
        let (line, data) = split_line(text).ok_or(Reply::Error)?;
        let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
        match words.next() {
            Some(b"get") => {
                let key = parse_key(words.next())?;
                if words.next().is_some() { Err(Reply::Error) } else { Ok(Self::Get { key }) }
            }
            Some(b"set") => Self::parse_set(words, data),
            Some(b"incr") => {
                let key = parse_key(words.next())?;
                let by = words.next().and_then(number);
                let by = by.ok_or(Reply::ClientError("invalid numeric delta argument"))?;
                Ok(Self::Incr { key, by, noreply: parse_noreply(words)? })
            }
            Some(b"stats") if words.next().is_none() => Ok(Self::Stats),
            _ => Err(Reply::Error),
        }
    }

    fn parse_set(mut words: impl Iterator<Item = &'a [u8]>, data: &'a [u8]) -> Result<Self, Reply<'static>> {
        const FORMAT: Reply<'static> = Reply::ClientError("bad command line format");
        let key = parse_key(words.next())?;
        let flags =
            words.next().and_then(number).and_then(|flags| u32::try_from(flags).ok()).ok_or(FORMAT)?;
        if words.next().and_then(number).ok_or(FORMAT)? != 0 {
            return Err(Reply::ClientError("expiry is not supported"));
        }
        let bytes = words.next().and_then(number).ok_or(FORMAT)?;
        let noreply = parse_noreply(words)?;
        if bytes > VALUE_BYTES_MAX as u64 {
            return Err(Reply::ServerError("object too large for cache"));
        }
        match data.split_at_checked(bytes as usize) {
            Some((value, b"\r\n")) => Ok(Self::Set { key, flags, value, noreply }),
            _ => Err(Reply::ClientError("bad data chunk")),
        }
    }

    /// Appends the request's text.
    pub fn write(&self, out: &mut Vec<u8>) {
        let tail = |noreply| if noreply { &b" noreply\r\n"[..] } else { b"\r\n" };
        match *self {
            Self::Get { key } => push(out, &[b"get ", key, b"\r\n"]),
            Self::Set { key, flags, value, noreply } => {
                let numbers = format!(" {flags} 0 {}", value.len());
                push(out, &[b"set ", key, numbers.as_bytes(), tail(noreply), value, b"\r\n"]);
            }
            Self::Incr { key, by, noreply } => {
                push(out, &[b"incr ", key, format!(" {by}").as_bytes(), tail(noreply)]);
            }
            Self::Stats => push(out, &[b"stats\r\n"]),
        }
    }
}

impl<'a> Reply<'a> {
    /// Appends the reply's text.
    pub fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Value { key, flags, value } => {
                let numbers = format!(" {flags} {}\r\n", value.len());
                push(out, &[b"VALUE ", key, numbers.as_bytes(), value, b"\r\nEND\r\n"]);
            }
            Self::Miss => push(out, &[b"END\r\n"]),
            Self::Stored => push(out, &[b"STORED\r\n"]),
            Self::Number(number) => push(out, &[number.to_string().as_bytes(), b"\r\n"]),
            Self::Stats { requests, load_pages } => {
                let lines = format!("STAT requests {requests}\r\nSTAT load_pages {load_pages}\r\nEND\r\n");
                push(out, &[lines.as_bytes()]);
            }
            Self::NotFound => push(out, &[b"NOT_FOUND\r\n"]),
            Self::Error => push(out, &[b"ERROR\r\n"]),
            Self::ClientError(why) => push(out, &[b"CLIENT_ERROR ", why.as_bytes(), b"\r\n"]),
            Self::ServerError(why) => push(out, &[b"SERVER_ERROR ", why.as_bytes(), b"\r\n"]),
        }
    }

    /// Parses a reply; `None` if it is invalid.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (line, data) = split_line(text)?;
        if let Some(rest) = line.strip_prefix(b"VALUE ") {
            let mut words = rest.split(|byte| *byte == b' ');
            let (key, flags) = (words.next()?, u32::try_from(number(words.next()?)?).ok()?);
            let bytes = usize::try_from(number(words.next()?)?).ok()?;
            let (value, end) = data.split_at_checked(bytes)?;
            return (words.next().is_none() && end == b"\r\nEND\r\n").then_some(Self::Value {
                key,
                flags,
                value,
            });
        }
        if let Some(requests) = line.strip_prefix(b"STAT requests ") {
            let (line, end) = split_line(data)?;
            let load_pages = number(line.strip_prefix(b"STAT load_pages ")?)?;
            return (end == b"END\r\n").then_some(Self::Stats { requests: number(requests)?, load_pages });
        }
        if !data.is_empty() {
            return None;
        }
        let why = |prefix: &[u8]| std::str::from_utf8(line.strip_prefix(prefix)?).ok();
        match line {
            b"END" => Some(Self::Miss),
            b"STORED" => Some(Self::Stored),
            b"NOT_FOUND" => Some(Self::NotFound),
            b"ERROR" => Some(Self::Error),
            _ => number(line)
                .map(Self::Number)
                .or_else(|| why(b"CLIENT_ERROR ").map(Self::ClientError))
                .or_else(|| why(b"SERVER_ERROR ").map(Self::ServerError)),
        }
    }
}

/// Parses a decimal number of 64 bits: digits only, as memcached writes them.
pub fn number(text: &[u8]) -> Option<u64> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn parse_key(word: Option<&[u8]>) -> Result<&[u8], Reply<'static>> {
    let key = word.ok_or(Reply::Error)?;
    let is_plain = key.iter().all(|byte| *byte > b' ' && *byte != 0x7F);
    if is_plain && key.len() <= KEY_BYTES_MAX {
        Ok(key)
    } else {
        Err(Reply::ClientError("bad command line format"))
    }
}

fn parse_noreply<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Result<bool, Reply<'static>> {
    match (words.next(), words.next()) {
        (None, None) => Ok(false),
        (Some(b"noreply"), None) => Ok(true),
        _ => Err(Reply::Error),
    }
}

fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&text[..end], &text[end + 2..]))
}

fn push(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..=max)
    }

    proptest! {
        #[test]
        fn requests_read_back_as_written(key in "[!-~]{1,250}", flags: u32, value in bytes(1024), by: u64, noreply: bool) {
            let (key, value) = (key.as_bytes(), &value[..]);
            for request in [Request::Get { key }, Request::Set { key, flags, value, noreply }, Request::Incr { key, by, noreply }, Request::Stats] {
                let mut text = Vec::new();
                request.write(&mut text);
                prop_assert_eq!(Request::parse(&text), Ok(request));
            }
        }

        #[test]
        fn replies_read_back_as_written_and_fit_a_datagram(key in "[!-~]{1,250}", flags: u32, value in bytes(1024), number: u64) {
            let value = Reply::Value { key: key.as_bytes(), flags, value: &value };
            for reply in [value, Reply::Miss, Reply::Stored, Reply::Number(number), Reply::Stats { requests: number, load_pages: !number }, Reply::NotFound, Reply::Error, Reply::ClientError("a b"), Reply::ServerError("c")] {
                let mut text = Vec::new();
                reply.write(&mut text);
                prop_assert!(HEADER_BYTES + text.len() <= DATAGRAM_BYTES_MAX);
                prop_assert_eq!(Reply::parse(&text), Some(reply));
            }
        }

        #[test]
        fn no_text_panics_either_reader(text in "(get|set|incr|VALUE)? ?[a-z0-9 \r\n]{0,40}(\r\n)?.{0,20}", tail in bytes(20)) {
            let text = [text.as_bytes(), &tail].concat();
            let _ = (Request::parse(&text), Reply::parse(&text), split(&text));
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_told_why() {
        let long_key = [b"get ".as_slice(), &[b'k'; 251], b"\r\n"].concat();
        let cases: [(&[u8], Reply<'_>); 9] = [
            (b"get k", Reply::Error),
            (b"get\r\n", Reply::Error),
            (b"flush_all\r\n", Reply::Error),
            (&long_key, Reply::ClientError("bad command line format")),
            (b"set k 0 0 5\r\nabc\r\n", Reply::ClientError("bad data chunk")),
            (b"set k 0 0 2\r\nabc\r\n", Reply::ClientError("bad data chunk")),
            (b"set k 0 60 1\r\na\r\n", Reply::ClientError("expiry is not supported")),
            (b"set k 0 0 1025\r\n", Reply::ServerError("object too large for cache")),
            (b"incr k -1\r\n", Reply::ClientError("invalid numeric delta argument")),
        ];
        for (text, answer) in cases {
            assert_eq!(Request::parse(text), Err(answer), "{}", String::from_utf8_lossy(text));
        }
    }
}
