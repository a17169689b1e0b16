//! Limits on what a stream may claim. Lengths come from the wire; memory is only allocated for bytes that have arrived,
//! and never for more than these.

/// Body bytes of any libxc record: Xen's REC_LENGTH_MAX. libxl has no limit of its own; it gets the same.
pub const RECORD_BYTES_MAX: usize = 128 << 20;

/// Body bytes of a record whose size is fixed or naturally small. Larger claims are refused before the body arrives;
/// smaller wrong sizes are read and reported.
pub const SMALL_RECORD_BYTES_MAX: usize = 64 << 10;

/// Optional data of the xl header. libxl's JSON of a guest with many devices has some tens of KiB.
pub const CONFIG_BYTES_MAX: usize = 4 << 20;

/// Pfns are below this: 1 TiB of guest address space. Stock Xen accepts any pfn of an HVM guest and grows a
/// bitmap to hold it, so that one record can exhaust its memory.
pub const PFNS_MAX: u64 = 1 << 28;

/// Entries of one PAGE_DATA record. Stock senders use 1,024; the record length alone would allow 16 million.
pub const PAGE_ENTRIES_MAX: usize = 1 << 20;

/// HVM parameters in one record. Xen knows 39.
pub const HVM_PARAMS_MAX: usize = 1024;

/// vCPU numbers are below this. Xen: 8,192 for PV, fewer for HVM.
pub const VCPUS_MAX: u32 = 8192;

/// The register blob of an extended vCPU context (struct `xen_domctl_ext_vcpucontext` has 128 bytes).
pub const VCPU_EXTENDED_BYTES_MAX: usize = 128;

/// An HVM context: some KiB for each vCPU.
pub const HVM_CONTEXT_BYTES_MAX: usize = 64 << 20;

/// QEMU's state of one device model: KiB to a few MiB, without its RAM.
pub const EMULATOR_CONTEXT_BYTES_MAX: usize = 64 << 20;

/// Keys and values of one device model in xenstore.
pub const XENSTORE_BYTES_MAX: usize = 1 << 20;

/// Pfns in one CHECKPOINT_DIRTY_PFN_LIST: what fits in a record.
pub const DIRTY_PFNS_MAX: usize = RECORD_BYTES_MAX / 8;

/// Entries of a PAGE_DATA record that we write (Xen: MAX_BATCH_SIZE).
pub const BATCH_ENTRIES_MAX: usize = 1024;

/// Memory that an image may use beyond the guest's configuration: special pages, firmware, and the granularity of 2 MiB
/// in which images are stored.
pub const MEMORY_BYTES_SLACK: u64 = 256 << 20;

/// Memory that an image may use if the stream has no configuration.
pub const MEMORY_BYTES_UNCONFIGURED: u64 = 64 << 30;

/// Faults that a verdict keeps. More are counted.
pub const FAULTS_KEPT: usize = 100;

/// Epochs that an inspection lists. More are counted.
pub const EPOCHS_LISTED: usize = 100_000;
