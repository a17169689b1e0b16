//! For tests: frames of TCP over IPv4, with right checksums.

use crate::wire::Bytes;
use understudy_netbuf::kernel::Tap;

/// A segment of the guest's.
pub(crate) struct Built<'a> {
    pub(crate) sequence: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    /// A multiple of four.
    pub(crate) options: &'a [u8],
    pub(crate) payload: &'a [u8],
}

const TCP_AT: usize = Tap::HEADER_BYTES + 14 + 20;

impl Built<'_> {
    pub(crate) fn bytes(&self) -> Bytes {
        let mut tcp = [7007_u16.to_be_bytes(), 50_000_u16.to_be_bytes()].concat();
        tcp.extend(self.sequence.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        tcp.extend([(5 + self.options.len() as u8 / 4) << 4, self.flags, 1, 0, 0, 0, 0, 0]);
        tcp.extend(self.options);
        tcp.extend(self.payload);
        let total_bytes = (20 + tcp.len() as u16).to_be_bytes();
        let mut frame = vec![0; Tap::HEADER_BYTES + 12];
        frame.extend([8, 0, 0x45, 0, total_bytes[0], total_bytes[1], 0, 0, 0, 0, 64, 6, 0, 0]);
        frame.extend([10, 7, 0, 2, 10, 7, 0, 1]);
        frame.extend(tcp);
        let sum = !sum(&frame);
        frame[TCP_AT + 16..TCP_AT + 18].copy_from_slice(&sum.to_be_bytes());
        frame
    }
}

/// Whether the segment's checksum is right.
pub(crate) fn is_sealed(frame: &Bytes) -> bool {
    sum(frame) == 0xffff
}

/// Over the pseudo header and the segment, with its checksum.
fn sum(frame: &Bytes) -> u16 {
    let tcp = &frame[TCP_AT..];
    let pseudo = [&frame[TCP_AT - 8..TCP_AT], &[0, 6], &(tcp.len() as u16).to_be_bytes()].concat();
    let words = |bytes: &[u8]| -> u64 {
        bytes.chunks(2).map(|pair| u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0))).sum()
    };
    let mut sum = words(&pseudo) + words(tcp);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
