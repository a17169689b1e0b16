//! [`PeerAddress`]: an address to connect to, and the address of this host to do so from.

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;

/// One of the addresses of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerAddress {
    /// Where the peer listens.
    pub remote: SocketAddr,
    /// The own address, which chooses the network; `None`: as the kernel has it.
    pub from: Option<IpAddr>,
}

impl PeerAddress {
    /// Begins to connect.
    pub(super) fn connect(self) -> io::Result<mio::net::TcpStream> {
        let Some(from) = self.from else { return mio::net::TcpStream::connect(self.remote) };
        let family = if from.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket::socket(family, SockType::Stream, flags, None)?;
        socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(from, 0))).map_err(
            |error| {
                let error = io::Error::from(error);
                io::Error::new(error.kind(), format!("this host cannot connect from {from}: {error}"))
            },
        )?;
        match socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(self.remote)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(mio::net::TcpStream::from_std(TcpStream::from(socket))),
            Err(error) => Err(error.into()),
        }
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(remote: SocketAddr) -> Self {
        Self { remote, from: None }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.remote)?;
        self.from.map_or(Ok(()), |from| write!(f, "@{from}"))
    }
}
