//! Taps: [`Tap`], which we create and which holds a guest's output, and [`GuestTap`], made by the host, which is the
//! network card of a guest that is not Xen's. A frame written to either arrives as received by its interface.
//!
//! The reader of a [`Tap`] gets frames as the guest sent them: super-packets, and frames with unfinished checksums.
//!
//! ```text
//!   what is read   | virtio_net_hdr, 10 bytes | destination | source | [VLAN tag] | type | payload … |
//! ```
//!
//! The header says what is unfinished (where the checksum starts, how long the segments are). We neither read nor
//! change it; it returns to the kernel with its frame. The driver puts a VLAN tag that the kernel keeps beside the
//! frame back into it.

use super::redirect::NAME_BYTES_MAX;
use super::{KernelError, sys};
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Which unfinished frames the reader of a tap accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offloads {
    /// Super-packets and partial checksums.
    All,
    /// None: the kernel segments frames and completes checksums before they are read.
    None,
}

/// An open tap. Its interface exists as long as this value does.
#[derive(Debug)]
pub struct Tap {
    file: File,
    name: String,
}

impl Tap {
    /// The most bytes that a read returns: a super-packet of 64 KiB, its Ethernet header, two VLAN tags and the virtio
    /// header.
    pub const READ_BYTES_MAX: usize = (64 << 10) + 64;

    /// Bytes of `struct virtio_net_hdr` (`linux/virtio_net.h`). All zero: nothing is unfinished.
    pub const HEADER_BYTES: usize = 10;

    /// Creates the tap `name` in the network namespace of the calling thread. Fails if another process holds it.
    pub fn create(name: &str, offloads: Offloads) -> Result<Self, KernelError> {
        let tap = Self::open(name, sys::IFF_VNET_HDR)?;
        let set = match offloads {
            // Kernels before 6.2 cut UDP super-packets into frames themselves.
            Offloads::All => sys::tun_set_offload(&tap.file, sys::OFFLOAD_TCP | sys::OFFLOAD_UDP)
                .or_else(|_| sys::tun_set_offload(&tap.file, sys::OFFLOAD_TCP)),
            Offloads::None => sys::tun_set_offload(&tap.file, 0),
        };
        set.map_err(|errno| KernelError::Tap { name: name.into(), errno })?;
        Ok(tap)
    }

    /// Opens the tap `name`, and creates it if it does not exist.
    fn open(name: &str, flags: u16) -> Result<Self, KernelError> {
        let failed = |errno| match errno {
            Errno::EBUSY => KernelError::InUse { name: name.into(), pid: 0 },
            Errno::EINVAL => KernelError::Foreign { name: name.into() },
            errno => KernelError::Tap { name: name.into(), errno },
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open("/dev/net/tun")
            .map_err(|error| failed(Errno::from_raw(error.raw_os_error().unwrap_or(0))))?;
        sys::tun_set_iff(&file, name, sys::IFF_TAP | sys::IFF_NO_PI | flags).map_err(failed)?;
        Ok(Self { file, name: name.into() })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Reads one frame with its header; `None` if none is waiting.
    pub fn read(&self, into: &mut [u8]) -> Result<Option<usize>, KernelError> {
        loop {
            match nix::unistd::read(&self.file, into) {
                Ok(bytes) => return Ok(Some(bytes)),
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => (),
                Err(errno) => return Err(self.failed(errno)),
            }
        }
    }

    /// Writes one frame with its header; `false` if the kernel refuses this frame.
    pub fn write(&self, frame: &[u8]) -> Result<bool, KernelError> {
        loop {
            match nix::unistd::write(&self.file, frame) {
                Ok(_) => return Ok(true),
                // There is no limit on what is under way: EAGAIN and ENOMEM mean that memory is short. EIO: somebody has
                // set the interface down, and may set it up again.
                Err(Errno::EINVAL | Errno::EAGAIN | Errno::ENOMEM | Errno::ENOBUFS | Errno::EIO) => {
                    return Ok(false);
                }
                Err(Errno::EINTR) => (),
                Err(errno) => return Err(self.failed(errno)),
            }
        }
    }

    fn failed(&self, errno: Errno) -> KernelError {
        let name = self.name.clone();
        match errno {
            // The interface was deleted.
            Errno::EBADFD | Errno::EIO => KernelError::Gone { name },
            errno => KernelError::Tap { name, errno },
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A guest's network card: a tap that the host made, and that stays when this value is dropped.
#[derive(Debug)]
pub struct GuestTap(Tap);

impl GuestTap {
    /// Opens the tap `name` in the network namespace of the calling thread. Needs CAP_NET_ADMIN, or a tap that was made
    /// for this user.
    pub fn open(name: &str) -> Result<Self, KernelError> {
        Self::check(name)?;
        Tap::open(name, 0).map(Self)
    }

    /// Fails if no interface is called `name`. Does not wait for the lock of the host's network configuration.
    pub fn check(name: &str) -> Result<(), KernelError> {
        if name.len() > NAME_BYTES_MAX {
            return Err(KernelError::LongName { name: name.into(), max: NAME_BYTES_MAX });
        }
        match nix::net::if_::if_nametoindex(name) {
            Ok(_) => Ok(()),
            Err(Errno::ENODEV) => Err(KernelError::NoTap { name: name.into() }),
            Err(errno) => Err(KernelError::Tap { name: name.into(), errno }),
        }
    }

    /// The name of the interface.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// Sends a frame; `false` if it is lost, for example because the interface is down.
    pub fn send(&self, frame: &[u8]) -> Result<bool, KernelError> {
        match self.0.write(frame) {
            Err(KernelError::Gone { .. }) => Ok(false),
            sent => sent,
        }
    }

    /// Reads a frame for the guest into `into`, truncated to its length. Returns the frame's length there; `None` if
    /// none is waiting.
    pub fn receive(&self, into: &mut [u8]) -> Result<Option<usize>, KernelError> {
        self.0.read(into)
    }
}

impl AsFd for GuestTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sched::{CloneFlags, unshare};
    use std::net::UdpSocket;
    use std::process::Command;

    /// The header of a datagram that this machine sends through a tap.
    fn header(offloads: Offloads) -> [u8; Tap::HEADER_BYTES] {
        unshare(CloneFlags::CLONE_NEWNET).expect("this test needs root and network namespaces");
        let tap = Tap::create("t0", offloads).unwrap();
        for words in
            ["link set t0 up", "addr add 10.9.9.1/24 dev t0", "neigh add 10.9.9.2 lladdr 02:0:0:0:0:2 dev t0"]
        {
            assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
        }
        UdpSocket::bind("10.9.9.1:0").unwrap().send_to(b"datagram", "10.9.9.2:7").unwrap();
        let mut bytes = vec![0; Tap::READ_BYTES_MAX];
        loop {
            match tap.read(&mut bytes).unwrap() {
                // Ethernet's header, IPv4's, its protocol: UDP. The stack also looks for IPv6 routers.
                Some(length)
                    if length > 10 + 23 && bytes[10 + 12..10 + 14] == [8, 0] && bytes[10 + 23] == 17 =>
                {
                    return *bytes.first_chunk().unwrap();
                }
                Some(_) => {}
                None => assert_ne!(
                    poll(&mut [PollFd::new(tap.as_fd(), PollFlags::POLLIN)], PollTimeout::from(20_000_u16)),
                    Ok(0),
                    "the datagram does not come"
                ),
            }
        }
    }

    #[test]
    #[ignore = "needs root and network namespaces"]
    fn work_is_left_to_the_reader_only_if_it_takes_it() {
        const NEEDS_CHECKSUM: u8 = 1;
        let flags = |offloads| std::thread::spawn(move || header(offloads)[0]).join().unwrap();
        assert_eq!(flags(Offloads::All), NEEDS_CHECKSUM);
        assert_eq!(flags(Offloads::None), 0);
    }
}
