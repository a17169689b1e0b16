//! The five system calls without a safe wrapper: two ioctls of the TUN driver, a netlink socket option, loading a
//! classifier of four instructions, and querying the programs attached to an interface.
//!
//! This is the only `unsafe` code of this crate, and it decides nothing. Numbers: `linux/if_tun.h`, `linux/netlink.h`,
//! `linux/bpf.h`.

#![allow(unsafe_code)]

use nix::errno::Errno;
use nix::libc;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// `IFF_TAP`: frames with Ethernet header.
pub(super) const IFF_TAP: u16 = 0x0002;
/// `IFF_NO_PI`: no four bytes of packet information in front.
pub(super) const IFF_NO_PI: u16 = 0x1000;
/// `IFF_VNET_HDR`: `struct virtio_net_hdr` in front, so that unfinished checksums and super-packets pass.
pub(super) const IFF_VNET_HDR: u16 = 0x4000;

/// `TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN`: the reader accepts super-packets and unfinished checksums.
pub(super) const OFFLOAD_TCP: u32 = 0x01 | 0x02 | 0x04 | 0x08;
/// `TUN_F_USO4 | TUN_F_USO6`, known since Linux 6.2.
pub(super) const OFFLOAD_UDP: u32 = 0x20 | 0x40;

/// `struct ifreq` as TUNSETIFF uses it: name and flags; the rest is unused.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    unused: [u8; 22],
}

mod raw {
    // The driver takes the request number with the size of an int, whatever it reads (linux/if_tun.h).
    nix::ioctl_readwrite_bad!(tun_set_iff, nix::request_code_write!(b'T', 202, 4), super::InterfaceRequest);
    nix::ioctl_write_int_bad!(tun_set_offload, nix::request_code_write!(b'T', 208, 4));
}

/// `TUNSETIFF`: attaches `tun` to the interface `name`, and creates the interface if it does not exist. A name of more
/// than 15 bytes is refused with `ENAMETOOLONG`.
pub(super) fn tun_set_iff(tun: impl AsFd, name: &str, flags: u16) -> Result<(), Errno> {
    let mut request = InterfaceRequest { name: [0; 16], flags, unused: [0; 22] };
    if name.len() >= request.name.len() {
        return Err(Errno::ENAMETOOLONG);
    }
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: the descriptor is open for the length of the call, and `request` has the size of struct ifreq
    // (40 bytes), which is all that the driver reads and writes back.
    unsafe { raw::tun_set_iff(tun.as_fd().as_raw_fd(), &mut request) }.map(drop)
}

/// `TUNSETOFFLOAD`: sets which unfinished frames the reader accepts.
pub(super) fn tun_set_offload(tun: impl AsFd, offload: u32) -> Result<(), Errno> {
    let offload = i32::try_from(offload).map_err(|_| Errno::EINVAL)?;
    // SAFETY: the descriptor is open for the length of the call; the argument is a number, no pointer.
    unsafe { raw::tun_set_offload(tun.as_fd().as_raw_fd(), offload) }.map(drop)
}

/// The instructions of a classifier that marks every frame and matches it, as `struct bpf_insn`s.
///
/// ```text
///   r2 = mark;  *(u32 *)(r1 + offsetof(struct __sk_buff, mark)) = r2;  r0 = -1;  exit
/// ```
fn marker(mark: u32) -> [[u8; 8]; 4] {
    const MARK_OFFSET: u8 = 8;
    let constant = |opcode: u8, register: u8, value: u32| {
        let [a, b, c, d] = value.to_ne_bytes();
        [opcode, register, 0, 0, a, b, c, d]
    };
    let mut store = [0x63, 0x21, 0, 0, 0, 0, 0, 0];
    store[2..4].copy_from_slice(&u16::from(MARK_OFFSET).to_ne_bytes());
    [constant(0xb4, 2, mark), store, constant(0xb7, 0, u32::MAX), constant(0x95, 0, 0)]
}

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgramLoad {
    program_type: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// `bpf(BPF_PROG_LOAD)`: a classifier that gives every frame `mark`. Needs CAP_BPF or CAP_SYS_ADMIN.
pub(super) fn load_marker(mark: u32) -> Result<OwnedFd, Errno> {
    const BPF_PROG_LOAD: i32 = 5;
    const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
    let instructions = marker(mark);
    let license = c"MIT or Apache-2.0";
    let load = ProgramLoad {
        program_type: BPF_PROG_TYPE_SCHED_CLS,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads `load` by the size given, and through it the instructions and the license, which
    // all live through the call; it writes nothing, for there is no log.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<ProgramLoad>()) };
    let descriptor = i32::try_from(Errno::result(result)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Where a program of `bpf(2)` sees frames of an interface, before or behind its filters (`enum bpf_attach_type`).
#[derive(Clone, Copy, Debug)]
pub(super) enum TcxHook {
    Ingress = 46,
    Egress = 47,
}

/// The beginning of `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
#[derive(Default)]
struct ProgramQuery {
    interface: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    program_ids: u64,
    count: u32,
    padding: u32,
    program_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// `bpf(BPF_PROG_QUERY)`: the number of programs that `bpf(2)` attached to a hook of the interface `index`. Kernels
/// before 6.6 have no such hook and refuse this with `EINVAL`.
pub(super) fn tcx_programs(index: u32, hook: TcxHook) -> Result<u32, Errno> {
    const BPF_PROG_QUERY: i32 = 16;
    let mut query = ProgramQuery { interface: index, attach_type: hook as u32, ..Default::default() };
    // SAFETY: the kernel reads and writes `query` by the size given; the addresses in it are zero, which means that only
    // the count is wanted.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_QUERY, &raw mut query, size_of::<ProgramQuery>()) };
    Errno::result(result).map(|_| query.count)
}

/// `NETLINK_EXT_ACK`: asks for an explanation in words with each refusal.
pub(super) fn netlink_ext_ack(socket: impl AsFd) -> Result<(), Errno> {
    let on: i32 = 1;
    // SAFETY: `on` lives through the call, and its size is the one that is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_NETLINK,
            libc::NETLINK_EXT_ACK,
            (&raw const on).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}

/// For tests: attaches programs that let every frame pass, by a `bpf_link`. Closing it detaches the program.
#[cfg(test)]
pub(super) mod programs {
    use super::*;

    /// An attached program.
    pub(crate) struct Attached(#[allow(dead_code, reason = "closed when it is dropped")] OwnedFd);

    /// `BPF_XDP` in the kernel's generic mode, which every interface supports.
    pub(crate) fn attach_xdp(index: u32) -> Attached {
        const XDP_FLAGS_SKB_MODE: u32 = 2;
        // BPF_PROG_TYPE_XDP, XDP_PASS.
        attach(6, 2, index, 37, XDP_FLAGS_SKB_MODE)
    }

    /// `BPF_TCX_INGRESS`.
    pub(crate) fn attach_tcx(index: u32) -> Attached {
        // BPF_PROG_TYPE_SCHED_CLS, TCX_PASS.
        attach(3, 0, index, TcxHook::Ingress as u32, 0)
    }

    fn attach(program_type: u32, verdict: u32, index: u32, attach_type: u32, flags: u32) -> Attached {
        let [a, b, c, d] = verdict.to_ne_bytes();
        let instructions: [[u8; 8]; 2] = [[0xb7, 0, 0, 0, a, b, c, d], [0x95, 0, 0, 0, 0, 0, 0, 0]];
        let license = c"MIT or Apache-2.0";
        let load = ProgramLoad {
            program_type,
            instruction_count: instructions.len() as u32,
            instructions: instructions.as_ptr() as u64,
            license: license.as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel_version: 0,
            flags: 0,
        };
        let size = size_of::<ProgramLoad>();
        // SAFETY: as in `load_marker`: the kernel reads what lives through the call, by the sizes given.
        let program = unsafe { libc::syscall(libc::SYS_bpf, 5, &raw const load, size) };
        // SAFETY: the kernel has just made this descriptor for us.
        let program = unsafe { OwnedFd::from_raw_fd(Errno::result(program).unwrap() as i32) };
        let link = [program.as_raw_fd() as u32, index, attach_type, flags, 0, 0, 0, 0, 0, 0];
        // SAFETY: `BPF_LINK_CREATE` reads these 40 bytes, which live through the call, and writes nothing.
        let link = unsafe { libc::syscall(libc::SYS_bpf, 28, link.as_ptr(), size_of_val(&link)) };
        // SAFETY: as above.
        Attached(unsafe { OwnedFd::from_raw_fd(Errno::result(link).unwrap() as i32) })
    }
}
