//! Compares what a guest sees of one processor with what another can offer.
//!
//! Xen checks little of this itself. It refuses a guest that sees more leaves than the host has; it silently removes
//! features that the host lacks, and the guest then dies of an invalid instruction.

use super::facts::Leaf;

/// Indexes of registers in [`Leaf::registers`].
const EAX: usize = 0;
const EBX: usize = 1;
const ECX: usize = 2;
const EDX: usize = 3;

/// The subleaf of leaves without subleaves (`XEN_CPUID_NO_SUBLEAF`).
const NO_SUBLEAF: u32 = u32::MAX;

/// A register whose bits are features.
struct Word {
    leaf: u32,
    subleaf: u32,
    register: usize,
    /// Bits that the hypervisor sets itself, or that describe a defect and not a feature.
    ignored: u32,
    /// Names of bits, as in `cpuid=`.
    names: &'static [(u32, &'static str)],
}

const fn word(
    (leaf, subleaf, register): (u32, u32, usize),
    ignored: u32,
    names: &'static [(u32, &'static str)],
) -> Word {
    Word { leaf, subleaf, register, ignored, names }
}

/// Bits of 0x80000001 edx that AMD repeats from leaf 1: guests see them, limits leave them out
/// (`CPUID_COMMON_1D_FEATURES`).
const COMMON_1D: u32 = 0x0183_F3FF;

/// All words of `xen/arch-x86/cpufeatureset.h` that are CPUID leaves.
const WORDS: [Word; 15] = [
    // APIC, HTT: ignored, whatever the guest was given.
    word((1, NO_SUBLEAF, EDX), 1 << 9 | 1 << 28, &[(25, "sse"), (26, "sse2")]),
    // X2APIC, OSXSAVE, HYPERVISOR.
    word(
        (1, NO_SUBLEAF, ECX),
        1 << 21 | 1 << 27 | 1 << 31,
        &[
            (0, "sse3"),
            (1, "pclmulqdq"),
            (9, "ssse3"),
            (12, "fma"),
            (13, "cmpxchg16"),
            (17, "pcid"),
            (19, "sse4.1"),
            (20, "sse4.2"),
            (22, "movbe"),
            (23, "popcnt"),
            (25, "aes"),
            (26, "xsave"),
            (28, "avx"),
            (29, "f16c"),
            (30, "rdrand"),
        ],
    ),
    word(
        (0x8000_0001, NO_SUBLEAF, EDX),
        COMMON_1D,
        &[(20, "nx"), (26, "page1gb"), (27, "rdtscp"), (29, "lm")],
    ),
    // CMP_LEGACY.
    word((0x8000_0001, NO_SUBLEAF, ECX), 1 << 1, &[(5, "abm"), (6, "sse4a"), (11, "xop"), (16, "fma4")]),
    word((0xD, 1, EAX), 0, &[(0, "xsaveopt"), (1, "xsavec"), (2, "xgetbv1"), (3, "xsaves")]),
    // FDP_EXCP_ONLY, NO_FPU_SEL: defects of old FPUs.
    word(
        (7, 0, EBX),
        1 << 6 | 1 << 13,
        &[
            (0, "fsgsbase"),
            (3, "bmi1"),
            (4, "hle"),
            (5, "avx2"),
            (7, "smep"),
            (8, "bmi2"),
            (9, "erms"),
            (10, "invpcid"),
            (11, "rtm"),
            (16, "avx512f"),
            (17, "avx512dq"),
            (18, "rdseed"),
            (19, "adx"),
            (20, "smap"),
            (23, "clflushopt"),
            (24, "clwb"),
            (28, "avx512cd"),
            (29, "sha"),
            (30, "avx512bw"),
            (31, "avx512vl"),
        ],
    ),
    // OSPKE.
    word((7, 0, ECX), 1 << 4, &[(2, "umip"), (3, "pku"), (8, "gfni"), (9, "vaes"), (22, "rdpid")]),
    // RTM_ALWAYS_ABORT, TSX_FORCE_ABORT.
    word((7, 0, EDX), 1 << 11 | 1 << 13, &[(26, "ibrsb"), (27, "stibp"), (31, "ssbd")]),
    word((0x8000_0007, NO_SUBLEAF, EDX), 0, &[(8, "itsc")]),
    word((0x8000_0008, NO_SUBLEAF, EBX), 0, &[(0, "clzero"), (12, "ibpb")]),
    word((7, 1, EAX), 0, &[(4, "avx-vnni"), (5, "avx512-bf16")]),
    word((7, 1, EDX), 0, &[]),
    word((7, 2, EDX), 0, &[]),
    word((0x8000_0021, NO_SUBLEAF, EAX), 0, &[]),
    word((0x8000_0021, NO_SUBLEAF, ECX), 0, &[]),
];

/// The leaves that hold the highest leaf of each range. Xen refuses a guest that sees more.
const RANGES: [(u32, u32); 3] = [(0, NO_SUBLEAF), (7, 0), (0x8000_0000, NO_SUBLEAF)];

fn registers(leaves: &[Leaf], leaf: u32, subleaf: u32) -> Option<[u32; 4]> {
    leaves.iter().find(|its| (its.leaf, its.subleaf) == (leaf, subleaf)).map(|its| its.registers)
}

/// The vendors of the guest's and the host's processor, if they differ.
pub(super) fn other_vendor(guest: &[Leaf], host: &[Leaf]) -> Option<(String, String)> {
    let [ours, theirs] = [guest, host].map(|leaves| registers(leaves, 0, NO_SUBLEAF).map(vendor));
    let (ours, theirs) = (ours?, theirs?);
    (ours != theirs).then_some((ours, theirs))
}

/// The vendor, such as `GenuineIntel`, which leaf 0 spells in ebx, edx, ecx.
fn vendor(registers: [u32; 4]) -> String {
    let bytes = [EBX, EDX, ECX].map(|register| registers[register].to_le_bytes());
    let spelt = bytes.as_flattened();
    spelt.iter().map(|byte| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' }).collect()
}

/// The names of what the guest sees and the host lacks.
pub(super) fn missing(guest: &[Leaf], host: &[Leaf]) -> Vec<String> {
    let mut missing = Vec::new();
    for (leaf, subleaf) in RANGES {
        let [ours, theirs] = [guest, host]
            .map(|leaves| registers(leaves, leaf, subleaf).map_or(0, |registers| registers[EAX]));
        if ours > theirs {
            missing.push(format!("leaves of {leaf:#x} up to {ours:#x} instead of {theirs:#x}"));
        }
    }
    for word in &WORDS {
        let [ours, theirs] = [guest, host].map(|leaves| {
            registers(leaves, word.leaf, word.subleaf).map_or(0, |registers| registers[word.register])
        });
        let lost = ours & !theirs & !word.ignored;
        missing.extend((0..32).filter(|bit| lost & 1 << bit != 0).map(|bit| describe(word, bit)));
    }
    missing
}

fn describe(word: &Word, bit: u32) -> String {
    let register = ["eax", "ebx", "ecx", "edx"][word.register];
    let subleaf = if word.subleaf == NO_SUBLEAF { String::new() } else { format!(".{}", word.subleaf) };
    let place = format!("leaf {:#x}{subleaf} {register} bit {bit}", word.leaf);
    match word.names.iter().find(|(named, _)| *named == bit) {
        Some((_, name)) => format!("{name} ({place})"),
        None => place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(leaf: u32, subleaf: u32, registers: [u32; 4]) -> Leaf {
        Leaf { leaf, subleaf, registers }
    }

    #[test]
    fn a_feature_that_only_the_guest_has_is_named() {
        let guest = [leaf(7, 0, [0, 1 << 5 | 1 << 3, 0, 1 << 30]), leaf(0xD, 1, [1, 0, 0, 0])];
        let host = [leaf(7, 0, [2, 1 << 3 | 1 << 16, 0, 0])];
        let expected =
            ["xsaveopt (leaf 0xd.1 eax bit 0)", "avx2 (leaf 0x7.0 ebx bit 5)", "leaf 0x7.0 edx bit 30"];
        assert_eq!(missing(&guest, &host), expected);
        assert_eq!(missing(&host, &host), [""; 0]);
        assert_eq!(missing(&[], &host), [""; 0]);
    }

    #[test]
    fn what_the_hypervisor_makes_up_is_no_difference() {
        let guest = [
            leaf(1, NO_SUBLEAF, [0, 0, 1 << 31 | 1 << 27 | 1 << 21, 1 << 9 | 1 << 28]),
            leaf(0x8000_0001, NO_SUBLEAF, [0, 0, 1 << 1, COMMON_1D]),
        ];
        assert_eq!(missing(&guest, &[]), [""; 0]);
    }

    #[test]
    fn a_guest_that_sees_more_leaves_is_found() {
        let guest =
            [leaf(0, NO_SUBLEAF, [0x16, 0, 0, 0]), leaf(0x8000_0000, NO_SUBLEAF, [0x8000_0008, 0, 0, 0])];
        let host =
            [leaf(0, NO_SUBLEAF, [0xD, 0, 0, 0]), leaf(0x8000_0000, NO_SUBLEAF, [0x8000_0021, 0, 0, 0])];
        assert_eq!(missing(&guest, &host), ["leaves of 0x0 up to 0x16 instead of 0xd"]);
    }

    #[test]
    fn makers_are_spelt() {
        let intel = [leaf(0, NO_SUBLEAF, [0xD, 0x756E_6547, 0x6C65_746E, 0x4965_6E69])];
        let amd = [leaf(0, NO_SUBLEAF, [0xD, 0x6874_7541, 0x444D_4163, 0x6974_6E65])];
        assert_eq!(other_vendor(&intel, &amd), Some(("GenuineIntel".into(), "AuthenticAMD".into())));
        assert_eq!(other_vendor(&intel, &intel), None);
        assert_eq!(other_vendor(&intel, &[]), None, "what is not known is no difference");
    }
}
