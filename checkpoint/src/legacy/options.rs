//! What a conversion is asked to do, and what it reports.

use super::envelope::Envelope;
use super::head::Head;
use super::word_size::WordSize;
use crate::stream::libxc::DomainType;

/// What the result begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layer {
    /// The envelope, if there is one, and libxl's stream.
    Whole,
    /// libxl's stream; there is no envelope.
    Libxl,
    /// libxc's stream, the device model's record behind it as it was.
    Libxc {
        /// The record stays where it is.
        skip_emulator: bool,
    },
}

/// What to do after a tail, if the stream does not say whether it was the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// Look whether the input goes on: it is a file.
    Look,
    /// Stop: a sender may be waiting for an answer.
    Stop,
    /// A person says that it is a stream of Remus.
    Remus,
    /// A person says that it is not.
    Plain,
}

/// What is asked of a conversion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// What the result begins with.
    pub layer: Layer,
    /// What a person says of the sender's word.
    pub word: Option<WordSize>,
    /// What a person says of the guest.
    pub guest: Option<DomainType>,
    /// Whether there may be another body.
    pub after: After,
}

/// What was converted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// What stood around the stream.
    pub envelope: Envelope,
    /// What the stream was.
    pub head: Head,
    /// Complete checkpoints: 1 for a plain stream.
    pub checkpoints: u64,
    /// Another checkpoint began, and was not complete.
    pub dropped: bool,
    /// Another checkpoint may follow; nobody looked.
    pub not_looked: bool,
    /// Bytes of the input that were the stream's.
    pub bytes: u64,
}
