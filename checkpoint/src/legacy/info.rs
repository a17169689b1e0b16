//! Extended info of a PV guest: blocks that fill it exactly, in any order.
//!
//! ```text
//!   | id 4 | u32 size | size bytes |      vcpu   vCPU 0 as it was when the save began: its size tells the guest's word
//!                                         extv   each vCPU of the tail has extended context
//!                                         xcnt   u32 ≠ 0: each vCPU of the tail has an XSAVE area
//!                                         other  skipped, as Xen did
//! ```

use super::bytes::u32_at;
use super::fault::{Defect, Rule};
use super::limits::INFO_BLOCK_BYTES_MAX;
use crate::stream::libxc::GuestWidth;

const BLOCK_HEAD_BYTES: usize = 8;

/// What a block says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Block {
    Width(GuestWidth),
    Extended,
    Xsave(bool),
    Other([u8; 4]),
}

fn broken(detail: String) -> Defect {
    Defect::new(Rule::ExtendedInfo, detail)
}

/// Bytes of the block that `input` begins with, where `left` bytes of extended info are left.
pub(super) fn needed(input: &[u8], left: u32) -> Result<usize, Defect> {
    if (left as usize) < BLOCK_HEAD_BYTES {
        return Err(broken(format!("{left} bytes are left behind the last block")));
    }
    if input.len() < BLOCK_HEAD_BYTES {
        return Ok(BLOCK_HEAD_BYTES);
    }
    let size = u32_at(input, 4) as usize;
    if size > left as usize - BLOCK_HEAD_BYTES {
        return Err(broken(format!(
            "A block of {size} bytes, where {} are left",
            left as usize - BLOCK_HEAD_BYTES
        )));
    }
    if size > INFO_BLOCK_BYTES_MAX {
        return Err(broken(format!("A block of {size} bytes; the limit is {INFO_BLOCK_BYTES_MAX}")));
    }
    Ok(BLOCK_HEAD_BYTES + size)
}

/// Reads a whole block.
pub(super) fn read(block: &[u8]) -> Result<Block, Defect> {
    let (id, content) = (*block.first_chunk::<4>().expect("its head is there"), &block[BLOCK_HEAD_BYTES..]);
    match &id {
        b"vcpu" => {
            let widths = [GuestWidth::Bits32, GuestWidth::Bits64];
            let width = widths.into_iter().find(|width| width.vcpu_basic_bytes() == content.len());
            width.map(Block::Width).ok_or_else(|| {
                broken(format!("A vCPU has {} bytes, neither a 32-bit nor a 64-bit guest's", content.len()))
            })
        }
        b"extv" => Ok(Block::Extended),
        b"xcnt" if content.len() < 4 => Err(broken(format!("A block xcnt of {} bytes", content.len()))),
        b"xcnt" => Ok(Block::Xsave(u32_at(content, 0) != 0)),
        _ => Ok(Block::Other(id)),
    }
}
