//! Whatever guest a sender of Xen 3.2 to 4.5 sends, what is made of the stream brings that guest, however the stream
//! arrives.

use proptest::prelude::*;
use std::io::Read;
use understudy_checkpoint::legacy::{
    Action, After, ConvertError, Converter, Copying, Layer, Options, Report, Rule, WordSize, convert,
};
use understudy_checkpoint::stream::libxc::{DomainType, GuestWidth};
use understudy_checkpoint::{PAGE_SIZE, Page, PageType, Pfn};
use understudy_tests::legacy::{Compressor, Guest, Sender, Vcpu, Xen, plain, state_digest};

const TOLD_NOTHING: Options = Options { layer: Layer::Whole, word: None, guest: None, after: After::Look };

/// A page that is easily told from others, and changes in a few words.
fn page(seed: u8, words: &[(u16, u8)]) -> Box<Page> {
    let mut page = Box::new([seed; PAGE_SIZE]);
    words.iter().for_each(|(at, value)| page[usize::from(*at) % PAGE_SIZE] = *value);
    page
}

fn page_type() -> impl Strategy<Value = PageType> {
    prop_oneof![
        6 => Just(PageType::Normal),
        2 => (1..=4u8, any::<bool>()).prop_map(|(level, pinned)| PageType::Table { level, pinned }),
        1 => Just(PageType::Broken),
        1 => Just(PageType::AllocateOnly),
    ]
}

type Pages = Vec<(u16, PageType, u8)>;

fn pages() -> impl Strategy<Value = Pages> {
    prop::collection::vec((0..2000u16, page_type(), any::<u8>()), 1..40)
}

fn fill(guest: &mut Guest, pages: &Pages) {
    for (pfn, kind, seed) in pages {
        // Page tables are a PV guest's.
        let kind = match kind {
            PageType::Table { .. } if guest.kind == DomainType::Hvm => PageType::Normal,
            kind => *kind,
        };
        guest.pages.insert(Pfn((*pfn).into()), (kind, kind.has_data().then(|| page(*seed, &[]))));
    }
}

fn pv() -> impl Strategy<Value = Guest> {
    let vcpus = prop::collection::btree_map(0..200u32, (any::<u8>(), 16..100usize), 1..4);
    (pages(), vcpus, any::<bool>(), any::<bool>(), any::<bool>(), any::<u32>()).prop_map(
        |(pages, vcpus, wide, has_extended, has_xsave, khz)| {
            let mut guest = Guest::new(DomainType::Pv);
            guest.width = if wide { GuestWidth::Bits64 } else { GuestWidth::Bits32 };
            guest.frames = 2000;
            let count = 2000u64.div_ceil(guest.width.frames_per_page());
            guest.p2m_frames = (0..count).map(|index| 7 * index).collect();
            guest.tsc.khz = khz.into();
            guest.shared_info = Some(page(0x51, &[]));
            for (id, (seed, xsave_bytes)) in vcpus {
                let vcpu = Vcpu {
                    basic: vec![seed; guest.width.vcpu_basic_bytes()],
                    extended: has_extended.then(|| vec![!seed; 128]),
                    // Each vCPU's has a size of its own.
                    xsave: has_xsave.then(|| vec![seed; xsave_bytes]),
                };
                guest.vcpus.insert(id, vcpu);
            }
            fill(&mut guest, &pages);
            guest
        },
    )
}

fn hvm() -> impl Strategy<Value = Guest> {
    let params = prop::collection::btree_map(
        prop::sample::select(vec![9u64, 12, 15, 17, 19, 27, 28, 29, 32, 33, 34, 36]),
        1..u64::MAX,
        0..8,
    );
    let blob = prop::collection::vec(any::<u8>(), 1..300);
    (pages(), params, blob.clone(), blob, any::<u64>()).prop_map(|(pages, params, context, state, nsec)| {
        let mut guest = Guest::new(DomainType::Hvm);
        guest.frames = 2000;
        guest.params = params;
        guest.params.extend([(1, 0xFEFFC), (5, 0xFEFFD), (6, 0)]);
        guest.context = context;
        guest.emulator = [b"QEVM", &state[..]].concat();
        guest.tsc.nsec = nsec.into();
        fill(&mut guest, &pages);
        guest
    })
}

fn guest() -> impl Strategy<Value = Guest> {
    prop_oneof![pv(), hvm()]
}

fn word() -> impl Strategy<Value = WordSize> {
    prop::sample::select(vec![WordSize::Four, WordSize::Eight])
}

/// Gives its bytes in pieces of these sizes, over and over.
struct Dribble<'a> {
    rest: &'a [u8],
    sizes: std::iter::Cycle<std::slice::Iter<'a, usize>>,
}

impl Read for Dribble<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let size = self.sizes.next().copied().unwrap_or(1).min(into.len()).min(self.rest.len());
        into[..size].copy_from_slice(&self.rest[..size]);
        self.rest = &self.rest[size..];
        Ok(size)
    }
}

fn converted(stream: &[u8], sizes: &[usize], options: Options) -> Result<(Report, Vec<u8>), ConvertError> {
    let mut out = Vec::new();
    let input = Dribble { rest: stream, sizes: sizes.iter().cycle() };
    let report = convert(&mut Copying::new(input, &mut out), options)?;
    Ok((report, out))
}

/// Converts a stream that lies in memory as a whole: the converter is given far more than it asks for.
fn converted_from_memory(stream: &[u8]) -> Vec<u8> {
    let mut converter = Converter::new(TOLD_NOTHING);
    let (mut rest, mut out) = (stream, Vec::new());
    loop {
        let action = converter.next(rest).unwrap();
        out.append(converter.output());
        match action {
            Action::Took(bytes) => rest = &rest[bytes..],
            Action::Need(_) | Action::UntilEnd => converter.end(rest).unwrap(),
            Action::Pass(bytes) => {
                let (pages, after) = rest.split_at(bytes as usize);
                out.extend_from_slice(pages);
                rest = after;
                converter.passed(bytes);
            }
            Action::Done => return out,
        }
    }
}

/// The guest as Xen of that version could send it.
fn as_sent(guest: &Guest, xen: Xen) -> Guest {
    let mut sent = guest.clone();
    let since = |index: &u64| match index {
        34 | 27 | 28 | 29 | 9 => Xen::V4_2,
        15 => Xen::V4_0,
        17 | 19 => Xen::V4_1,
        32 | 33 => Xen::V4_5,
        36 => Xen::V4_5_4,
        _ => Xen::V3_2,
    };
    sent.params.retain(|index, _| xen >= since(index));
    sent
}

fn without_tsc(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().filter(|line| !line.starts_with("tsc ")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_guest_arrives_as_it_was_sent(
        guest in guest(),
        word in word(),
        xen in prop::sample::select(vec![Xen::V3_2, Xen::V4_0, Xen::V4_1, Xen::V4_2, Xen::V4_5, Xen::V4_5_4]),
        sizes in prop::collection::vec(1..6000usize, 1..5),
    ) {
        let stream = plain(&guest, word, xen);
        let (report, out) = converted(&stream, &sizes, TOLD_NOTHING).unwrap();
        prop_assert_eq!((report.head.word, report.head.guest), (word, guest.kind));
        prop_assert_eq!((report.checkpoints, report.bytes), (1, stream.len() as u64));
        prop_assert!(out == converted_from_memory(&stream), "any split gives the same bytes");
        let (_, expected) = state_digest(&as_sent(&guest, xen).write());
        let (_, lines) = state_digest(&out);
        if xen < Xen::V4_0 {
            prop_assert_eq!(lines, without_tsc(expected));
        } else {
            prop_assert_eq!(lines, expected);
        }
    }

    #[test]
    fn of_remus_the_last_complete_checkpoint_arrives(
        guest in guest(),
        word in word(),
        compress in any::<bool>(),
        epochs in prop::collection::vec((pages(), prop::collection::vec((any::<u16>(), any::<u8>()), 0..6)), 1..5),
        cut in any::<prop::sample::Index>(),
        sizes in prop::collection::vec(1..6000usize, 1..5),
    ) {
        let (stream, states) = remus(guest, word, compress, &epochs);
        let ends: Vec<usize> = states.iter().map(|(end, _)| *end).collect();
        // Anywhere behind the first checkpoint.
        let cut = ends[0] + cut.index(stream.len() - ends[0] + 1);
        let (report, out) = converted(&stream[..cut], &sizes, TOLD_NOTHING).unwrap();
        let complete = ends.iter().filter(|end| **end <= cut).count();
        prop_assert_eq!(report.checkpoints as usize, complete);
        prop_assert_eq!(report.dropped, !ends.contains(&cut));
        prop_assert_eq!(state_digest(&out).1, state_digest(&states[complete - 1].1.write()).1);
    }
}

/// A stream of Remus, and where each checkpoint ends with the guest as it is there.
fn remus(
    mut guest: Guest,
    word: WordSize,
    compress: bool,
    epochs: &[(Pages, Vec<(u16, u8)>)],
) -> (Vec<u8>, Vec<(usize, Guest)>) {
    let mut sender = Sender::new(word, Xen::V4_5);
    // As small as it can be, so that pages are forgotten.
    let mut compressor = Compressor::new(8);
    guest.params.remove(&36);
    sender.head(&guest);
    sender.tsc(&guest);
    let items: Vec<_> =
        guest.pages.iter().map(|(pfn, (kind, page))| (*pfn, *kind, page.as_deref())).collect();
    items.chunks(1024).for_each(|items| sender.batch(items));
    sender.end_body(&guest, false, compress);
    sender.tail(&guest);
    let mut states = vec![(sender.out.len(), guest.clone())];
    for (index, (pages, words)) in epochs.iter().enumerate() {
        let mut dirty = Guest::new(guest.kind);
        fill(&mut dirty, pages);
        // A few words of pages that are there already, too.
        for (pfn, (kind, known)) in
            guest.pages.iter().filter(|(_, (kind, _))| *kind == PageType::Normal).take(9)
        {
            let mut changed = known.clone().expect("a plain page has data");
            words.iter().for_each(|(at, value)| changed[usize::from(*at) % PAGE_SIZE] = *value);
            dirty.pages.entry(*pfn).or_insert((*kind, Some(changed)));
        }
        let mut packed = Vec::new();
        let items: Vec<_> = dirty
            .pages
            .iter()
            .map(|(pfn, (kind, page))| (*pfn, *kind, page.as_deref().filter(|_| !compress)))
            .collect();
        for items in items.chunks(11) {
            sender.batch(items);
        }
        if compress {
            for (pfn, (kind, page)) in &dirty.pages {
                if let Some(page) = page {
                    compressor.page(*pfn, page, *kind != PageType::Normal, &mut packed);
                }
            }
            // The sender's buffer was full twice; where it was cut means nothing.
            packed.chunks(packed.len() / 3 + 1).for_each(|packed| sender.compressed(packed));
        }
        guest.pages.extend(dirty.pages);
        guest.emulator.push(index as u8);
        sender.end_body(&guest, false, false);
        sender.tail(&guest);
        states.push((sender.out.len(), guest.clone()));
    }
    (sender.out, states)
}

/// A small guest of Xen 4.0, whose stream does not say that it ends.
fn silent() -> (Guest, Vec<u8>) {
    let mut guest = Guest::new(DomainType::Pv);
    guest.frames = 600;
    guest.p2m_frames = vec![3, 4];
    guest.shared_info = Some(page(1, &[]));
    guest.vcpus.insert(0, Vcpu { basic: vec![2; 5168], ..Vcpu::default() });
    fill(&mut guest, &vec![(5, PageType::Normal, 9)]);
    let stream = plain(&guest, WordSize::Eight, Xen::V4_0);
    (guest, stream)
}

#[test]
fn behind_a_stream_that_does_not_say_its_end_a_person_is_asked() {
    let (guest, stream) = silent();
    let expected = state_digest(&guest.write()).1;
    for (junk, asked) in [(&b""[..], false), (&[0xEE; 600], true), (&[0; 20_000], true), (&[5, 0], false)] {
        let followed = [&stream[..], junk].concat();
        match converted(&followed, &[4096], TOLD_NOTHING) {
            Ok((report, out)) => {
                assert!(!asked, "{junk:x?} was taken for nothing");
                assert_eq!((state_digest(&out).1, report.dropped), (expected.clone(), !junk.is_empty()));
            }
            Err(ConvertError::Fault(fault)) => {
                assert!(asked && fault.rule == Rule::Question, "{fault}");
                assert!(fault.detail.contains("--plain"), "{fault}");
            }
            Err(error) => panic!("{error}"),
        }
        let told = Options { after: After::Plain, ..TOLD_NOTHING };
        let (report, out) = converted(&followed, &[4096], told).unwrap();
        assert_eq!((state_digest(&out).1, report.bytes), (expected.clone(), stream.len() as u64));
    }
}

#[test]
fn where_a_sender_may_wait_for_its_answer_nobody_looks_further() {
    let (_, stream) = silent();
    let stop = Options { after: After::Stop, ..TOLD_NOTHING };
    let (report, _) = converted(&[&stream[..], &[1; 40]].concat(), &[64], stop).unwrap();
    assert_eq!((report.bytes, report.not_looked), (stream.len() as u64, true));
}

#[test]
fn a_damaged_checkpoint_of_remus_is_not_taken_for_one_that_was_cut() {
    let (guest, _) = silent();
    let epochs =
        vec![(vec![(5, PageType::Normal, 7)], Vec::new()), (vec![(6, PageType::Normal, 7)], Vec::new())];
    let (mut stream, states) = remus(guest, WordSize::Eight, false, &epochs);
    let second = states[0].0;
    stream[second..second + 4].copy_from_slice(&(-100i32).to_le_bytes());
    match converted(&stream, &[4096], TOLD_NOTHING) {
        Err(ConvertError::Fault(fault)) => assert_eq!(fault.rule, Rule::Chunk, "{fault}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_cut_of_a_plain_stream_is_told() {
    let (_, stream) = silent();
    for cut in 0..stream.len() {
        match converted(&stream[..cut], &[70_000], TOLD_NOTHING) {
            Err(ConvertError::Fault(fault)) => {
                assert_eq!((fault.rule, fault.offset), (Rule::Truncated, cut as u64), "{fault}");
            }
            other => panic!("{cut}: {other:?}"),
        }
    }
}

/// A body that begins with transcendent memory: one pool that says it holds so many pages.
fn with_tmem(pages: u32) -> (Guest, Vec<u8>) {
    let (guest, stream) = silent();
    let mut sender = Sender::new(WordSize::Eight, Xen::V4_0);
    sender.head(&guest);
    let head = sender.out.len();
    let numbers =
        |numbers: &[u32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let chunk =
        numbers(&[-5i32 as u32, 1, 16, u32::MAX, 0, 1, 0, u32::MAX, 3, 0, pages, 1, 2, 3, 4, u32::MAX]);
    let extra = numbers(&[-6i32 as u32, 3, 1, 0, 2, 0, 3, 0, 9, u32::MAX]);
    (guest, [&stream[..head], &chunk, &extra, &stream[head..]].concat())
}

#[test]
fn transcendent_memory_is_converted_if_nothing_is_lost() {
    let (guest, stream) = with_tmem(0);
    let (_, out) = converted(&stream, &[13], TOLD_NOTHING).unwrap();
    assert_eq!(state_digest(&out).1, state_digest(&guest.write()).1);
    match converted(&with_tmem(1).1, &[13], TOLD_NOTHING) {
        Err(ConvertError::Fault(fault)) => {
            assert_eq!(fault.rule, Rule::Tmem);
            assert!(fault.detail.contains("holds 1 pages"), "{fault}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn frames_that_could_not_be_mapped_are_left_out_and_doubled_ones_come_twice() {
    let (guest, _) = silent();
    let mut sender = Sender::new(WordSize::Four, Xen::V4_5);
    sender.head(&guest);
    sender.tsc(&guest);
    let lost = (Pfn(0), PageType::Absent, None);
    sender.batch(&[lost, lost]);
    let (before, after) = (page(1, &[]), page(9, &[]));
    sender.batch(&[
        (Pfn(5), PageType::Normal, Some(&*before)),
        lost,
        (Pfn(5), PageType::Normal, Some(&*after)),
    ]);
    sender.end_body(&guest, true, false);
    sender.tail(&guest);
    let (_, out) = converted(&sender.out, &[1000], TOLD_NOTHING).unwrap();
    assert_eq!(state_digest(&out).1, state_digest(&guest.write()).1);
    assert!(out == converted_from_memory(&sender.out));
    assert!(
        understudy_checkpoint::stream::verify(&out[..])
            .unwrap()
            .faults
            .iter()
            .all(|fault| { !fault.detail.contains("twice") && !fault.detail.contains("0 entries") })
    );
}
