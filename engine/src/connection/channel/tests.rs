//! Two ends in memory, and a way between them that is narrow, slow, or hostile.

use super::*;
use crate::trust::TrustError;
use crate::trust::keygen::keygen;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use tempfile::TempDir;

fn name(name: &str) -> NodeName {
    NodeName(name.into())
}

fn directory(root: &Path, node: &str) -> std::path::PathBuf {
    root.join(node)
}

/// Certificates of a, b and c; a and b trust each other, c trusts both and is trusted by none.
fn world() -> &'static TempDir {
    static WORLD: OnceLock<TempDir> = OnceLock::new();
    WORLD.get_or_init(|| {
        let root = tempfile::tempdir().unwrap();
        let made = ["a", "b", "c"].map(|node| keygen(&directory(root.path(), node), &name(node)).unwrap());
        for (owner, trusts) in [("a", [1, 1]), ("b", [0, 0]), ("c", [0, 1])] {
            for other in trusts {
                let to = directory(root.path(), owner).join("trust").join(["a.crt", "b.crt"][other]);
                fs::copy(&made[other].certificate, to).unwrap();
            }
        }
        root
    })
}

fn credentials(node: &str) -> Arc<Credentials> {
    Arc::new(Credentials::load(&directory(world().path(), node), &name(node)).unwrap())
}

/// A stream's end: what arrives, and what leaves as far as there is room.
#[derive(Default)]
struct Memory {
    arrived: VecDeque<u8>,
    ended: bool,
    left: Vec<u8>,
    room: usize,
}

impl Read for Memory {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        if self.arrived.is_empty() && !self.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.arrived.read(space)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room);
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room -= count;
        self.left.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A channel's end with its stream, what it was given to send, and what it has read.
struct End {
    channel: Channel,
    stream: Memory,
    to_send: VecDeque<u8>,
    read: Vec<u8>,
}

impl End {
    fn new(channel: Channel) -> Self {
        let stream = Memory { room: usize::MAX, ..Memory::default() };
        Self { channel, stream, to_send: VecDeque::new(), read: Vec::new() }
    }

    /// Sends and reads what can be sent and read.
    fn turn(&mut self) -> Result<(), ChannelError> {
        let mut space = [0; 5_000];
        self.channel.drain(&mut self.stream)?;
        loop {
            match self.channel.read(&mut self.stream, &mut space) {
                Ok(0) => break,
                Ok(count) => self.read.extend_from_slice(&space[..count]),
                Err(ChannelError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while !self.to_send.is_empty() && self.channel.drain(&mut self.stream)? {
            let (first, second) = self.to_send.as_slices();
            let pieces = [IoSlice::new(first), IoSlice::new(second)];
            let count = self.channel.write(&mut self.stream, &pieces)?;
            self.to_send.drain(..count);
        }
        Ok(())
    }
}

fn ends(from: &str, to: &str) -> (End, End) {
    let dialed = Channel::dial(credentials(from), &name("b")).unwrap();
    (End::new(dialed), End::new(Channel::accept(credentials(to))))
}

/// Moves what left one end to the other.
fn carry(from: &mut End, to: &mut End) {
    to.stream.arrived.extend(from.stream.left.drain(..));
}

/// Turns until nothing moves any more.
fn settle(a: &mut End, b: &mut End) -> Result<(), ChannelError> {
    for _ in 0..1_000 {
        a.turn()?;
        carry(a, b);
        b.turn()?;
        carry(b, a);
        if a.stream.arrived.is_empty() && a.to_send.is_empty() && b.to_send.is_empty() {
            return a.turn();
        }
    }
    panic!("it never settles");
}

fn open() -> (End, End) {
    let (mut a, mut b) = ends("a", "b");
    settle(&mut a, &mut b).unwrap();
    assert!(a.channel.is_open() && b.channel.is_open());
    (a, b)
}

#[test]
fn each_end_learns_who_the_other_is_and_bytes_arrive() {
    let (mut a, mut b) = open();
    assert_eq!((a.channel.peer(), b.channel.peer()), (Some(&name("b")), Some(&name("a"))));
    a.to_send.extend(b"hello");
    settle(&mut a, &mut b).unwrap();
    assert_eq!(b.read, b"hello");
    let Channel::Tls(tls) = &mut a.channel else { panic!() };
    assert_eq!(tls.state.session().unwrap().protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
}

#[test]
fn nothing_is_sent_before_the_other_end_is_known() {
    let (mut a, mut b) = ends("a", "b");
    a.to_send.extend(b"a secret");
    a.turn().unwrap();
    assert_eq!(a.to_send.len(), 8);
    // The other end shows another certificate than b's.
    let mut impostor = End::new(Channel::accept(credentials("c")));
    carry(&mut a, &mut impostor);
    impostor.turn().unwrap();
    carry(&mut impostor, &mut a);
    let error = a.turn().unwrap_err();
    assert!(matches!(error, ChannelError::Tls(TlsError::Untrusted(TrustError::Unknown(_)))), "{error}");
    assert_eq!(a.to_send.len(), 8);
    // Nor by whom b does not trust.
    let mut stranger = End::new(Channel::dial(credentials("c"), &name("b")).unwrap());
    stranger.to_send.extend(b"hello");
    let error = settle(&mut stranger, &mut b).unwrap_err();
    assert!(matches!(error, ChannelError::Tls(TlsError::Untrusted(TrustError::Unknown(_)))), "{error}");
    carry(&mut b, &mut stranger);
    let told = stranger.turn().unwrap_err();
    assert!(matches!(told, ChannelError::Tls(TlsError::NotTrusted(_))), "the alert is there: {told}");
    assert!(b.read.is_empty());
}

#[test]
fn who_was_asked_for_is_the_only_one_that_is_taken() {
    let mut stranger = End::new(Channel::dial(credentials("c"), &name("a")).unwrap());
    let mut b = End::new(Channel::accept(credentials("b")));
    let error = settle(&mut stranger, &mut b).unwrap_err().to_string();
    assert!(error.contains("is that of b, and a was asked for"), "{error}");
}

#[test]
fn nothing_is_resumed() {
    let (from, to) = (credentials("a"), credentials("b"));
    for _ in 0..3 {
        let mut a = End::new(Channel::dial(from.clone(), &name("b")).unwrap());
        let mut b = End::new(Channel::accept(to.clone()));
        a.to_send.extend(b"1");
        settle(&mut a, &mut b).unwrap();
        let Channel::Tls(tls) = &mut b.channel else { panic!() };
        assert_eq!(tls.state.session().unwrap().handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[test]
fn little_is_sealed_ahead_of_a_socket_that_takes_nothing() {
    let (mut a, _) = open();
    a.stream.room = 0;
    a.to_send.extend(std::iter::repeat_n(7, 1 << 20));
    a.turn().unwrap();
    let taken = (1 << 20) - a.to_send.len();
    assert!((1..=SEALED_BYTES_MAX).contains(&taken), "{taken}");
    a.turn().unwrap();
    assert_eq!(a.to_send.len(), (1 << 20) - taken, "no more, however often it is asked");
}

#[test]
fn what_speaks_no_tls_is_told_from_what_is_not_trusted() {
    for bytes in [
        &b"uS\x01\0\0\0\0\0 a plain hello"[..],
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut b = End::new(Channel::accept(credentials("b")));
        b.stream.arrived.extend(bytes);
        let error = b.turn().unwrap_err();
        assert!(matches!(error, ChannelError::Tls(TlsError::NotTls)), "{error}");
    }
}

#[test]
fn a_replayed_conversation_delivers_nothing() {
    let (mut a, mut b) = ends("a", "b");
    let mut recorded = Vec::new();
    a.to_send.extend(b"give me the guest");
    for _ in 0..4 {
        a.turn().unwrap();
        recorded.extend_from_slice(&a.stream.left);
        carry(&mut a, &mut b);
        b.turn().unwrap();
        carry(&mut b, &mut a);
    }
    assert_eq!(b.read, b"give me the guest");
    let mut again = End::new(Channel::accept(credentials("b")));
    again.stream.arrived.extend(recorded);
    let error = again.turn().unwrap_err();
    assert!(matches!(error, ChannelError::Tls(TlsError::Failed(_))), "{error}");
    assert!(!again.channel.is_open() && again.read.is_empty());
}

#[test]
fn an_end_without_a_word_ends_the_bytes() {
    let (mut a, mut b) = open();
    a.to_send.extend(b"last");
    settle(&mut a, &mut b).unwrap();
    b.stream.ended = true;
    assert_eq!(b.channel.read(&mut b.stream, &mut [0; 8]).unwrap(), 0);
    assert_eq!(b.read, b"last");
    // In order: the same, and said once.
    a.channel.close(&mut a.stream).unwrap();
    let said = a.stream.left.len();
    a.channel.close(&mut a.stream).unwrap();
    assert!(said > 0 && a.stream.left.len() == said);
}

#[test]
fn a_certificate_that_is_not_trusted_any_more_ends_a_channel_and_a_new_key_does_not() {
    let root = tempfile::tempdir().unwrap();
    let [a, b, new] = ["a", "b", "new"].map(|node| directory(root.path(), node));
    let made_a = keygen(&a, &name("a")).unwrap();
    let made_b = keygen(&b, &name("b")).unwrap();
    let pin = a.join("trust/b.crt");
    fs::copy(&made_b.certificate, &pin).unwrap();
    fs::copy(&made_a.certificate, b.join("trust/a.crt")).unwrap();
    let load = |at: &Path, node: &str| Arc::new(Credentials::load(at, &name(node)).unwrap());
    let mut dialed = End::new(Channel::dial(load(&a, "a"), &name("b")).unwrap());
    let mut taken = End::new(Channel::accept(load(&b, "b")));
    settle(&mut dialed, &mut taken).unwrap();

    // b gets a new key: both stand in the file for a while, and then the new one alone.
    let made_new = keygen(&new, &name("b")).unwrap();
    let [old, new] = [&made_b, &made_new].map(|made| fs::read_to_string(&made.certificate).unwrap());
    fs::write(&pin, format!("{old}{new}")).unwrap();
    dialed.channel.check_trust(&load(&a, "a")).unwrap();
    fs::write(&pin, &new).unwrap();
    let error = dialed.channel.check_trust(&load(&a, "a")).unwrap_err();
    assert_eq!(error, TlsError::Revoked("b".into()));
    // The same certificate under another name is another node.
    fs::write(a.join("trust/x.crt"), old).unwrap();
    assert!(dialed.channel.check_trust(&load(&a, "a")).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However narrow the way, bytes arrive whole and in order, in both directions at once.
    #[test]
    fn bytes_arrive_in_order_through_any_way(
        sends in proptest::collection::vec((any::<bool>(), 1usize..40_000), 1..12),
        rooms in proptest::collection::vec(0usize..30_000, 1..12),
    ) {
        let (mut a, mut b) = ends("a", "b");
        let (mut of_a, mut of_b) = (Vec::new(), Vec::new());
        for (number, (by_a, bytes)) in sends.into_iter().enumerate() {
            let bytes = (0..bytes).map(|at| (at + number) as u8);
            let (end, sent) = if by_a { (&mut a, &mut of_a) } else { (&mut b, &mut of_b) };
            let before = sent.len();
            sent.extend(bytes);
            end.to_send.extend(&sent[before..]);
        }
        (a.stream.room, b.stream.room) = (0, 0);
        for room in rooms.iter().cycle().take(2_000) {
            (a.stream.room, b.stream.room) = (room + 1, room / 2 + 1);
            a.turn().unwrap();
            carry(&mut a, &mut b);
            b.turn().unwrap();
            carry(&mut b, &mut a);
            if a.read.len() == of_b.len() && b.read.len() == of_a.len() {
                break;
            }
        }
        prop_assert!(of_b.starts_with(&a.read) && of_a.starts_with(&b.read));
        prop_assert!(rooms.iter().sum::<usize>() < 1_000 || a.read.len() == of_b.len() && b.read.len() == of_a.len());
    }

    /// Whatever is changed on the way, what is read is what was sent, as far as it goes.
    #[test]
    fn damage_ends_a_channel_and_never_reaches_the_link(at in 0usize..6_000, bit in 0u8..8) {
        let (mut a, mut b) = ends("a", "b");
        let sent = [42; 2_000];
        a.to_send.extend(sent);
        let mut way = Vec::new();
        let mut result = Ok(());
        for _ in 0..6 {
            result = a.turn();
            let passed = way.len();
            way.extend_from_slice(&a.stream.left);
            if let Some(byte) = a.stream.left.get_mut(at.wrapping_sub(passed)) {
                *byte ^= 1 << bit;
            }
            carry(&mut a, &mut b);
            result = result.and_then(|()| b.turn());
            if result.is_err() {
                break;
            }
            carry(&mut b, &mut a);
        }
        prop_assert!(sent.starts_with(&b.read));
        let is_hurt = at < way.len() && !is_in_a_version(&way, at);
        prop_assert!(result.is_err() || !is_hurt || b.read.len() < sent.len());
    }
}

/// Whether the byte belongs to the version in a record's header, which a receiver must ignore (RFC 8446, 5.1).
fn is_in_a_version(way: &[u8], at: usize) -> bool {
    const HEADER_BYTES: usize = 5;
    let mut record = 0;
    while let Some(header) = way.get(record..record + HEADER_BYTES) {
        if (record + 1..record + 3).contains(&at) {
            return true;
        }
        record += HEADER_BYTES + usize::from(u16::from_be_bytes([header[3], header[4]]));
    }
    false
}
