//! Finds the length of the next item from its first bytes, before the rest has arrived.
//!
//! Not here: the layer of the item (the reader).

use super::fault::{Defect, Layer, Rule};
use super::frame::{self, FRAME_HEADER_BYTES};
use super::{libxc, libxl, xl};

/// Bytes that suffice to recognise xl's handshake at the end.
const HANDSHAKE_BYTES_TOLD: usize = 8;

/// The length of the record at the front of `input`. A type or length beyond its limit is refused as soon as the header
/// is there.
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

/// The length of xl's handshake; 0 if something else follows, or nothing.
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
