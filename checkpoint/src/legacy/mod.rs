//! Legacy streams: what Xen 3.1 to 4.5 saved and sent, and their conversion to streams of today.
//!
//! ```text
//!   envelope   xl's or libvirt's header, or none
//!   head       p2m_size; of a PV guest: extended info and the frames of its P2M table
//!   body       chunks: batches of pages, and what is to be known of the guest
//!   tail       vCPUs and platform; of an HVM guest the device model's record
//!   …          Remus: body and tail again, for each checkpoint
//! ```
//!
//! A stream was written by the sender's own C types: its words have the size of its toolstack's, and nothing in it says
//! which. Both that and the guest's kind are found from the first bytes ([`Head`]).
//!
//! * [`Head`] tells a legacy stream; [`recognise`] tells one with what stands around it
//! * [`Reader`] bytes in, [`Item`]s out
//! * [`Converter`] bytes in, bytes out; [`convert`] from and to anything ([`Channel`])
//! * [`limits`] what a stream may claim; [`Rule`] what can be wrong with one
//!
//! Not here: what a stream of today is ([`stream`](crate::stream)), files and pipes (the command).

#![forbid(unsafe_code)]

mod batch;
mod body;
mod bytes;
mod chunk;
mod convert;
mod delta;
mod envelope;
mod fault;
mod head;
mod held;
mod info;
mod item;
pub mod limits;
mod options;
mod reader;
mod recognise;
mod remembered;
mod tail;
mod tmem;
mod toolstack;
mod transfer;
mod word_size;

pub use chunk::Chunk;
pub use convert::{Action, Converter};
pub use envelope::Envelope;
pub use fault::{Defect, Fault, Rule};
pub use head::{HEAD_BYTES, Head};
pub use item::{Expect, Item, Run, Step};
pub use options::{After, Layer, Options, Report};
pub use reader::Reader;
pub use recognise::{Recognised, recognise};
pub use transfer::{Channel, ConvertError, Copying, Side, convert};
pub use word_size::WordSize;
