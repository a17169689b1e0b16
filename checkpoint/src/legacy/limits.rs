//! What a legacy stream may claim before it is refused. Memory is taken only for bytes that arrived.

/// Frames of a guest: senders since Xen 4.0 refuse more, earlier ones cannot say more.
pub const FRAMES_MAX: u32 = 0x0FFF_FFFF;

/// Entries of a batch.
pub const BATCH_ENTRIES_MAX: usize = 1024;

/// A block of the extended info. Known ones have at most 5,168 bytes.
pub const INFO_BLOCK_BYTES_MAX: usize = 64 << 10;

/// Numbers of vCPUs are below this.
pub const VCPUS_MAX: u32 = 4096;

/// What XSAVE keeps of a vCPU: at least xcr0 and xcr0_accum.
pub const XSAVE_BYTES: std::ops::RangeInclusive<u64> = 16..=64 << 10;

/// An HVM context.
pub const HVM_CONTEXT_BYTES_MAX: usize = 16 << 20;

/// A chunk of compressed pages: the sender's buffer.
pub const COMPRESSED_BYTES_MAX: usize = 16 << 20;

/// What libxl says of the device model's memory.
pub const TOOLSTACK_BYTES_MAX: usize = 1 << 20;

/// A device model's state.
pub const EMULATOR_BYTES_MAX: usize = 64 << 20;

/// xl's configuration, or libvirt's XML.
pub const CONFIG_BYTES_MAX: usize = 4 << 20;

/// What one checkpoint after the first may bring before it is whole: until then it waits in memory.
pub const CHECKPOINT_BYTES_MAX: usize = 1 << 30;

/// Pages that compressed checkpoints may refer to. A sender keeps the 8,192 that it sent last; twice as many hold all of
/// these whatever the order in which both sides forget.
pub const REMEMBERED_PAGES_MAX: usize = 16_384;
