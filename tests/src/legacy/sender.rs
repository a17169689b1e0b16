//! A toolstack of Xen 3.2 to 4.5, of either word size, as far as its streams go.

use super::guest::Guest;
use understudy_checkpoint::legacy::WordSize;
use understudy_checkpoint::stream::libxc::DomainType;
use understudy_checkpoint::stream::xl;
use understudy_checkpoint::{Page, PageType, Pfn};

/// Which Xen sent, as far as streams differ.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[allow(missing_docs, reason = "the names are those of the releases")]
pub enum Xen {
    V3_2,
    V4_0,
    V4_1,
    V4_2,
    V4_5,
    V4_5_4,
}

/// Parameters in the order in which they were sent: index, chunk, and since when.
const PARAMS: [(u64, i32, Xen); 12] = [
    (34, -14, Xen::V4_2),
    (12, -3, Xen::V3_2),
    (27, -15, Xen::V4_2),
    (28, -16, Xen::V4_2),
    (29, -17, Xen::V4_2),
    (15, -4, Xen::V4_0),
    (17, -8, Xen::V4_1),
    (19, -10, Xen::V4_1),
    (9, -11, Xen::V4_2),
    (32, -19, Xen::V4_5),
    (33, -20, Xen::V4_5),
    (36, -21, Xen::V4_5_4),
];

/// What the sender writes.
#[derive(Debug)]
pub struct Sender {
    /// The stream so far.
    pub out: Vec<u8>,
    word: WordSize,
    xen: Xen,
}

impl Sender {
    /// A sender that wrote nothing yet.
    pub fn new(word: WordSize, xen: Xen) -> Self {
        Self { out: Vec::new(), word, xen }
    }

    fn i32(&mut self, value: i32) {
        self.out.extend(value.to_le_bytes());
    }

    fn u32(&mut self, value: u32) {
        self.out.extend(value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.out.extend(value.to_le_bytes());
    }

    fn word(&mut self, value: u64) {
        self.out.extend(&value.to_le_bytes()[..self.word.bytes()]);
    }

    /// xl's header, as before version 2, around the guest's configuration.
    pub fn xl_header(&mut self, guest: &Guest) {
        self.out.extend(xl::MAGIC);
        for word in [0x0102_0304, 1, 0, 4 + guest.config.len() as u32, guest.config.len() as u32] {
            self.u32(word);
        }
        self.out.extend(&guest.config);
    }

    /// All that stands before the first body.
    pub fn head(&mut self, guest: &Guest) {
        self.word(guest.frames.into());
        if guest.kind == DomainType::Hvm {
            return;
        }
        let first = guest.vcpus.values().next().expect("a guest has a vCPU");
        let mut blocks = vec![(*b"vcpu", first.basic.clone())];
        if first.extended.is_some() {
            blocks.push((*b"extv", Vec::new()));
        }
        if let Some(xsave) = &first.xsave {
            blocks.push((*b"xcnt", (16 + xsave.len() as u32).to_le_bytes().to_vec()));
        }
        self.word(u64::MAX);
        self.u32(blocks.iter().map(|(_, content)| 8 + content.len() as u32).sum());
        for (id, content) in blocks {
            self.out.extend(id);
            self.u32(content.len() as u32);
            self.out.extend(content);
        }
        guest.p2m_frames.iter().for_each(|pfn| self.word(*pfn));
    }

    /// A batch whose pages follow, or with `None` in place of a page that has data, one of a compressed checkpoint.
    pub fn batch(&mut self, items: &[(Pfn, PageType, Option<&Page>)]) {
        self.i32(items.len() as i32);
        items.iter().for_each(|(pfn, kind, _)| self.word(u64::from(kind.nibble()) << 28 | pfn.0));
        items.iter().filter_map(|(_, _, page)| *page).for_each(|page| self.out.extend(page));
    }

    /// Pages of a compressed checkpoint.
    pub fn compressed(&mut self, packed: &[u8]) {
        self.i32(-12);
        self.word(packed.len() as u64);
        self.out.extend(packed);
    }

    /// The time stamp counter.
    pub fn tsc(&mut self, guest: &Guest) {
        if self.xen >= Xen::V4_0 {
            self.i32(-7);
            self.u32(guest.tsc.mode.get());
            self.u64(guest.tsc.nsec.get());
            self.u32(guest.tsc.khz.get());
            self.u32(guest.tsc.incarnation.get());
        }
    }

    /// What every body ends with. `last`: it is no checkpoint of Remus; `compress`: those after it come compressed.
    pub fn end_body(&mut self, guest: &Guest, last: bool, compress: bool) {
        let top = guest.vcpus.keys().next_back().copied().unwrap_or(0);
        self.i32(-2);
        self.i32(top as i32);
        for word in 0..=top / 64 {
            let bits = guest
                .vcpus
                .keys()
                .filter(|id| **id / 64 == word)
                .fold(0, |bits, id| bits | 1u64 << (id % 64));
            self.u64(bits.max(u64::from(guest.vcpus.is_empty())));
        }
        for (index, chunk, since) in PARAMS {
            if let Some(value) = guest.params.get(&index).filter(|value| **value != 0 && self.xen >= since) {
                self.i32(chunk);
                self.u32(0);
                self.u64(*value);
            }
        }
        if self.xen >= Xen::V4_2 {
            self.i32(-18);
            self.u32(8);
            self.u32(1);
            self.u32(0);
        }
        if last && self.xen >= Xen::V4_1 {
            self.i32(-9);
        }
        if compress {
            self.i32(-13);
        }
        self.i32(0);
    }

    /// The tail.
    pub fn tail(&mut self, guest: &Guest) {
        if guest.kind == DomainType::Pv {
            self.u32(1);
            self.word(0);
            for vcpu in guest.vcpus.values() {
                self.out.extend(&vcpu.basic);
                if let Some(extended) = &vcpu.extended {
                    let end = self.out.len() + 128;
                    self.out.extend(extended);
                    self.out.resize(end, 0);
                }
                if let Some(xsave) = &vcpu.xsave {
                    self.u64(7);
                    self.u64(xsave.len() as u64);
                    self.out.extend(xsave);
                }
            }
            self.out.extend(&guest.shared_info.as_deref().expect("a PV guest has one")[..]);
            return;
        }
        [5, 6, 1].iter().for_each(|index| self.u64(guest.params.get(index).copied().unwrap_or(0)));
        self.u32(guest.context.len() as u32);
        self.out.extend(&guest.context);
        if self.xen >= Xen::V4_1 {
            self.out.extend(b"DeviceModelRecord0002");
            self.u32(guest.emulator.len() as u32);
        } else {
            self.out.extend(b"QemuDeviceModelRecord");
        }
        self.out.extend(&guest.emulator);
    }
}

/// The whole stream of a guest that was saved while it stood still, behind xl's header if it has a configuration.
pub fn plain(guest: &Guest, word: WordSize, xen: Xen) -> Vec<u8> {
    let mut sender = Sender::new(word, xen);
    if !guest.config.is_empty() {
        sender.xl_header(guest);
    }
    sender.head(guest);
    sender.tsc(guest);
    let items: Vec<_> =
        guest.pages.iter().map(|(pfn, (kind, page))| (*pfn, *kind, page.as_deref())).collect();
    items.chunks(1024).for_each(|items| sender.batch(items));
    sender.end_body(guest, true, false);
    sender.tail(guest);
    sender.out
}
