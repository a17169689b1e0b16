use super::*;

const GUEST: &str = "understudy-web-xvda";

fn head(bytes: u32, targets: u32, flags: u32, name: &str) -> Vec<u8> {
    let mut head = Vec::new();
    for number in [4, 0, 0, bytes, 312, targets, 0, flags, 0, 0, 0, 0] {
        head.extend(u32::to_le_bytes(number));
    }
    head.extend(name.as_bytes());
    head.resize(HEAD_BYTES, 0);
    head
}

#[test]
fn what_is_asked_is_these_bytes() {
    assert_eq!(about(GUEST), Ok(head(312, 0, 0, GUEST)));
    assert_eq!(suspend(GUEST), Ok(head(312, 0, 1 << 1 | 1 << 10, GUEST)));
    assert_eq!(ask_table(GUEST, 8), Ok([head(320, 0, 1 << 4, GUEST), vec![0; 8]].concat()));
    assert_eq!(ask(8), [head(320, 0, 0, ""), vec![0; 8]].concat());
    let made = create(GUEST, "US-web").unwrap();
    assert_eq!(
        (&made[..176], &made[176..183], made.len()),
        (&head(312, 0, 0, GUEST)[..176], &b"US-web\0"[..], 312)
    );

    let below = DeviceNumber { major: 43, minor: 3 };
    let mut table = vec![0; 8];
    table.extend(131_072_u64.to_le_bytes());
    table.extend([0, 0, 0, 0, 48, 0, 0, 0]);
    table.extend(b"linear\0\0\0\0\0\0\0\0\0\0");
    table.extend(b"43:3 0\0\0");
    let loaded = load(GUEST, Linear { sectors: 131_072, below, from_sector: 0 });
    assert_eq!(loaded, Ok([head(360, 1, 0, GUEST), table].concat()));
}

#[test]
fn names_that_no_device_can_have_are_refused() {
    let long = "a".repeat(NAME_BYTES_MAX + 1);
    for name in ["", "a/b", "a\0b", &*long] {
        assert_eq!(about(name), Err(BadName(name.to_owned())));
    }
    assert!(about(&long[1..]).is_ok());
    for uuid in ["", "a\0b", &*"u".repeat(UUID_BYTES_MAX + 1)] {
        assert!(create(GUEST, uuid).is_err());
    }
}

fn answer(flags: u32, targets: u32, data: &[u8]) -> Vec<u8> {
    [head((HEAD_BYTES + data.len()) as u32, targets, flags, GUEST), data.to_vec()].concat()
}

fn target(begin: u64, sectors: u64, next: u32, kind: &str, parameters: &str) -> Vec<u8> {
    let mut out = [begin.to_le_bytes(), sectors.to_le_bytes()].concat();
    out.extend([0; 4]);
    out.extend(next.to_le_bytes());
    out.extend(kind.as_bytes());
    out.resize(TARGET_BYTES, 0);
    out.extend(parameters.as_bytes());
    out.push(0);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}

#[test]
fn a_table_is_read_and_what_is_linear_is_told_from_what_is_not() {
    let first = target(0, 2048, 48, "linear", "43:3 0");
    let second = target(2048, 8, 112, "crypt", "aes-xts-plain64 :64:logon:x 0 7:0 0");
    let read = table(&answer(0, 2, &[first, second].concat())).unwrap().unwrap();
    let below = DeviceNumber { major: 43, minor: 3 };
    assert_eq!(read[0].linear(), Some(Linear { sectors: 2048, below, from_sector: 0 }));
    assert_eq!((read.len(), read[1].linear(), &*read[1].kind), (2, None, "crypt"));
    assert_eq!(table(&answer(0, 0, &[])), Ok(Some(Vec::new())));
    // A linear target that is not the whole device.
    assert_eq!(Target { begin: 8, ..read[0].clone() }.linear(), None);
    for parameters in ["43:3", "43 0", "43:x 0", "/dev/nbd0 0", ""] {
        assert_eq!(
            Target { parameters: parameters.into(), ..read[0].clone() }.linear(),
            None,
            "{parameters}"
        );
    }
}

#[test]
fn devices_are_listed_with_their_numbers() {
    let mut data = (253_u64 << 8 | 4).to_le_bytes().to_vec();
    data.extend([24, 0, 0, 0]);
    data.extend(b"vg-web\0\0\0\0\0\0");
    data.extend((259_u64 << 8 | 0x34 | 0x12 << 20).to_le_bytes());
    data.extend([0; 4]);
    data.extend(b"b\0\0\0");
    let (a, b) = (DeviceNumber { major: 253, minor: 4 }, DeviceNumber { major: 259, minor: 0x1234 });
    assert_eq!(list(&answer(0, 0, &data)), Ok(Some(vec![("vg-web".into(), a), ("b".into(), b)])));
    assert_eq!(list(&answer(0, 0, &[0; 16])), Ok(Some(Vec::new())));
    assert_eq!((a.to_string(), b.to_string()), ("253:4".into(), "259:4660".into()));
}

#[test]
fn an_answer_without_room_is_no_answer_and_one_that_is_cut_off_is_an_error() {
    let whole = answer(0, 1, &target(0, 2048, 48, "linear", "43:3 0"));
    let full = answer(1 << 8, 1, &[]);
    assert_eq!((table(&full), list(&full)), (Ok(None), Ok(None)));
    for bytes in 0..whole.len() - 2 {
        assert!(table(&whole[..bytes]).is_err(), "{bytes} bytes");
    }
    let with = |at: usize, number: u32| {
        let mut answer = whole.clone();
        answer[at..at + 4].copy_from_slice(&number.to_le_bytes());
        answer
    };
    // Data that begin within the head or beyond the end, and a second target that is nowhere.
    for bad in [with(16, 311), with(16, 1 << 20), with(20, 2)] {
        assert!(table(&bad).is_err());
    }
    let far = answer(0, 0, &[1, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, b'a', 0, 0, 0]);
    assert!(list(&far).is_err());
}

#[test]
fn how_a_device_stands_is_read() {
    let mut said = answer(1 << 1 | 1 << 5, 0, &[]);
    (said[OPEN_AT], said[DEVICE_AT], said[DEVICE_AT + 1]) = (2, 1, 253);
    let device = DeviceNumber { major: 253, minor: 1 };
    let standing = standing(&said).unwrap();
    let expected = Standing { device, open_count: 2, is_suspended: true, has_table: true, has_loaded: false };
    assert_eq!(standing, expected);
    assert!(super::standing(&said[..44]).is_err());
    assert_eq!(version(&said), Ok((4, 0, 0)));
}
