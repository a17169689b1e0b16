//! What a receiver takes is sound: records that come in pieces or again, what an older writer did not have, and what
//! stands behind the end.

use crate::rules::{Pieces, before, remus, with, without};
use crate::sample::{Piece, join, libxc, pages, params, piece, plain};
use understudy_checkpoint::PageType;
use understudy_checkpoint::domain::GuestKind::{Hvm, Pv, Pvh};
use understudy_checkpoint::stream::libxc::{DomainType, HvmParam, LibxcHeader, Record, Vcpu, VcpuPart};
use understudy_checkpoint::stream::{Rule, inspect, verify};

/// The pieces as another Xen would have headed them.
fn written_by(pieces: Pieces, version: u32, xen_version: (u32, u32)) -> Pieces {
    let header = LibxcHeader { version, domain_type: DomainType::Hvm, xen_version };
    with(pieces, "libxc", piece("libxc", |out| header.write(out)))
}

fn hvm_params(indices: &[u64]) -> Piece {
    libxc("HVM_PARAMS", Record::HvmParams(&params(indices)))
}

#[test]
fn an_epoch_is_judged_by_all_its_records_together() {
    let split = |first: &[u64], last: &[u64]| {
        before(with(plain(Hvm, 3), "HVM_PARAMS", hvm_params(first)), "END", hvm_params(last))
    };
    let changed = {
        let later = libxc("HVM_PARAMS", Record::HvmParams(&[HvmParam::new(1, 2)]));
        let absent = pages(&[(1, PageType::Absent)]);
        before(before(plain(Pvh, 3), "END", later), "X86_TSC_INFO", absent)
    };
    let cases = [
        ("parameters in two records", split(&[1, 5], &[6, 17])),
        ("an empty record after them", split(&[1, 5, 6, 17], &[])),
        ("an empty record before them", split(&[], &[1, 5, 6, 17])),
        ("the same parameters again", split(&[1, 5, 6, 17], &[1, 5, 6, 17])),
        (
            "a ring that moved away from a frame that is gone",
            with(changed, "HVM_PARAMS", {
                libxc("p", Record::HvmParams(&[HvmParam::new(1, 1), HvmParam::new(17, 2)]))
            }),
        ),
        (
            "vCPU parts without content",
            before(plain(Pv, 2), "END", {
                let part = |part| libxc("v", Record::Vcpu(Vcpu { vcpu_id: 0, part, blob: &[] })).bytes;
                let parts = [VcpuPart::Xsave, VcpuPart::Msrs, VcpuPart::Extended].map(part);
                piece("empty", |out| out.extend(parts.concat()))
            }),
        ),
    ];
    for (name, pieces) in cases {
        let verdict = verify(&join(&pieces)[..]).unwrap();
        assert!(verdict.ok, "{name}: {:#?}", verdict.faults);
    }
    let missing = split(&[1, 5], &[17]);
    let verdict = verify(&join(&missing)[..]).unwrap();
    assert_eq!(verdict.fault_count, 1, "parameter 6 is in neither: {:#?}", verdict.faults);
}

#[test]
fn an_epoch_does_not_borrow_from_the_one_before() {
    let mut pieces = remus(Hvm);
    let last = pieces.iter().rposition(|piece| piece.name == "HVM_PARAMS").unwrap();
    pieces[last] = hvm_params(&[1, 17]);
    let verdict = verify(&join(&pieces)[..]).unwrap();
    let rules: Vec<Rule> = verdict.faults.iter().map(|fault| fault.rule).collect();
    assert_eq!(rules, [Rule::HvmParams, Rule::HvmParams], "5 and 6: {:#?}", verdict.faults);
}

#[test]
fn what_must_be_there_depends_on_who_wrote_the_stream() {
    let without_policies = || without(without(plain(Hvm, 3), "X86_CPUID_POLICY"), "X86_MSR_POLICY");
    let cases = [
        ("a converter has no policies", true, written_by(without_policies(), 3, (0, 1))),
        (
            "nor a TSC, of an old guest",
            true,
            written_by(without(without_policies(), "X86_TSC_INFO"), 3, (0, 1)),
        ),
        ("Xen 4.14 has policies", false, written_by(without_policies(), 3, (4, 14))),
        ("and later ones", false, written_by(without_policies(), 3, (5, 0))),
        ("v2 has neither policies nor STATIC_DATA_END", true, written_by(plain(Hvm, 2), 2, (4, 6))),
        ("a converter still says where static data end", false, {
            written_by(without(without_policies(), "STATIC_DATA_END"), 3, (0, 1))
        }),
    ];
    for (name, sound, pieces) in cases {
        let verdict = verify(&join(&pieces)[..]).unwrap();
        assert_eq!(verdict.ok, sound, "{name}: {:#?}", verdict.faults);
    }
}

#[test]
fn what_stands_behind_the_end_is_not_the_streams() {
    let go = b"domain is yours, you are cleared to unpause\0";
    let older = join(&plain(Hvm, 3));
    let tails: [&[u8]; 6] = [&[0; 100], &[1], b"domino", b"x", &older, &[&go[..], &[7; 9]].concat()];
    for tail in tails {
        let bytes = [&join(&plain(Pvh, 3))[..], tail].concat();
        let verdict = verify(&bytes[..]).unwrap();
        assert!(verdict.ok && verdict.followed, "{tail:?}: {:#?}", verdict.faults);
        // A volume has no end that could be waited for.
        let endless = std::io::Read::chain(&bytes[..], std::io::repeat(0));
        assert!(verify(endless).unwrap().ok);
        assert_eq!(inspect(&bytes[..]).unwrap().fault, None);
    }
    let plain_end = verify(&[&join(&plain(Pvh, 3))[..], go].concat()[..]).unwrap();
    assert!(plain_end.ok && !plain_end.followed, "a migration's handshake is the stream's");
    let mut cut = join(&remus(Pvh));
    cut.push(0);
    assert_eq!(verify(&cut[..]).unwrap().faults[0].rule, Rule::Truncated, "a checkpointed stream has no END");
}
