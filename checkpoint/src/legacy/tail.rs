//! How long the parts of a tail are, and the device model's record behind it.
//!
//! ```text
//!   HVM   | 3 × u64 rings | u32 length | context |
//!         then  | "DeviceModelRecord0002" or "RemusDeviceModelState" | u32 length | state |
//!         or    | "QemuDeviceModelRecord" | state, to the end of the input |
//!   PV    | u32 n | n words, pfns that were not mapped |
//!         each vCPU:  | registers | if `extv`: 128 bytes | if `xcnt`: u64 mask, u64 length, XSAVE's area |
//!         | shared info page |
//! ```

use super::bytes::{u32_at, u64_at};
use super::fault::{Defect, Rule};
use super::limits::{EMULATOR_BYTES_MAX, HVM_CONTEXT_BYTES_MAX, XSAVE_BYTES};

/// Bytes of the three rings.
pub(super) const RINGS_BYTES: usize = 24;

/// Bytes before an HVM context.
pub(super) const CONTEXT_HEAD_BYTES: usize = 4;

/// Bytes of a vCPU's extended context.
pub(super) const EXTENDED_BYTES: usize = 128;

/// Bytes before an XSAVE area.
pub(super) const XSAVE_HEAD_BYTES: usize = 16;

pub(super) const SIGNATURE_BYTES: usize = 21;

/// Bytes before a device model's state of known length.
pub(super) const EMULATOR_HEAD_BYTES: usize = SIGNATURE_BYTES + 4;

/// Written by libxl, and by xend's Remus.
const SIGNATURES: [&[u8; SIGNATURE_BYTES]; 2] = [b"DeviceModelRecord0002", b"RemusDeviceModelState"];

/// Written by libxl 4.0 and by xend: nothing says how long the state is.
const SIGNATURE_UNTIL_END: &[u8; SIGNATURE_BYTES] = b"QemuDeviceModelRecord";

/// What QEMU's state begins with.
const QEMU_MAGIC: &[u8; 4] = b"QEVM";

/// Bytes of the HVM context with its length.
pub(super) fn context_bytes(input: &[u8]) -> Result<usize, Defect> {
    if input.len() < CONTEXT_HEAD_BYTES {
        return Ok(CONTEXT_HEAD_BYTES);
    }
    let length = u32_at(input, 0) as usize;
    if length == 0 || length > HVM_CONTEXT_BYTES_MAX {
        let detail = format!("An HVM context of {length} bytes; 1 to {HVM_CONTEXT_BYTES_MAX} are possible");
        return Err(Defect::new(Rule::HvmContext, detail));
    }
    Ok(CONTEXT_HEAD_BYTES + length)
}

/// Bytes of a vCPU's XSAVE area with its head. Each has its own; what `xcnt` says is of another vCPU and time.
pub(super) fn xsave_bytes(input: &[u8]) -> Result<usize, Defect> {
    if input.len() < XSAVE_HEAD_BYTES {
        return Ok(XSAVE_HEAD_BYTES);
    }
    let length = u64_at(input, 8);
    if !XSAVE_BYTES.contains(&length) {
        let (least, most) = XSAVE_BYTES.into_inner();
        let detail = format!("XSAVE's area of a vCPU has {length} bytes; {least} to {most} are possible");
        return Err(Defect::new(Rule::Xsave, detail));
    }
    Ok(XSAVE_HEAD_BYTES + length as usize)
}

/// Bytes of the device model's record; `None` if it goes on until the input ends.
pub(super) fn emulator_bytes(input: &[u8]) -> Result<Option<usize>, Defect> {
    let Some(signature) = input.first_chunk::<SIGNATURE_BYTES>() else { return Ok(Some(SIGNATURE_BYTES)) };
    if signature == SIGNATURE_UNTIL_END {
        return Ok(None);
    }
    if !SIGNATURES.contains(&signature) {
        let detail = format!(
            "A device model's record was to follow, not `{}`",
            String::from_utf8_lossy(signature).escape_debug()
        );
        return Err(Defect::new(Rule::Emulator, detail));
    }
    if input.len() < EMULATOR_HEAD_BYTES {
        return Ok(Some(EMULATOR_HEAD_BYTES));
    }
    let length = u32_at(input, SIGNATURE_BYTES) as usize;
    if length > EMULATOR_BYTES_MAX {
        let detail = format!("A device model's state of {length} bytes; the limit is {EMULATOR_BYTES_MAX}");
        return Err(Defect::new(Rule::Emulator, detail));
    }
    Ok(Some(EMULATOR_HEAD_BYTES + length))
}

/// The state in a record that went on until the input ended.
pub(super) fn emulator_until_end(record: &[u8]) -> Result<&[u8], Defect> {
    let state = record.get(SIGNATURE_BYTES..).unwrap_or_default();
    if state.starts_with(QEMU_MAGIC) {
        return Ok(state);
    }
    let detail = "Behind QemuDeviceModelRecord no state of QEMU follows";
    Err(Defect::new(Rule::Emulator, detail))
}
