//! The messages of a save helper to libxl, and libxl's replies (`tools/libs/light/libxl_save_msgs_gen.pl`).
//!
//! ```text
//!   helper ── stdout ──►  u16 length │ u16 number │ arguments, packed, in the machine's byte order
//!   helper ◄── stdin ───  i32 reply                 to 3 … 8 and 10
//!
//!   1 log   2 progress   3 suspend   4 postcopy   5 checkpoint   6 wait_checkpoint
//!   7 switch_qemu_logdirty   8 static_data_done   9 restore_results   10 complete
//! ```
//!
//! A mask on the command line says which of 3 … 9 libxl answers. The others are never sent.

use crate::restore::{MissingData, RingFrames};
use std::io::{self, Read, Write};

/// The numbers of messages.
mod number {
    pub(super) const LOG: u16 = 1;
    pub(super) const PROGRESS: u16 = 2;
    pub(super) const SUSPEND: u16 = 3;
    pub(super) const POSTCOPY: u16 = 4;
    pub(super) const CHECKPOINT: u16 = 5;
    pub(super) const SWITCH_QEMU_LOGDIRTY: u16 = 7;
    pub(super) const STATIC_DATA_DONE: u16 = 8;
    pub(super) const RESTORE_RESULTS: u16 = 9;
    pub(super) const COMPLETE: u16 = 10;
}

/// Severities of libxl's log (`xentoollog.h`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u32)]
pub enum Level {
    /// For developers.
    Debug = 1,
    /// Worth reading with `-v`.
    Detail = 3,
    /// Worth reading.
    Info = 5,
    /// Something to look at.
    Warning = 7,
    /// The operation fails.
    Error = 8,
}

/// The longest text of one message: the length field has 16 bits, and three texts share it.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// The sender's name in libxl's log.
const CONTEXT: &str = "understudy";

/// libxl does not answer any more, or not as expected.
#[derive(thiserror::Error, Debug)]
pub enum ChannelError {
    /// The pipes to libxl broke.
    #[error("libxl does not answer the save helper any more ({0}); it has probably been ended")]
    Io(#[from] io::Error),
    /// libxl refused.
    #[error("libxl's {what} failed (it answered {reply}); its own log says why")]
    Refused {
        /// Name of the message.
        what: &'static str,
        /// libxl's answer: negative, or a value that the message does not define.
        reply: i32,
    },
    /// libxl does not answer a message that this stream needs.
    #[error("libxl does not offer {0} to its save helper; this kind of stream needs it")]
    NotOffered(&'static str),
}

/// The two pipes to libxl.
pub struct Channel {
    messages: Box<dyn Write + Send>,
    replies: Box<dyn Read + Send>,
    /// Bit n is set if libxl answers message n.
    offered: u32,
    buffer: Vec<u8>,
}

impl Channel {
    /// A channel that writes `messages` and reads `replies`. `offered` is the mask from the command line.
    pub fn new(
        messages: impl Write + Send + 'static,
        replies: impl Read + Send + 'static,
        offered: u32,
    ) -> Self {
        Self { messages: Box::new(messages), replies: Box::new(replies), offered, buffer: Vec::new() }
    }

    /// Writes a line to libxl's log. A failure is ignored.
    pub fn log(&mut self, level: Level, text: &str) {
        let mut arguments = Vec::new();
        arguments.extend((level as u32).to_ne_bytes());
        arguments.extend((-1i32).to_ne_bytes()); // no errno
        put_text(&mut arguments, CONTEXT);
        put_text(&mut arguments, text);
        let _ = self.send(number::LOG, &arguments);
    }

    /// Reports progress of `what`.
    pub fn progress(&mut self, what: &str, done: u64, total: u64) {
        let mut arguments = Vec::new();
        put_text(&mut arguments, CONTEXT);
        put_text(&mut arguments, what);
        arguments.extend(done.to_ne_bytes());
        arguments.extend(total.to_ne_bytes());
        let _ = self.send(number::PROGRESS, &arguments);
    }

    /// Suspends the guest.
    pub fn suspend(&mut self) -> Result<(), ChannelError> {
        self.demand(number::SUSPEND, "suspend")
    }

    /// Reports that everything of the epoch is copied: libxl lets the guest continue.
    pub fn postcopy(&mut self) -> Result<(), ChannelError> {
        self.demand(number::POSTCOPY, "postcopy")
    }

    /// Reports that libxc's part of a checkpoint was written or read; libxl's part follows on the same stream. Returns
    /// libxl's answer.
    pub fn checkpoint(&mut self) -> Result<i32, ChannelError> {
        self.ask(number::CHECKPOINT, "checkpoint", &[])
    }

    /// Makes the device model report the frames it writes.
    pub fn switch_qemu_logdirty(&mut self, domain: u32, on: bool) -> Result<(), ChannelError> {
        if !self.is_offered(number::SWITCH_QEMU_LOGDIRTY) {
            return Ok(());
        }
        let arguments = [domain.to_ne_bytes(), u32::from(on).to_ne_bytes()].concat();
        let what = "switch_qemu_logdirty";
        match self.ask(number::SWITCH_QEMU_LOGDIRTY, what, &arguments)? {
            0 => Ok(()),
            reply => Err(ChannelError::Refused { what, reply }),
        }
    }

    /// Reports that the stream's static data are complete, except for `missing`.
    pub fn static_data_done(&mut self, missing: MissingData) -> Result<(), ChannelError> {
        if !self.is_offered(number::STATIC_DATA_DONE) {
            return Ok(());
        }
        let what = "static_data_done";
        match self.ask(number::STATIC_DATA_DONE, what, &missing.bits().to_ne_bytes())? {
            0 => Ok(()),
            reply => Err(ChannelError::Refused { what, reply }),
        }
    }

    /// Reports the frames of the rebuilt guest's rings.
    pub fn restore_results(&mut self, rings: RingFrames) -> Result<(), ChannelError> {
        let arguments = [rings.store.0.to_ne_bytes(), rings.console.0.to_ne_bytes()].concat();
        Ok(self.send(number::RESTORE_RESULTS, &arguments)?)
    }

    /// Reports the result. This is the last message.
    pub fn complete(&mut self, retval: i32, errno: i32) -> Result<(), ChannelError> {
        self.send(number::COMPLETE, &[retval.to_ne_bytes(), errno.to_ne_bytes()].concat())?;
        self.reply().map(|_| ())
    }

    fn is_offered(&self, number: u16) -> bool {
        self.offered >> number & 1 == 1
    }

    /// Sends a request that libxl answers with 1 if it was done.
    fn demand(&mut self, number: u16, what: &'static str) -> Result<(), ChannelError> {
        match self.ask(number, what, &[])? {
            1 => Ok(()),
            reply => Err(ChannelError::Refused { what, reply }),
        }
    }

    fn ask(&mut self, number: u16, what: &'static str, arguments: &[u8]) -> Result<i32, ChannelError> {
        if !self.is_offered(number) {
            return Err(ChannelError::NotOffered(what));
        }
        self.send(number, arguments)?;
        self.reply()
    }

    fn reply(&mut self) -> Result<i32, ChannelError> {
        let mut reply = [0; 4];
        self.replies.read_exact(&mut reply)?;
        Ok(i32::from_ne_bytes(reply))
    }

    fn send(&mut self, number: u16, arguments: &[u8]) -> io::Result<()> {
        self.buffer.clear();
        let length = u16::try_from(2 + arguments.len()).expect("texts are cut to fit");
        self.buffer.extend(length.to_ne_bytes());
        self.buffer.extend(number.to_ne_bytes());
        self.buffer.extend_from_slice(arguments);
        self.messages.write_all(&self.buffer)?;
        self.messages.flush()
    }
}

/// Appends a text with its NUL. A text that contains a NUL ends there, and a very long one is cut.
fn put_text(out: &mut Vec<u8>, text: &str) {
    let bytes = text.bytes().take_while(|byte| *byte != 0).take(TEXT_BYTES_MAX);
    let bytes: Vec<u8> = bytes.chain([0]).collect();
    out.extend((bytes.len() as u32).to_ne_bytes());
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking::Shared;

    /// A buffer that both the test and the channel can access.
    mod parking {
        use std::io::{self, Write};
        use std::sync::{Arc, Mutex};

        #[derive(Clone, Default)]
        pub(super) struct Shared(pub(super) Arc<Mutex<Vec<u8>>>);

        impl Write for Shared {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
    }

    fn channel(replies: &[i32], offered: u32) -> (Channel, Shared) {
        let said = Shared::default();
        let replies: Vec<u8> = replies.iter().flat_map(|reply| reply.to_ne_bytes()).collect();
        (Channel::new(said.clone(), io::Cursor::new(replies), offered), said)
    }

    #[test]
    fn messages_are_what_libxl_reads() {
        let (mut channel, said) = channel(&[1, 0, 0], 1 << 3 | 1 << 7);
        channel.suspend().unwrap();
        channel.switch_qemu_logdirty(5, true).unwrap();
        channel.log(Level::Info, "hi");
        channel.complete(-1, 22).unwrap();
        let said = said.0.lock().unwrap().clone();
        let expected: Vec<u8> = [
            &[2, 0, 3, 0][..],
            &[10, 0, 7, 0, 5, 0, 0, 0, 1, 0, 0, 0],
            &[32, 0, 1, 0, 5, 0, 0, 0, 255, 255, 255, 255, 11, 0, 0, 0],
            b"understudy\0",
            &[3, 0, 0, 0, b'h', b'i', 0],
            &[10, 0, 10, 0, 255, 255, 255, 255, 22, 0, 0, 0],
        ]
        .concat();
        assert_eq!(said, expected);
    }

    #[test]
    fn what_libxl_does_not_offer_is_not_asked() {
        let (mut channel, said) = channel(&[], 0);
        assert!(matches!(channel.suspend(), Err(ChannelError::NotOffered("suspend"))));
        channel.switch_qemu_logdirty(1, true).unwrap();
        channel.static_data_done(MissingData::empty()).unwrap();
        assert!(said.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_refusal_and_an_end_are_errors() {
        let (mut channel, _) = channel(&[0], 1 << 3);
        assert!(matches!(channel.suspend(), Err(ChannelError::Refused { what: "suspend", reply: 0 })));
        assert!(matches!(channel.suspend(), Err(ChannelError::Io(_))));
    }

    #[test]
    fn a_very_long_text_is_cut_and_one_with_a_nul_ends_there() {
        let (mut channel, said) = channel(&[], 0);
        channel.log(Level::Error, &"x".repeat(1 << 20));
        assert!(said.0.lock().unwrap().len() < 1 << 16);
        let mut out = Vec::new();
        put_text(&mut out, "a\0b");
        assert_eq!(out, [2, 0, 0, 0, b'a', 0]);
    }
}
