//! Records that only HVM and PVH guests have.
//!
//! The HVM context is a chain that fills the record exactly; entries are not padded:
//!
//! ```text
//!   | typecode 2 | instance 2 | length 4 | data… |   HEADER (1) first, … , END (0, empty) last
//! ```

use crate::stream::fault::{Defect, Rule};
use crate::stream::frame;
use crate::stream::limits::HVM_PARAMS_MAX;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

const HEADER_TYPECODE: u16 = 1;
const END_TYPECODE: u16 = 0;
const MAGIC: u32 = 0x5438_1286;
const VERSION: u32 = 1;

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Descriptor {
    typecode: U16,
    instance: U16,
    length: U32,
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ContextHeader {
    magic: U32,
    version: U32,
    changeset: U64,
    cpuid: U32,
    gtsc_khz: U32,
}

/// An entry of the HVM context (`xen/include/public/hvm/save.h`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HvmEntry<'a> {
    /// The kind of entry: 1 HEADER, 2 CPU, 3 PIC … 20 CPU_MSR.
    pub typecode: u16,
    /// The instance among entries of the same kind; for a vCPU its number.
    pub instance: u16,
    /// The state itself.
    pub data: &'a [u8],
}

/// HVM_CONTEXT: platform and vCPU state as Xen returned it. Its content is not parsed when a stream is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HvmContext<'a> {
    /// The whole blob.
    pub blob: &'a [u8],
}

impl<'a> HvmContext<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Defect> {
        if body.is_empty() {
            return Err(Defect::new(Rule::HvmContext, "The HVM context is empty"));
        }
        Ok(Self { blob: body })
    }

    /// The entries from HEADER to END. Stops with a defect where the chain is broken.
    pub fn entries(&self) -> impl Iterator<Item = Result<HvmEntry<'a>, Defect>> + use<'a> {
        let mut rest = Some(self.blob);
        let mut first = true;
        std::iter::from_fn(move || {
            let step = next_entry(rest.take()?, std::mem::take(&mut first));
            if let Ok((entry, after)) = &step {
                rest = (entry.typecode != END_TYPECODE).then_some(*after);
            }
            Some(step.map(|(entry, _)| entry))
        })
    }

    /// Checks the whole chain.
    pub fn check(&self) -> Result<(), Defect> {
        self.entries().try_for_each(|entry| entry.map(|_| ()))
    }
}

fn next_entry(rest: &[u8], first: bool) -> Result<(HvmEntry<'_>, &[u8]), Defect> {
    let refuse = |detail: String| Err(Defect::new(Rule::HvmContext, detail));
    let Ok((descriptor, after)) = Descriptor::ref_from_prefix(rest) else {
        return refuse(format!("The chain ends without END; {} bytes are left", rest.len()));
    };
    let (typecode, instance) = (descriptor.typecode.get(), descriptor.instance.get());
    let length = descriptor.length.get() as usize;
    let Some((data, after)) = after.split_at_checked(length) else {
        return refuse(format!("Entry {typecode}/{instance} of {length} bytes exceeds the record"));
    };
    match (typecode, first) {
        (HEADER_TYPECODE, true) => check_header(data)?,
        (_, true) => return refuse(format!("The first entry is {typecode}, not HEADER")),
        (HEADER_TYPECODE, false) => return refuse("A second HEADER".into()),
        (END_TYPECODE, false) if !data.is_empty() || !after.is_empty() => {
            return refuse(format!("{} bytes in and after END", data.len() + after.len()));
        }
        _ => {}
    }
    Ok((HvmEntry { typecode, instance, data }, after))
}

fn check_header(data: &[u8]) -> Result<(), Defect> {
    let refuse = |detail: String| Err(Defect::new(Rule::HvmContext, detail));
    let Ok(header) = ContextHeader::ref_from_bytes(data) else {
        return refuse(format!("HEADER has {} bytes, not {}", data.len(), size_of::<ContextHeader>()));
    };
    if header.magic.get() != MAGIC || header.version.get() != VERSION {
        return refuse(format!("HEADER has magic {:#x}, version {}", header.magic, header.version));
    }
    Ok(())
}

/// An HVM parameter (`xen/include/public/hvm/params.h`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct HvmParam {
    /// The number of the parameter.
    pub index: U64,
    /// Its value.
    pub value: U64,
}

impl HvmParam {
    /// The frame of the xenstore ring.
    pub const STORE_PFN: u64 = 1;
    /// The frame of the device model's request page (default ioreq server).
    pub const IOREQ_PFN: u64 = 5;
    /// The frame of the device model's buffered request page.
    pub const BUFIOREQ_PFN: u64 = 6;
    /// The frame of the console ring.
    pub const CONSOLE_PFN: u64 = 17;

    /// A parameter.
    pub fn new(index: u64, value: u64) -> Self {
        Self { index: U64::new(index), value: U64::new(value) }
    }
}

#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct ParamsHeader {
    count: U32,
    reserved: U32,
}

pub(super) fn parse_params(body: &[u8]) -> Result<&[HvmParam], Defect> {
    let (header, params): (&ParamsHeader, _) = frame::prefix(body, "HVM_PARAMS")?;
    frame::reserved(header.reserved.get().into(), "HVM_PARAMS")?;
    let params: &[HvmParam] = frame::elements(params, "HVM_PARAMS")?;
    let count = header.count.get() as usize;
    if params.len() != count {
        let detail = format!("{count} parameters are announced, {} follow", params.len());
        return Err(Defect::new(Rule::BodyLength, detail));
    }
    if count > HVM_PARAMS_MAX {
        let detail = format!("{count} parameters; the limit is {HVM_PARAMS_MAX}");
        return Err(Defect::new(Rule::HvmParams, detail));
    }
    Ok(params)
}

pub(super) fn write_params(params: &[HvmParam], out: &mut Vec<u8>) {
    let header = ParamsHeader { count: U32::new(params.len() as u32), reserved: U32::new(0) };
    frame::write(out, super::kind::HVM_PARAMS, &[header.as_bytes(), params.as_bytes()]);
}
