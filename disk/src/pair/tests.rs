use super::*;
use crate::storage::simulated::{Fault, Machine, SimulatedDisk};
use crate::testing::Dice;

const FORMAT: Format = Format { magic: *b"uS tests", version: 3 };

fn created(body: &[u8]) -> (Machine, SimulatedDisk) {
    let machine = Machine::new();
    let disk = machine.disk(PAIR_BYTES);
    Pair::create(&mut Guarded::new(disk.clone()), FORMAT, "a test", [9; 16], body).unwrap();
    (machine, disk)
}

fn open(disk: &SimulatedDisk) -> Result<Opened, PairError> {
    Pair::open(&mut Guarded::new(disk.clone()), FORMAT, "a test")
}

#[test]
fn a_slot_is_these_bytes() {
    let (_, disk) = created(b"body");
    let content = disk.content();
    let (first, second) = content.split_at(BLOCK_BYTES);
    assert_eq!(first, second);
    let mut expected = b"uS tests".to_vec();
    expected.extend([1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]);
    expected.extend([9; 16]);
    expected.extend(b"body");
    assert_eq!(first[..44], expected);
    assert!(first[44..CHECK_AT].iter().all(|byte| *byte == 0));
    assert_eq!(first[CHECK_AT..], xxh3_128(&first[..CHECK_AT]).to_le_bytes());
    assert_eq!(format!("{:032x}", xxh3_128(&first[..CHECK_AT])), GOLDEN_CHECK);
}

/// So that neither the hash nor what it covers changes unnoticed.
const GOLDEN_CHECK: &str = "705e490dee5303bb720f56429d091bbf";

/// A life that puts 1, 2, 3 … and ends at an operation; power is lost; another life does the same; and so on.
#[test]
fn whatever_is_torn_the_record_is_the_last_one_put_or_the_one_that_was_being_put() {
    let mut ends = 0;
    for end_at in 0..40 {
        for seed in 0..40 {
            let (machine, disk) = created(&[0]);
            let mut dice = Dice::new(seed);
            let (mut durable, mut wished) = (0u8, 0u8);
            for _ in 0..3 {
                let fault = if seed % 2 == 0 { Fault::End } else { Fault::Flush };
                machine.fail_at(machine.operations() + end_at, fault);
                let mut storage = Guarded::new(disk.clone());
                if let Ok(mut opened) = Pair::open(&mut storage, FORMAT, "a test") {
                    assert!(
                        (durable..=wished).contains(&opened.body[0]),
                        "{durable}..={wished}: {:?}",
                        opened.body
                    );
                    assert_eq!(opened.pair.id(), [9; 16]);
                    durable = opened.body[0];
                    while !storage.has_ended() {
                        wished = durable + 1;
                        if opened.pair.put(&mut storage, &[wished]).is_ok() {
                            durable = wished;
                        }
                    }
                    ends += 1;
                }
                if dice.below(3) == 0 {
                    machine.restart_process();
                } else {
                    machine.lose_power(&mut |count| dice.below(count));
                }
            }
            let last = open(&disk).unwrap();
            assert!((durable..=wished).contains(&last.body[0]), "{durable}..={wished}: {:?}", last.body);
        }
    }
    assert!(ends > 1000, "{ends}");
}

#[test]
fn what_is_believed_once_is_believed_after_the_next_loss_of_power() {
    for seed in 0..200 {
        let (machine, disk) = created(&[1]);
        let mut dice = Dice::new(seed);
        // The new record is in the cache when the process ends, and never was on the media.
        machine.fail_at(machine.operations() + 6, Fault::End);
        let mut storage = Guarded::new(disk.clone());
        Pair::open(&mut storage, FORMAT, "a test").unwrap().pair.put(&mut storage, &[2]).unwrap_err();
        machine.restart_process();
        let seen = open(&disk).unwrap().body;
        machine.lose_power(&mut |count| dice.below(count));
        assert_eq!(open(&disk).unwrap().body, seen);
    }
}

#[test]
fn rot_of_one_slot_is_healed_and_of_both_is_never_a_record() {
    for at in [0, 8, 16, 20, 24, 41, 2000, CHECK_AT, BLOCK_BYTES - 1] {
        for slot in [0, BLOCK_BYTES] {
            let (_, disk) = created(b"body");
            disk.rot((slot + at) as u64, 0x10);
            let opened = open(&disk).unwrap();
            assert_eq!((opened.body.as_slice(), opened.was_healed), (b"body".as_slice(), true));
            assert!(!open(&disk).unwrap().was_healed, "once");

            let (_, disk) = created(b"body");
            disk.rot(at as u64, 0x10);
            disk.rot((BLOCK_BYTES + at) as u64, 0x10);
            assert!(matches!(open(&disk), Err(PairError::Damaged { .. })));
        }
    }
}

#[test]
fn blank_is_not_damaged_and_another_version_is_neither() {
    let machine = Machine::new();
    let disk = machine.disk(PAIR_BYTES);
    assert!(matches!(open(&disk), Err(PairError::Blank { .. })));
    let newer = Format { version: 4, ..FORMAT };
    Pair::create(&mut Guarded::new(disk.clone()), newer, "a test", [0; 16], b"").unwrap();
    assert!(matches!(open(&disk), Err(PairError::Version { version: 4, known: 3, .. })));
    machine.fail_at(machine.operations(), Fault::Device);
    assert!(matches!(open(&disk), Err(PairError::Storage(_))), "an error is no blank");
}

#[test]
fn a_first_record_that_was_not_finished_is_never_an_older_one() {
    for end_at in 0..6 {
        for seed in 0..60 {
            let (machine, disk) = created(b"old");
            // Its sequence is higher than a new one's.
            let mut storage = Guarded::new(disk.clone());
            let mut pair = Pair::open(&mut storage, FORMAT, "a test").unwrap().pair;
            (0..3).for_each(|_| pair.put(&mut storage, b"old").unwrap());
            storage.flush().unwrap();
            let mut dice = Dice::new(seed);
            machine.fail_at(machine.operations() + end_at, Fault::End);
            let created = Pair::create(&mut Guarded::new(disk.clone()), FORMAT, "a test", [8; 16], b"new");
            machine.lose_power(&mut |count| dice.below(count));
            match open(&disk) {
                Ok(opened) if opened.body == b"old" => assert!(end_at < 2, "old after its end was durable"),
                Ok(opened) => {
                    assert_eq!((opened.body.as_slice(), opened.pair.id()), (b"new".as_slice(), [8; 16]))
                }
                Err(PairError::Damaged { .. } | PairError::Blank { .. }) => assert!(created.is_err()),
                Err(error) => panic!("{error}"),
            }
        }
    }
}
