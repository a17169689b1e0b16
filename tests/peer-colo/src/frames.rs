//! Frames of two guests and their client, as a case or a figure needs them.
//!
//! Guest 10.0.0.1, client 10.0.0.2. A case has a client's port of its own, so that cases do not meet in one table.

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

const GUEST: [u8; 4] = [10, 0, 0, 1];
const CLIENT: [u8; 4] = [10, 0, 0, 2];
const GUEST_PORT: u16 = 80;
pub(crate) const GUEST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A TCP segment; what is not given is as in most segments.
#[derive(Clone, Debug)]
pub(crate) struct Tcp {
    pub(crate) client_port: u16,
    pub(crate) is_from_guest: bool,
    pub(crate) sequence: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) identification: u16,
    pub(crate) padding_bytes: usize,
    pub(crate) guest_port: u16,
}

impl Tcp {
    /// What the guest sends in a connection with this port of the client.
    pub(crate) fn guest(client_port: u16, sequence: u32, ack: u32) -> Self {
        Self {
            client_port,
            is_from_guest: true,
            sequence,
            ack,
            flags: ACK,
            window: 501,
            options: Vec::new(),
            payload: Vec::new(),
            identification: 1,
            padding_bytes: 0,
            guest_port: GUEST_PORT,
        }
    }

    /// What the client sends.
    pub(crate) fn client(client_port: u16, sequence: u32, ack: u32) -> Self {
        Self { is_from_guest: false, ..Self::guest(client_port, sequence, ack) }
    }

    pub(crate) fn flags(self, flags: u8) -> Self {
        Self { flags, ..self }
    }

    pub(crate) fn window(self, window: u16) -> Self {
        Self { window, ..self }
    }

    pub(crate) fn options(self, options: &[u8]) -> Self {
        Self { options: options.to_vec(), ..self }
    }

    pub(crate) fn payload(self, payload: &[u8]) -> Self {
        Self { payload: payload.to_vec(), ..self }
    }

    pub(crate) fn identification(self, identification: u16) -> Self {
        Self { identification, ..self }
    }

    pub(crate) fn padded(self, padding_bytes: usize) -> Self {
        Self { padding_bytes, ..self }
    }

    pub(crate) fn guest_port(self, guest_port: u16) -> Self {
        Self { guest_port, ..self }
    }

    /// The frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let ports = [self.guest_port, self.client_port];
        let ports = if self.is_from_guest { ports } else { [ports[1], ports[0]] };
        let mut segment = Vec::with_capacity(20 + self.options.len() + self.payload.len());
        segment.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
        segment.extend(self.sequence.to_be_bytes());
        segment.extend(self.ack.to_be_bytes());
        segment
            .push(u8::try_from((20 + self.options.len()) / 4).expect("a header has 60 bytes at most") << 4);
        segment.push(self.flags);
        segment.extend(self.window.to_be_bytes());
        segment.extend([0; 4]);
        segment.extend(&self.options);
        segment.extend(&self.payload);
        let (from, to) = self.addresses();
        let sum = transport_checksum(from, to, 6, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut frame = self.ip(6, &segment);
        frame.extend(vec![0; self.padding_bytes]);
        frame
    }

    fn addresses(&self) -> ([u8; 4], [u8; 4]) {
        if self.is_from_guest { (GUEST, CLIENT) } else { (CLIENT, GUEST) }
    }

    fn ip(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let (from, to) = self.addresses();
        let mut frame = ethernet(self.is_from_guest);
        frame.extend([0x08, 0x00]);
        frame.extend(ipv4(from, to, protocol, self.identification, 0x4000, payload));
        frame
    }
}

fn ethernet(is_from_guest: bool) -> Vec<u8> {
    let (to, from) = if is_from_guest { (CLIENT_MAC, GUEST_MAC) } else { (GUEST_MAC, CLIENT_MAC) };
    [to, from].concat()
}

fn ipv4(
    from: [u8; 4],
    to: [u8; 4],
    protocol: u8,
    identification: u16,
    fragment: u16,
    payload: &[u8],
) -> Vec<u8> {
    let total = u16::try_from(20 + payload.len()).expect("a packet has 64 KiB at most");
    let mut header = vec![0x45, 0];
    header.extend(total.to_be_bytes());
    header.extend(identification.to_be_bytes());
    header.extend(fragment.to_be_bytes());
    header.extend([64, protocol, 0, 0]);
    header.extend(from);
    header.extend(to);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend(payload);
    header
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).expect("folded into 16 bits")
}

fn transport_checksum(from: [u8; 4], to: [u8; 4], protocol: u8, segment: &[u8]) -> u16 {
    let length = u16::try_from(segment.len()).expect("a packet has 64 KiB at most");
    let mut bytes = [from, to].concat();
    bytes.extend([0, protocol]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(segment);
    checksum(&bytes)
}

/// A datagram of UDP from the guest.
pub(crate) fn udp(client_port: u16, payload: &[u8], identification: u16) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("a datagram has 64 KiB at most");
    let mut datagram =
        [53u16, client_port, length, 0].iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
    datagram.extend(payload);
    whole(17, identification, 0x4000, &datagram)
}

/// A packet of another protocol from the guest: its payload as it is.
pub(crate) fn other(protocol: u8, payload: &[u8], identification: u16) -> Vec<u8> {
    whole(protocol, identification, 0, payload)
}

/// The last fragment of a datagram from the guest.
pub(crate) fn fragment(payload: &[u8], offset_bytes: u16, identification: u16) -> Vec<u8> {
    whole(17, identification, offset_bytes / 8, payload)
}

fn whole(protocol: u8, identification: u16, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = ethernet(true);
    frame.extend([0x08, 0x00]);
    frame.extend(ipv4(GUEST, CLIENT, protocol, identification, fragment, payload));
    frame
}

/// A UDP datagram in IPv6 from the guest.
pub(crate) fn ipv6(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("a datagram has 64 KiB at most");
    let mut frame = ethernet(true);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([17, 64]);
    for host in [1, 2] {
        frame.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host]);
    }
    frame.extend([53u16, 7000, length, 0].iter().flat_map(|word| word.to_be_bytes()));
    frame.extend(payload);
    frame
}

/// The guest asks who has the client's address.
pub(crate) fn arp() -> Vec<u8> {
    let mut frame = [[0xff; 6], GUEST_MAC].concat();
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(GUEST_MAC);
    frame.extend(GUEST);
    frame.extend([0; 6]);
    frame.extend(CLIENT);
    frame.extend([0; 18]);
    frame
}

/// The frame with a VLAN tag.
pub(crate) fn tagged(frame: &[u8], vlan: u16) -> Vec<u8> {
    [&frame[..12], &[0x81, 0x00], &vlan.to_be_bytes(), &frame[12..]].concat()
}

/// Time stamps as an option, with two fillers.
pub(crate) fn timestamps(value: u32, echo: u32) -> Vec<u8> {
    [&[1, 1, 8, 10][..], &value.to_be_bytes(), &echo.to_be_bytes()].concat()
}

/// One block of a selective acknowledgement, with two fillers.
pub(crate) fn sack(from: u32, to: u32) -> Vec<u8> {
    [&[1, 1, 5, 10][..], &from.to_be_bytes(), &to.to_be_bytes()].concat()
}

/// As the sockets of QEMU's filters have it.
pub(crate) fn framed(frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).expect("a frame has 64 KiB at most");
    [&length.to_be_bytes()[..], frame].concat()
}

/// Sequence number and ack of a frame that is TCP in IPv4, without a tag.
pub(crate) fn numbers(frame: &[u8]) -> Option<(u32, u32)> {
    let is_tcp = frame.get(12..14) == Some(&[0x08, 0x00]) && frame.get(23) == Some(&6);
    let word = |at: usize| Some(u32::from_be_bytes(*frame.get(at..)?.first_chunk()?));
    is_tcp.then_some(()).and_then(|()| Some((word(38)?, word(42)?)))
}
