//! How long what comes next is, told from its first bytes, before the rest is waited for.
//!
//! Not here: which layer it belongs to (the reader).

use super::fault::{Defect, Layer, Rule};
use super::frame::{self, FRAME_HEADER_BYTES};
use super::{libxc, libxl, xl};

/// As many bytes of xl's handshake at the end tell that it is meant to be one.
const HANDSHAKE_BYTES_TOLD: usize = 8;

/// Bytes of the record that `input` begins with, refused as soon as its header is there if type or length
/// are beyond bounds.
pub(super) fn record_bytes(input: &[u8], layer: Layer) -> Result<usize, Defect> {
    let Some((kind, length)) = frame::peek(input) else {
        return Ok(FRAME_HEADER_BYTES);
    };
    let (name, limit) = match layer {
        Layer::Libxc => {
            libxc::check_kind(kind)?;
            (libxc::kind_name(kind), libxc::body_bytes_max(kind))
        }
        Layer::Libxl | Layer::Xl => {
            libxl::check_kind(kind)?;
            (libxl::kind_name(kind), libxl::body_bytes_max(kind))
        }
    };
    if length > limit {
        let detail = format!("{name} announces {length} bytes; the limit is {limit}");
        return Err(Defect::new(Rule::RecordLimit, detail));
    }
    Ok(FRAME_HEADER_BYTES + frame::padded(length))
}

/// Bytes of xl's handshake, if it is one; 0 if nothing follows that is.
pub(super) fn handshake_bytes(input: &[u8]) -> Result<usize, Defect> {
    let same = input.iter().zip(xl::GO).take_while(|(seen, expected)| seen == expected).count();
    if input.is_empty() {
        Ok(0)
    } else if same == input.len().min(xl::GO.len()) {
        Ok(xl::GO.len())
    } else if same >= HANDSHAKE_BYTES_TOLD {
        Err(Defect::new(Rule::Trailing, "xl's handshake after the stream is damaged"))
    } else {
        Ok(0)
    }
}
