//! Decodes batches into entries with their content. A malformed batch can neither make it allocate more than one body,
//! nor panic, nor run longer than the batch's pages take.

use super::batch::{self, BATCH_BYTES_MAX, BODY_BYTES_MAX, Kind, Op};
use super::delta;
use super::varint::take_varint;
use crate::{PAGE_SIZE, Page, PageEntry, Pfn};
use lz4_flex::block::decompress_into;

/// What is wrong with a batch. Either the sender or the link is at fault; the epoch must be sent again.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum BatchError {
    /// The batch is longer than any valid one.
    #[error(
        "A batch of {0} bytes is larger than any encoder writes; check that both engines are of one version"
    )]
    TooLong(usize),
    /// The form is unknown, or the body does not decompress to the stated length.
    #[error("A batch is damaged: its body cannot be unpacked; the epoch has to be sent again")]
    Body,
    /// An entry is truncated, has a reserved type, or is beyond the guest's last frame.
    #[error(
        "A batch is damaged: an entry is malformed or beyond the guest's frames; the epoch has to be sent again"
    )]
    Entry,
    /// A page's data is truncated, or its changes reach beyond the page.
    #[error("A batch is damaged: the data of frame {0} is malformed; the epoch has to be sent again")]
    Content(Pfn),
    /// Checks or a state digest are malformed, beyond the guest's frames, or more than an epoch may have.
    #[error("A batch is damaged: its checks are malformed or too many; the epoch has to be sent again")]
    Checks,
    /// Data is left over.
    #[error("A batch is damaged: it holds data that belongs to no entry; the epoch has to be sent again")]
    Trailing,
}

/// Decodes batches. Keeps the memory of one body.
#[derive(Debug)]
pub(crate) struct Decoder {
    body: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self { body: vec![0; BODY_BYTES_MAX] }
    }

    /// Opens a batch for a guest whose pfns are below `page_count`.
    pub(crate) fn open(&mut self, bytes: &[u8], page_count: u64) -> Result<Entries<'_>, BatchError> {
        if bytes.len() > BATCH_BYTES_MAX {
            return Err(BatchError::TooLong(bytes.len()));
        }
        let body = self.unpack(bytes).ok_or(BatchError::Body)?;
        Entries::split(body, page_count).ok_or(BatchError::Body)
    }

    fn unpack(&mut self, bytes: &[u8]) -> Option<&[u8]> {
        let (form, mut rest) = bytes.split_first()?;
        let length = usize::try_from(take_varint(&mut rest)?).ok()?;
        let body = self.body.get_mut(..length)?;
        match *form {
            batch::FORM_STORED if rest.len() == length => body.copy_from_slice(rest),
            batch::FORM_LZ4 if decompress_into(rest, body).is_ok_and(|unpacked| unpacked == length) => {}
            _ => return None,
        }
        Some(body)
    }
}

/// The entries of a batch in order.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    ops: &'a [u8],
    runs: &'a [u8],
    data: &'a [u8],
    page_count: u64,
    op: Op,
    /// Pages of `op` still to return.
    left: u64,
}

/// An entry's content as sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content<'a> {
    None,
    Zero,
    Whole(&'a Page),
    /// Changes to the receiver's page: call [`Entries::apply`].
    Delta,
}

impl<'a> Entries<'a> {
    fn split(mut body: &'a [u8], page_count: u64) -> Option<Self> {
        let ops_length = usize::try_from(take_varint(&mut body)?).ok()?;
        let runs_length = usize::try_from(take_varint(&mut body)?).ok()?;
        let (ops, body) = body.split_at_checked(ops_length)?;
        let (runs, data) = body.split_at_checked(runs_length)?;
        let op = Op { kind: Kind::NoData, page_type: Kind::NoData.untyped(), first: Pfn(0), pages: 0 };
        Some(Self { ops, runs, data, page_count, op, left: 0 })
    }

    /// The next entry; `None` at the end of the batch.
    pub(crate) fn next(&mut self) -> Result<Option<(PageEntry, Content<'a>)>, BatchError> {
        if self.left == 0 {
            if self.ops.is_empty() {
                let nothing_left = self.runs.is_empty() && self.data.is_empty();
                return if nothing_left { Ok(None) } else { Err(BatchError::Trailing) };
            }
            self.op = Op::take(&mut self.ops, self.op.end(), self.page_count).ok_or(BatchError::Entry)?;
            self.left = self.op.pages;
        }
        let pfn = Pfn(self.op.end() - self.left);
        self.left -= 1;
        let content = match self.op.kind {
            Kind::NoData => Content::None,
            Kind::Zero => Content::Zero,
            Kind::Delta => Content::Delta,
            Kind::Whole => {
                let (page, rest) =
                    self.data.split_first_chunk::<PAGE_SIZE>().ok_or(BatchError::Content(pfn))?;
                self.data = rest;
                Content::Whole(page)
            }
        };
        Ok(Some((PageEntry::new(pfn, self.op.page_type), content)))
    }

    /// The number of frames of the same kind and type that the entry just returned by [`next`](Self::next) begins.
    pub(crate) fn begun_stretch(&self) -> Option<u64> {
        (self.left + 1 == self.op.pages).then_some(self.op.pages)
    }

    /// Applies the delta just returned by [`next`](Self::next) to `page`. After an error `page` is undefined.
    pub(crate) fn apply(&mut self, pfn: Pfn, page: &mut Page) -> Result<(), BatchError> {
        delta::apply(&mut self.runs, &mut self.data, page).ok_or(BatchError::Content(pfn))
    }
}
