//! [`Recorded`]: a recorded stream played as a guest. Each epoch of the recording is an epoch of the source.
//!
//! ```text
//!   describe           reads the first copy: the guest is at the recording's first checkpoint
//!   first suspend      changes nothing: the first copy ends with that checkpoint
//!   each later one     plays the next complete epoch: its pages are dirty, its state is captured
//! ```
//!
//! Nothing happens between two suspends, so the caller determines the pace. What follows the last complete epoch is
//! never played.

use std::io::Read;
use understudy_checkpoint::Pfn;
use understudy_checkpoint::domain::{Description, DomainError, DomainState, Source};
use understudy_checkpoint::epoch::{Image, Staging};
use understudy_checkpoint::pages::DirtyBitmap;
use understudy_checkpoint::stream::{RecordedEpoch, Recording, StreamError};

/// A recording as a [`Source`].
#[derive(Debug)]
pub struct Recorded<R> {
    recording: Recording<R>,
    epoch: RecordedEpoch,
    guest: Guest,
    /// The least number of frames that the guest has.
    page_count_min: u64,
}

/// What is known of the guest.
#[derive(Debug)]
enum Guest {
    /// The first copy has not been read yet.
    Unread,
    /// Memory and dirty log; the guest is at a checkpoint of the recording.
    Standing { image: Image, dirty: DirtyBitmap, life: Life },
}

/// The guest's state between two checkpoints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    /// Running, and not suspended yet.
    Fresh,
    Running,
    Suspended,
}

impl<R: Read + Send> Recorded<R> {
    /// A source that plays `input`, a stream of any layer, plain or checkpointed.
    pub fn new(input: R) -> Self {
        let epoch = RecordedEpoch::default();
        Self { recording: Recording::new(input), epoch, guest: Guest::Unread, page_count_min: 0 }
    }

    /// Makes room for frames up to `pfn_max`, the highest in any epoch: a guest is described before its later epochs
    /// are read, and its frames are counted only once.
    pub fn with_room_up_to(mut self, pfn_max: u64) -> Self {
        self.page_count_min = pfn_max + 1;
        self
    }

    /// The guest's name, if the recording has its configuration. Known after `describe`.
    pub fn name(&self) -> Option<&str> {
        self.recording.guest().name.as_deref()
    }
}

fn unread() -> DomainError {
    DomainError::Failed("A recording must be described before anything else is asked of it".into())
}

fn broken(error: StreamError) -> DomainError {
    DomainError::Failed(format!("The recording cannot be played: {error}"))
}

impl<R: Read + Send> Source for Recorded<R> {
    fn describe(&mut self) -> Result<Description, DomainError> {
        if !matches!(self.guest, Guest::Unread) {
            return Err(DomainError::Failed("A recording is described once".into()));
        }
        let (mut description, mut image) = self.recording.first_copy().map_err(broken)?;
        image.grow(self.page_count_min);
        description.page_count = image.page_count();
        let dirty = DirtyBitmap::try_new(description.page_count)?;
        self.guest = Guest::Standing { image, dirty, life: Life::Fresh };
        Ok(description)
    }

    fn begin_log_dirty(&mut self) -> Result<(), DomainError> {
        match &mut self.guest {
            Guest::Unread => Err(unread()),
            Guest::Standing { dirty, .. } => {
                dirty.clear();
                Ok(())
            }
        }
    }

    fn end_log_dirty(&mut self) -> Result<(), DomainError> {
        Ok(())
    }

    fn suspend(&mut self) -> Result<(), DomainError> {
        let Guest::Standing { image, dirty, life } = &mut self.guest else {
            return Err(unread());
        };
        if *life == Life::Running {
            if !self.recording.next_epoch(&mut self.epoch).map_err(broken)? {
                return Err(DomainError::EndOfRecording);
            }
            if let Some(Pfn(pfn)) = self.epoch.pfn_max().filter(|pfn| pfn.0 >= dirty.page_count()) {
                let (epoch, below) = (self.recording.checkpoints(), dirty.page_count());
                return Err(DomainError::Failed(format!(
                    "Checkpoint {epoch} of the recording names frame {pfn:#x}, but the guest was described with frames \
                     below {below:#x}; read the recording's highest frame first"
                )));
            }
            self.epoch.apply_to(image);
            self.epoch.entries().iter().for_each(|entry| dirty.set(entry.pfn()));
        }
        *life = Life::Suspended;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), DomainError> {
        match &mut self.guest {
            Guest::Standing { life: life @ Life::Suspended, .. } => *life = Life::Running,
            Guest::Standing { .. } | Guest::Unread => {}
        }
        Ok(())
    }

    fn drain_dirty(&mut self, into: &mut DirtyBitmap) -> Result<(), DomainError> {
        match &mut self.guest {
            Guest::Unread => Err(unread()),
            Guest::Standing { dirty, .. } => {
                dirty.drain_into(into);
                Ok(())
            }
        }
    }

    fn copy_pages(
        &mut self,
        wanted: &DirtyBitmap,
        from: Pfn,
        staging: &mut Staging,
        copiers: usize,
    ) -> Result<Option<Pfn>, DomainError> {
        match &self.guest {
            Guest::Unread => Err(unread()),
            Guest::Standing { image, .. } => Ok(image.copy_pages(wanted, from, staging, copiers)),
        }
    }

    fn capture_state(&mut self, into: &mut DomainState) -> Result<(), DomainError> {
        match &self.guest {
            Guest::Standing { image, life: Life::Suspended, .. } => {
                into.clone_from(image.state());
                Ok(())
            }
            Guest::Standing { .. } => {
                Err(DomainError::Failed("State is captured only while the guest is suspended".into()))
            }
            Guest::Unread => Err(unread()),
        }
    }
}
