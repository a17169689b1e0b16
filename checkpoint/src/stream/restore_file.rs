//! Writes a committed image as a plain stream for `xl restore`.
//!
//! ```text
//!   xl header + config, libxl header, LIBXC_CONTEXT,            write_head
//!   libxc headers, static records
//!   PAGE_DATA …                                                 write_pages
//!   state, END, device model, END                               write_state
//! ```
//!
//! Batches are aligned blocks of 1,024 pfns, so that no aligned block of 2 MiB is split between records: receivers
//! since Xen 4.21 populate a superpage only for a block that comes whole in one record.

use super::libxc::{self, DomainType, LibxcHeader, write_page_data, write_page_data_head};
use super::libxl::{self, LibxlHeader};
use super::limits::BATCH_ENTRIES_MAX;
use super::xl::XlHeader;
use crate::domain::{Description, DomainState, GuestKind};
use crate::epoch::{Image, Staging};
use crate::{Page, PageEntry, Pfn};
use std::io::{self, Write};

/// A committed image, from which a file is written.
pub trait Committed {
    /// All frames that are not absent, ascending.
    fn committed_entries(&self) -> Box<dyn Iterator<Item = PageEntry> + '_>;
    /// The content of a frame that holds a page.
    fn committed_page(&self, pfn: Pfn) -> Option<&Page>;
    /// The state.
    fn committed_state(&self) -> &DomainState;
}

impl Committed for Image {
    fn committed_entries(&self) -> Box<dyn Iterator<Item = PageEntry> + '_> {
        Box::new(self.entries())
    }
    fn committed_page(&self, pfn: Pfn) -> Option<&Page> {
        self.page(pfn)
    }
    fn committed_state(&self) -> &DomainState {
        self.state()
    }
}

/// Writes the whole file: `image` with its state.
///
/// Frames without a page are left out; a receiver populates only what it is sent.
pub fn write_restore_file(
    out: &mut impl Write,
    what: &Description,
    image: &impl Committed,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    write_head(&mut buffer, what);
    out.write_all(&buffer)?;
    write_pages(out, image)?;
    buffer.clear();
    write_state(&mut buffer, image.committed_state());
    out.write_all(&buffer)
}

/// Appends everything before memory.
pub fn write_head(out: &mut Vec<u8>, what: &Description) {
    let config = (!what.config.is_empty()).then_some(&what.config[..]);
    XlHeader { json: true, optional_flags: 0, config, extra: &[] }.write(out);
    LibxlHeader::default().write(out);
    libxl::Record::LibxcContext.write(out);
    let domain_type = match what.kind {
        GuestKind::Pv => DomainType::Pv,
        GuestKind::Hvm | GuestKind::Pvh => DomainType::Hvm,
    };
    LibxcHeader { version: what.libxc_version, domain_type, xen_version: what.xen_version }.write(out);
    out.extend_from_slice(&what.static_records);
}

/// Writes all frames of an image that are not absent.
pub fn write_pages(out: &mut impl Write, image: &impl Committed) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut batch: Vec<PageEntry> = Vec::with_capacity(BATCH_ENTRIES_MAX);
    let block = |entry: &PageEntry| entry.pfn().0 / BATCH_ENTRIES_MAX as u64;
    for entry in image.committed_entries() {
        if batch.first().is_some_and(|first| block(first) != block(&entry)) {
            write_batch(out, image, &mut batch, &mut buffer)?;
        }
        batch.push(entry);
    }
    write_batch(out, image, &mut batch, &mut buffer)
}

fn write_batch(
    out: &mut impl Write,
    image: &impl Committed,
    batch: &mut Vec<PageEntry>,
    buffer: &mut Vec<u8>,
) -> io::Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    buffer.clear();
    write_page_data(buffer, batch, |entry| {
        image.committed_page(entry.pfn()).expect("the image gave this entry with its type")
    });
    batch.clear();
    out.write_all(buffer)
}

/// Appends frames that were staged: those of one aligned block of [`BATCH_ENTRIES_MAX`] pfns.
pub fn write_staged(out: &mut Vec<u8>, staging: &Staging) {
    if !staging.entries().is_empty() {
        write_page_data_head(out, staging.entries());
        out.extend_from_slice(staging.pages().as_flattened());
    }
}

/// Appends everything after memory, up to the end.
pub fn write_state(out: &mut Vec<u8>, state: &DomainState) {
    out.extend_from_slice(&state.libxc);
    libxc::Record::End.write(out);
    out.extend_from_slice(&state.libxl);
    libxl::Record::End.write(out);
}
