//! libxc's two headers, always together.
//!
//! ```text
//!   image header (big-endian):      | FF×8 | "XENF" | version 4 | options 2 | 0 2 | 0 4 |
//!   domain header (little-endian):  | type 4 | page_shift 2 | 0 2 | xen_major 4 | xen_minor 4 |
//! ```

use crate::stream::fault::{Defect, Rule};
use crate::stream::frame;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, big_endian};

/// Bytes of both headers.
pub const HEADER_BYTES: usize = 40;

/// The first bytes of the image header.
pub const MARKER: [u8; 8] = [0xFF; 8];

const ID: u32 = 0x5845_4E46;
const OPTION_BIG_ENDIAN: u16 = 1 << 0;
const PAGE_SHIFT: u16 = 12;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Wire {
    marker: [u8; 8],
    id: big_endian::U32,
    version: big_endian::U32,
    options: big_endian::U16,
    image_reserved_a: big_endian::U16,
    image_reserved_b: big_endian::U32,
    domain_type: U32,
    page_shift: U16,
    domain_reserved: U16,
    xen_major: U32,
    xen_minor: U32,
}

/// The kind of domain in a libxc stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DomainType {
    /// x86 PV: 1.
    Pv,
    /// x86 HVM and PVH: 2.
    Hvm,
}

/// Image header and domain header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LibxcHeader {
    /// 2 (Xen 4.6 to 4.13) or 3.
    pub version: u32,
    /// The kind of domain.
    pub domain_type: DomainType,
    /// `xen_major`, `xen_minor` of the writer; a major of 0 means converted from legacy.
    pub xen_version: (u32, u32),
}

impl LibxcHeader {
    pub(in crate::stream) fn read(input: &[u8]) -> Result<Self, Defect> {
        let wire: &Wire = frame::exactly(input, "libxc headers")?;
        wire.check_image()?;
        let refuse = |detail: String| Err(Defect::new(Rule::DomainHeader, detail));
        let domain_type = match wire.domain_type.get() {
            1 => DomainType::Pv,
            2 => DomainType::Hvm,
            other => return refuse(format!("Domain type {other} is none of 1 (PV) and 2 (HVM)")),
        };
        if wire.page_shift.get() != PAGE_SHIFT {
            return refuse(format!("Page shift is {}, not {PAGE_SHIFT}", wire.page_shift));
        }
        if wire.domain_reserved.get() != 0 {
            return refuse("A reserved field is not zero".into());
        }
        let xen_version = (wire.xen_major.get(), wire.xen_minor.get());
        Ok(Self { version: wire.version.get(), domain_type, xen_version })
    }

    /// Appends both headers.
    pub fn write(&self, out: &mut Vec<u8>) {
        let domain_type = match self.domain_type {
            DomainType::Pv => 1,
            DomainType::Hvm => 2,
        };
        let wire = Wire {
            marker: MARKER,
            id: ID.into(),
            version: self.version.into(),
            options: 0.into(),
            image_reserved_a: 0.into(),
            image_reserved_b: 0.into(),
            domain_type: U32::new(domain_type),
            page_shift: U16::new(PAGE_SHIFT),
            domain_reserved: U16::new(0),
            xen_major: U32::new(self.xen_version.0),
            xen_minor: U32::new(self.xen_version.1),
        };
        out.extend_from_slice(wire.as_bytes());
    }
}

impl Wire {
    fn check_image(&self) -> Result<(), Defect> {
        let refuse = |detail: String| Err(Defect::new(Rule::ImageHeader, detail));
        if self.marker != MARKER {
            return refuse(format!("Marker is {:02x?}, not eight times ff", self.marker));
        }
        if self.id.get() != ID {
            return refuse(format!("Id is {:#x}, not XENF", self.id));
        }
        if !(2..=3).contains(&self.version.get()) {
            return refuse(format!("Version is {}; 2 and 3 are known", self.version));
        }
        if self.options.get() & OPTION_BIG_ENDIAN != 0 {
            return refuse("The stream is big-endian; x86 streams are little-endian".into());
        }
        if self.options.get() != 0 || self.image_reserved_a.get() != 0 || self.image_reserved_b.get() != 0 {
            return refuse("A reserved field or option is not zero".into());
        }
        Ok(())
    }
}
