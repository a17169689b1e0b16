//! The command line with which libxl runs its save helper, and what the helper does then.
//!
//! ```text
//!   --save-domain    IO_FD RECV_FD DOMID FLAGS CALLBACKS STREAM_TYPE
//!   --restore-domain IO_FD BACK_FD DOMID STORE_PORT STORE_DOMID CONSOLE_PORT CONSOLE_DOMID CALLBACKS STREAM_TYPE
//! ```
//!
//! The exit code is 0 once libxl has received the final message, even if that reports a failure
//! (`tools/libs/light/libxl_save_helper.c`).

use super::channel::{Channel, ChannelError, Level};
use super::restore::{Restore, RestoreFailure};
use super::save::{Save, SaveError, StreamKind};
use super::signal;
use super::toolstack::Libxl;
use crate::domain::XenSource;
use crate::restore::{RingEnd, Rings};
use crate::standby::{STANDBY_VARIABLE, stand_by};
use crate::{DomId, Xen};
use nix::errno::Errno;
use std::fs::File;
use std::os::fd::RawFd;
use std::path::Path;
use understudy_checkpoint::domain::DomainError;

/// Save: copy most of the memory while the guest runs (`XCFLAGS_LIVE`, `xenguest.h`).
const FLAG_LIVE: u32 = 1 << 0;

/// What libxl asks of the helper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Write a domain's stream.
    Save {
        /// Descriptor that the stream is written to.
        stream: RawFd,
        /// The domain to save.
        domain: DomId,
        /// Whether memory is copied while the guest runs.
        live: bool,
        /// Messages that libxl answers.
        callbacks: u32,
        /// Once, or checkpoint after checkpoint.
        kind: StreamKind,
    },
    /// Fill an empty domain from a stream.
    Restore {
        /// Descriptor that the stream is read from.
        stream: RawFd,
        /// The domain to fill, which libxl has made.
        domain: DomId,
        /// Ports and backends of the guest's rings.
        rings: Rings,
        /// Messages that libxl answers.
        callbacks: u32,
        /// Plain or checkpointed.
        kind: StreamKind,
    },
}

/// The command line is not one of libxl's.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum UsageError {
    /// These are not libxl's arguments.
    #[error(
        "This is a save helper for libxl, not for the command line: set LIBXL_SAVE_HELPER to its path and use xl"
    )]
    NotLibxl,
    /// A number is missing or malformed.
    #[error("{0:?} is not a number that can stand there; libxl of Xen 4.17 to 4.22 gives others")]
    BadNumber(String),
    /// COLO streams are not supported.
    #[error("COLO streams are not supported yet; use xl remus without -c")]
    Colo,
}

impl Order {
    /// Parses the arguments after the program's name.
    pub fn parse(words: &[String]) -> Result<Self, UsageError> {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["--save-domain", stream, _back, domain, flags, callbacks, kind] => Ok(Self::Save {
                stream: number(stream)?,
                domain: DomId(number(domain)?),
                live: number::<u32>(flags)? & FLAG_LIVE != 0,
                callbacks: number(callbacks)?,
                kind: stream_kind(kind)?,
            }),
            [
                "--restore-domain",
                stream,
                _back,
                domain,
                store_port,
                store_domain,
                console_port,
                console_domain,
                callbacks,
                kind,
            ] => Ok(Self::Restore {
                stream: number(stream)?,
                domain: DomId(number(domain)?),
                rings: Rings {
                    store: RingEnd { port: number(store_port)?, backend: DomId(number(store_domain)?) },
                    console: RingEnd { port: number(console_port)?, backend: DomId(number(console_domain)?) },
                },
                callbacks: number(callbacks)?,
                kind: stream_kind(kind)?,
            }),
            _ => Err(UsageError::NotLibxl),
        }
    }

    /// Saves or restores the domain, and reports the result to libxl.
    pub fn carry_out(self) -> Result<(), ChannelError> {
        let (Self::Save { callbacks, .. } | Self::Restore { callbacks, .. }) = self;
        let mut channel = Channel::new(std::io::stdout(), std::io::stdin(), callbacks);
        let xen = match Xen::open() {
            Ok(xen) => xen,
            Err(error) => return fail(&mut channel, &error.to_string()),
        };
        match self {
            Self::Save { stream, domain, live, kind, .. } => {
                let source = XenSource::open(xen, domain, Libxl::new(channel, domain));
                save(source, stream, live, kind, callbacks)
            }
            Self::Restore { stream, domain, rings, kind, .. } => {
                let input = signal::stream(stream);
                match std::env::var_os(STANDBY_VARIABLE) {
                    Some(engine) => stand(&mut channel, xen, domain, input, rings, Path::new(&engine)),
                    None => restore(&mut channel, xen, domain, input, rings, kind),
                }
            }
        }
    }
}

fn save(
    source: Result<XenSource<Libxl>, DomainError>,
    stream: RawFd,
    live: bool,
    kind: StreamKind,
    callbacks: u32,
) -> Result<(), ChannelError> {
    let mut source = match source {
        Ok(source) => source,
        // The channel went with the source: libxl's pipes are still this process's.
        Err(error) => {
            return fail(
                &mut Channel::new(std::io::stdout(), std::io::stdin(), callbacks),
                &error.to_string(),
            );
        }
    };
    signal::break_stream_on_sigterm(stream);
    let out = signal::stream(stream);
    let copiers = std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4));
    let result = Save::new(&mut source, out, kind, copiers).and_then(|save| save.run(live));
    let channel = &mut source.toolstack().channel;
    match result {
        Ok(()) => channel.complete(0, 0),
        Err(SaveError::Channel(ChannelError::Io(gone))) => Err(ChannelError::Io(gone)),
        Err(error) => fail(channel, &error.to_string()),
    }
}

fn restore(
    channel: &mut Channel,
    xen: Xen,
    domain: DomId,
    input: File,
    rings: Rings,
    kind: StreamKind,
) -> Result<(), ChannelError> {
    match Restore::new(xen, domain, input, channel, kind).run(rings) {
        Ok(frames) => {
            channel.restore_results(frames)?;
            channel.complete(0, 0)
        }
        Err(RestoreFailure::Channel(ChannelError::Io(gone))) => Err(ChannelError::Io(gone)),
        Err(error) => fail(channel, &error.to_string()),
    }
}

/// An engine fills the domain: libxl waits until the engine says that it is done.
fn stand(
    channel: &mut Channel,
    xen: Xen,
    domain: DomId,
    input: File,
    rings: Rings,
    engine: &Path,
) -> Result<(), ChannelError> {
    let made = Restore::new(xen, domain, input, channel, StreamKind::Plain).run_empty();
    let result = made.map_err(|error| error.to_string()).and_then(|()| {
        stand_by(engine, domain, rings).map_err(|error| format!("No engine fills it: {error}"))
    });
    match result {
        Ok(frames) => {
            channel.restore_results(frames)?;
            channel.complete(0, 0)
        }
        Err(error) => fail(channel, &error),
    }
}

fn fail(channel: &mut Channel, why: &str) -> Result<(), ChannelError> {
    channel.log(Level::Error, why);
    channel.complete(-1, Errno::EIO as i32)
}

fn number<T: std::str::FromStr>(word: &str) -> Result<T, UsageError> {
    word.parse().map_err(|_| UsageError::BadNumber(word.into()))
}

fn stream_kind(word: &str) -> Result<StreamKind, UsageError> {
    match word {
        "0" => Ok(StreamKind::Plain),
        "1" => Ok(StreamKind::Remus),
        "2" => Err(UsageError::Colo),
        other => Err(UsageError::BadNumber(other.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Order, UsageError> {
        Order::parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn libxls_own_lines_are_understood() {
        let save = parse("--save-domain 8 -1 5 1 184 1").unwrap();
        let expected =
            Order::Save { stream: 8, domain: DomId(5), live: true, callbacks: 184, kind: StreamKind::Remus };
        assert_eq!(save, expected);
        let restore = parse("--restore-domain 9 -1 7 1 0 2 3 800 0").unwrap();
        let rings = Rings {
            store: RingEnd { port: 1, backend: DomId(0) },
            console: RingEnd { port: 2, backend: DomId(3) },
        };
        let expected =
            Order::Restore { stream: 9, domain: DomId(7), rings, callbacks: 800, kind: StreamKind::Plain };
        assert_eq!(restore, expected);
    }

    #[test]
    fn anything_else_is_refused_with_what_to_do() {
        assert_eq!(parse(""), Err(UsageError::NotLibxl));
        assert_eq!(parse("--save-domain 8 -1 5 1 184"), Err(UsageError::NotLibxl));
        assert_eq!(parse("--save-domain 8 -1 5 1 184 2"), Err(UsageError::Colo));
        assert_eq!(parse("--save-domain 8 -1 70000 1 184 0"), Err(UsageError::BadNumber("70000".into())));
    }
}
