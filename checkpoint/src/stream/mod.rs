//! Xen's migration v2 record stream: read, written, verified. No sockets, no hypervisor; bytes come in as
//! slices (or from anything that can be read) and leave in buffers that the caller owns.
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
//! * [`Reader`] bytes in, [`Item`]s out; [`Items`] does so from anything that can be read
//! * [`xl`], [`libxl`], [`libxc`] the layers: headers and typed records, read and written
//! * [`Recording`] a recorded stream epoch by epoch; [`write_restore_file`] a file that `xl restore` takes
//! * [`verify()`] judges a stream, [`verify_restore_file`] an epoch before it is written, [`inspect()`] tells what it holds
//! * [`back`] what comes back from the receiver
//! * [`limits`] what a stream may claim; [`Rule`] what can be wrong with one

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
pub use fault::{Defect, Fault, Layer, Place, Rule};
pub use frame::{FRAME_HEADER_BYTES, Frame, OPTIONAL};
pub use input::{Items, StreamError};
pub use inspect::{EpochSummary, Inspection, PageCounts, RecordCount, inspect};
pub use reader::{Content, Ending, Item, Reader, Step};
pub use recording::{RecordedEpoch, Recording};
pub use restore_file::{Committed, write_head, write_pages, write_restore_file, write_state};
pub use verify::{Verdict, Verifier, verify, verify_restore_file};
