//! Xen's migration v2 record stream: parses, writes and verifies it. No sockets, no hypervisor. Bytes come in as slices
//! (or from anything that can be read) and leave in buffers that the caller owns.
//!
//! ```text
//!   xl header + config                                     [xl]
//!   └ libxl header                                         [libxl]
//!     └ LIBXC_CONTEXT
//!       └ libxc headers, static records, memory, state     [libxc]
//!         ├ plain:         END ─► device model ─► libxl END
//!         └ checkpointed:  CHECKPOINT ─► device model ─► CHECKPOINT_END ─► memory, state, CHECKPOINT …
//! ```
//!
//! * [`Reader`] parses bytes into [`Item`]s; [`Items`] does so from anything that can be read
//! * [`xl`], [`libxl`], [`libxc`] the layers: headers and typed records
//! * [`Recording`] a recorded stream, epoch by epoch; [`write_restore_file`] writes a file for `xl restore`
//! * [`verify()`] judges a stream, [`verify_restore_file`] an epoch before it is written; [`inspect()`] describes a
//!   stream
//! * [`back`] the messages of the receiver
//! * [`limits`] limits of a stream; [`Rule`] the rules that it must keep

#![forbid(unsafe_code)]

pub mod back;
mod config;
mod container;
mod fault;
mod frame;
mod input;
mod inspect;
mod kinds;
mod lengths;
pub mod libxc;
pub mod libxl;
pub mod limits;
mod reader;
mod recording;
mod restore_file;
mod verify;
pub mod xl;

pub use config::GuestConfig;
pub(crate) use container::compressed_by;
pub use fault::{Defect, Fault, Layer, Place, Rule};
pub use frame::{FRAME_HEADER_BYTES, Frame, OPTIONAL};
pub use input::{Items, StreamError};
pub use inspect::{EpochSummary, Inspection, PageCounts, RecordCount, inspect};
pub use limits::BATCH_ENTRIES_MAX;
pub use reader::{Content, Ending, Item, Reader, Step};
pub use recording::{RecordedEpoch, Recording};
pub use restore_file::{Committed, write_head, write_pages, write_restore_file, write_staged, write_state};
pub use verify::{Verdict, Verifier, verify, verify_restore_file};
