use super::*;
use proptest::prelude::*;

fn write(disk: u16, offset: u64, data: &[u8]) -> Write<'_> {
    Write {
        disk: DiskNumber(disk),
        extent: Extent::new(offset, data.len() as u32).unwrap(),
        content: Content::Data(data),
    }
}

type Seen = (u16, Extent, Option<Vec<u8>>);

fn writes_of(batch: &[u8]) -> Result<Vec<Seen>, BadBatch> {
    let mut all = Vec::new();
    decode::<BadBatch>(batch, &mut Vec::new(), |write| {
        let data = match write.content {
            Content::Zeros => None,
            Content::Data(data) => Some(data.to_vec()),
        };
        all.push((write.disk.0, write.extent, data));
        Ok(())
    })?;
    Ok(all)
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut dice = crate::testing::Dice::new(bytes as u64);
    (0..bytes).map(|_| dice.next() as u8).collect()
}

#[test]
fn a_batch_is_these_bytes() {
    let (repeated, noise) = ([0xAB; 512], noise(512));
    let mut encoder = Encoder::default();
    encoder.add(write(1, 0x1200, &repeated));
    encoder.add(Write { content: Content::Zeros, ..write(0, 0, &repeated) });
    encoder.add(write(2, 512, &noise));
    let mut expected = vec![1, 0, 3, 0, 0, 2, 0, 0, 0, 0x12, 0, 0, 0, 0, 0, 0, 13, 0, 0, 0];
    // LZ4: one literal, a copy of 505 from one byte before, six literals.
    expected.extend([0x1F, 0xAB, 1, 0, 0xFF, 0xE7, 0x60, 0xAB, 0xAB, 0xAB, 0xAB, 0xAB, 0xAB]);
    expected.extend([0, 0, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([2, 0, 2, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0]);
    expected.extend(noise);
    assert_eq!(encoder.finish().unwrap(), expected);
    assert_eq!(encoder.finish(), None);
}

#[test]
fn a_long_write_comes_in_pieces_and_zeros_as_zeros() {
    let mut long = noise(2 * PIECE_BYTES_MAX + 512);
    long[PIECE_BYTES_MAX..2 * PIECE_BYTES_MAX].fill(0);
    let all: Vec<_> = pieces(write(3, 1024, &long)).collect();
    assert_eq!(
        all.iter().map(|write| write.extent.bytes() as usize).collect::<Vec<_>>(),
        [PIECE_BYTES_MAX, PIECE_BYTES_MAX, 512]
    );
    assert!(matches!(all[1].content, Content::Zeros));
    assert_eq!(all[2].extent.offset(), 1024 + 2 * PIECE_BYTES_MAX as u64);
    let zeros = vec![0; 3 * PIECE_BYTES_MAX];
    let all: Vec<_> = pieces(write(3, 0, &zeros)).collect();
    assert_eq!((all.len(), all[0].extent.bytes() as usize), (1, zeros.len()));
}

#[test]
fn a_batch_ends_where_the_next_piece_has_no_room() {
    let piece = noise(PIECE_BYTES_MAX);
    let mut encoder = Encoder::default();
    assert_eq!(encoder.add(write(0, 0, &piece)), None);
    let first = encoder.add(write(0, 0, &piece)).unwrap();
    assert!(first.len() > PIECE_BYTES_MAX && first.len() <= BATCH_BYTES_MAX);
    assert_eq!(writes_of(&first).unwrap().len() + writes_of(&encoder.finish().unwrap()).unwrap().len(), 2);
}

#[test]
fn what_is_no_batch_is_refused_where_it_is_wrong() {
    let mut encoder = Encoder::default();
    encoder.add(Write { content: Content::Zeros, ..write(0, 0, &[0; 512]) });
    encoder.add(write(0, 512, &[5; 4096]));
    let good = encoder.finish().unwrap();
    for (at, value, what) in [
        (22, 0, "kind is unknown"),
        (22, 4, "kind is unknown"),
        (22, 1, "length that it cannot have"),
        (22, 2, "length that it cannot have"),
        (23, 1, "reserved"),
        (24, 1, "extent"),
        (29, 1, "extent"),
        (28, 1, "extent"),
        (36, 200, "cut off"),
        (25, 0x12, "decompress"),
    ] {
        let mut bad = good.clone();
        bad[at] = value;
        let error = writes_of(&bad).unwrap_err();
        assert!(error.at == 20 && error.what.contains(what), "{at}: {error}");
    }
    for bytes in (1..good.len()).filter(|bytes| *bytes != 20) {
        writes_of(&good[..bytes]).unwrap_err();
    }
    assert!(writes_of(&vec![0; BATCH_BYTES_MAX + 1]).unwrap_err().what.contains("too long"));
}

proptest! {
    #[test]
    fn writes_come_back_as_they_were_and_both_ends_agree_on_them(
        writes in proptest::collection::vec((0u16..4, 0u64..1000, 1usize..20, any::<u8>(), any::<bool>()), 0..20),
    ) {
        let data: Vec<_> = writes.iter().map(|(_, _, sectors, fill, is_noise)| {
            if *is_noise { noise(sectors * 512) } else { vec![*fill; sectors * 512] }
        }).collect();
        let (mut encoder, mut here, mut there) = (Encoder::default(), Summing::default(), Summing::default());
        let mut batches = Vec::new();
        let mut sent = Vec::new();
        for ((disk, sector, ..), data) in writes.iter().zip(&data) {
            for piece in pieces(write(*disk, sector * 512, data)) {
                here.add(piece);
                batches.extend(encoder.add(piece));
            }
            sent.push((*disk, Extent::new(sector * 512, data.len() as u32).unwrap(), data.iter().any(|b| *b != 0).then(|| data.clone())));
        }
        batches.extend(encoder.finish());
        let mut seen = Vec::new();
        for batch in &batches {
            decode::<BadBatch>(batch, &mut Vec::new(), |write| { there.add(write); Ok(()) }).unwrap();
            seen.extend(writes_of(batch).unwrap());
        }
        prop_assert_eq!(seen, sent);
        prop_assert_eq!(here.summary(), there.summary());
    }
}

#[test]
fn a_summary_tells_order_place_and_content() {
    let summary = |writes: &[Write<'_>]| {
        let mut summing = Summing::default();
        writes.iter().for_each(|write| summing.add(*write));
        summing.summary()
    };
    let (one, two) = (write(0, 0, &[1; 512]), write(0, 0, &[2; 512]));
    let base = summary(&[one, two]);
    let zeros = Write { content: Content::Zeros, ..two };
    for other in [
        summary(&[two, one]),
        summary(&[one]),
        summary(&[one, write(1, 0, &[2; 512])]),
        summary(&[one, write(0, 512, &[2; 512])]),
        summary(&[one, zeros]),
        summary(&[one]).then(summary(&[two])),
        summary(&[two]).then(summary(&[one])),
    ] {
        assert_ne!(base.digest, other.digest);
    }
}
