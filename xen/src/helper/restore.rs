//! Restores a domain for libxl: a plain stream, or the last complete one of a sequence of checkpoints.
//!
//! ```text
//!   plain           records ──► applied as they come ──► END ──► complete
//!   checkpointed    records ──► applied as they come ──► CHECKPOINT ──► from here on buffered
//!                   buffered ──► CHECKPOINT, libxl's part read ──► applied as a whole
//!                   buffered ──► end of input, damage ──► dropped; the guest is complete without it: failover
//! ```
//!
//! A checkpoint may use as much memory as the guest; stock Xen buffers without a bound.

use super::channel::{Channel, ChannelError, Level};
use super::save::StreamKind;
use crate::restore::{ExactItems, Rebuild, RestoreError, RingFrames, Rings};
use crate::{DomId, Xen};
use std::io::Read;
use understudy_checkpoint::stream::libxc::Record;
use understudy_checkpoint::stream::{Content, Frame, StreamError};

/// Bytes of vCPU and device state that a checkpoint may have besides its pages.
const STATE_BYTES_MAX: usize = 64 << 20;

/// libxl's answers to `checkpoint`: it read its part, or the input ended early.
const CHECKPOINT_READ: i32 = 1;
const CHECKPOINT_FAILOVER: i32 = 2;

/// Why a restore failed.
#[derive(thiserror::Error, Debug)]
pub enum RestoreFailure {
    /// The stream or the hypervisor is at fault.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// libxl does not answer, or refuses.
    #[error(transparent)]
    Channel(#[from] ChannelError),
}

/// The records of one incomplete checkpoint, one after the other.
#[derive(Debug, Default)]
struct Buffered {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Buffered {
    fn push(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        if self.bytes.len() + record.len() > self.bytes_max {
            return Err(RestoreError::TooLarge(self.bytes_max));
        }
        self.bytes.extend_from_slice(record);
        Ok(())
    }

    fn apply_to(&mut self, rebuild: &mut Rebuild) -> Result<(), RestoreError> {
        let mut rest = &self.bytes[..];
        while let Some(frame) = Frame::read(rest) {
            rebuild.apply(&Record::parse(frame)?)?;
            rest = &rest[frame.bytes_len()..];
        }
        self.bytes.clear();
        Ok(())
    }
}

/// What follows from one item.
enum Next {
    Go,
    /// The guest is complete.
    Complete,
}

/// A restore in progress.
pub struct Restore<'a, R> {
    xen: Xen,
    domain: DomId,
    items: ExactItems<R>,
    channel: &'a mut Channel,
    kind: StreamKind,
    rebuild: Option<Rebuild>,
    /// `Some` after the first checkpoint.
    buffered: Option<Buffered>,
    version: u32,
}

impl<'a, R: Read> Restore<'a, R> {
    /// Restores `domain` from `input`.
    pub fn new(xen: Xen, domain: DomId, input: R, channel: &'a mut Channel, kind: StreamKind) -> Self {
        let items = ExactItems::new(input);
        Self { xen, domain, items, channel, kind, rebuild: None, buffered: None, version: 3 }
    }

    /// Prepares the domain for somebody else to fill: everything but memory and state.
    pub fn run_empty(mut self) -> Result<(), RestoreFailure> {
        while let Next::Go = self.step()? {}
        Ok(())
    }

    /// Restores the domain, to the stream's end or to the last checkpoint before the input ended early.
    pub fn run(mut self, rings: Rings) -> Result<RingFrames, RestoreFailure> {
        loop {
            match self.step() {
                Ok(Next::Go) => {}
                Ok(Next::Complete) => break,
                Err(RestoreFailure::Restore(error)) if self.buffered.is_some() && is_of_input(&error) => {
                    let text = format!("Takes over from the last complete checkpoint: {error}");
                    self.channel.log(Level::Warning, &text);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        let rebuild = self.rebuild.take().ok_or(RestoreError::Early)?;
        if rebuild.mismatches() > 0 {
            let text = format!("{} pages differ from what was sent", rebuild.mismatches());
            self.channel.log(Level::Error, &text);
        }
        Ok(rebuild.complete(rings)?)
    }

    fn step(&mut self) -> Result<Next, RestoreFailure> {
        let item = self.items.next_item().map_err(RestoreError::from)?;
        let Some(item) = item else { return Err(RestoreError::Early.into()) };
        let frame = match item.content {
            Content::LibxcHeader(header) => {
                self.version = header.version;
                self.rebuild = Some(Rebuild::begin(self.xen.clone(), self.domain, &header)?);
                return Ok(Next::Go);
            }
            Content::Libxc(frame) => frame,
            _ => return Err(RestoreError::Order("it has a record that is not libxc's").into()),
        };
        let rebuild = self.rebuild.as_mut().ok_or(RestoreError::Early)?;
        let record = Record::parse(frame).map_err(RestoreError::from)?;
        match (&record, &mut self.buffered) {
            (Record::End, _) => return Ok(Next::Complete),
            (Record::Checkpoint, _) => return self.checkpoint(),
            (Record::StaticDataEnd, None) => {
                self.channel.static_data_done(rebuild.finish_static_data()?)?;
            }
            (_, Some(buffered)) => buffered.push(item.bytes)?,
            (_, None) => {
                if self.version == 2 && Rebuild::needs_static_data(&record) && !rebuild.is_static_done() {
                    self.channel.static_data_done(rebuild.finish_static_data()?)?;
                }
                rebuild.apply(&record)?;
            }
        }
        Ok(Next::Go)
    }

    /// libxc's part of a checkpoint has arrived. libxl reads its own; then the checkpoint counts.
    fn checkpoint(&mut self) -> Result<Next, RestoreFailure> {
        if self.kind == StreamKind::Plain {
            return Err(RestoreError::Order("a plain stream has a checkpoint").into());
        }
        match (self.channel.checkpoint()?, &mut self.buffered, &mut self.rebuild) {
            (CHECKPOINT_READ, Some(buffered), Some(rebuild)) => buffered.apply_to(rebuild)?,
            (CHECKPOINT_READ, none, _) => {
                let info = self.xen.domain_info(self.domain).map_err(RestoreError::from)?;
                let pages = info.ok_or(RestoreError::Early)?.max_pages.min(1 << 28) as usize;
                let bytes_max = pages * (understudy_checkpoint::PAGE_SIZE + 8) + STATE_BYTES_MAX;
                *none = Some(Buffered { bytes: Vec::new(), bytes_max });
            }
            (CHECKPOINT_FAILOVER, Some(_), _) => return Ok(Next::Complete),
            (reply, ..) => return Err(ChannelError::Refused { what: "checkpoint", reply }.into()),
        }
        Ok(Next::Go)
    }
}

/// Whether the stream is at fault. What came before the fault remains valid.
fn is_of_input(error: &RestoreError) -> bool {
    matches!(
        error,
        RestoreError::Stream(StreamError::Io(_) | StreamError::Fault(_))
            | RestoreError::Record(_)
            | RestoreError::Early
            | RestoreError::TooLarge(_)
    )
}
