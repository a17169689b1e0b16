//! Samples of legacy streams become what `expect.json` says, whatever sender, guest and Xen they are of.

use std::io::Read;
use understudy_checkpoint::legacy::{
    After, ConvertError, Copying, Layer, Options, Report, Rule, WordSize, convert,
};
use understudy_checkpoint::stream::libxc::DomainType;
use understudy_checkpoint::stream::{self, libxl, verify};
use understudy_tests::legacy::{Sample, samples, sha256, state_digest};

const TOLD_NOTHING: Options = Options { layer: Layer::Whole, word: None, guest: None, after: After::Look };

fn converted(bytes: &[u8], options: Options) -> (Result<Report, ConvertError>, Vec<u8>) {
    let mut out = Vec::new();
    let result = convert(&mut Copying::new(bytes, &mut out), options);
    (result, out)
}

/// What is libxl's of a stream with or without an envelope.
fn from_libxl(stream: &[u8]) -> &[u8] {
    let at = stream.windows(libxl::IDENT.len()).position(|bytes| bytes == libxl::IDENT);
    &stream[at.expect("libxl's stream is in it")..]
}

fn good() -> impl Iterator<Item = Sample> {
    samples().into_iter().filter(|sample| sample.want == "convert")
}

#[test]
fn each_sample_becomes_the_state_that_it_was_made_of() {
    let mut count = 0;
    for sample in good() {
        let (result, out) = converted(&sample.bytes(), TOLD_NOTHING);
        let report = result.unwrap_or_else(|error| panic!("{}: {error}", sample.name));
        let (digest, lines) = state_digest(&out);
        if let Some(expected) = &sample.digest {
            assert_eq!(digest, *expected, "{}: {lines:#?}", sample.name);
        }
        let guest = if sample.guest == "pv" { DomainType::Pv } else { DomainType::Hvm };
        assert_eq!((report.head.word.bits(), report.head.guest), (sample.width, guest), "{}", sample.name);
        if let Some(expected) = &sample.stock_sha256 {
            assert_eq!(
                sha256(from_libxl(&out)),
                *expected,
                "{}: Xen's converter writes other bytes",
                sample.name
            );
        }
        count += 1;
    }
    assert!(count >= 17, "only {count} samples");
}

#[test]
fn what_was_converted_is_found_sound() {
    for sample in good() {
        let (_, out) = converted(&sample.bytes(), TOLD_NOTHING);
        let verdict = verify(&out[..]).unwrap();
        assert!(verdict.ok && !verdict.followed, "{}: {:#?}", sample.name, verdict.faults);
    }
}

#[test]
fn only_a_converter_may_leave_xens_slots_in_a_table() {
    let sample = good().find(|sample| sample.name == "tiny-pv32-w8").expect("it is there");
    let (_, mut out) = converted(&sample.bytes(), TOLD_NOTHING);
    let major_at = out.windows(4).position(|bytes| bytes == b"XENF").expect("libxc's header is there") + 24;
    out[major_at] = 4;
    let verdict = verify(&out[..]).unwrap();
    assert_eq!(verdict.faults[0].rule, stream::Rule::PageTable, "{:?}", verdict.faults);
}

#[test]
fn what_is_no_legacy_stream_or_a_broken_one_is_refused() {
    let mut count = 0;
    for sample in samples().into_iter().filter(|sample| sample.want == "refuse") {
        let (result, out) = converted(&sample.bytes(), TOLD_NOTHING);
        match result {
            Err(ConvertError::Fault(_)) => {}
            other => panic!("{} ({}): {other:?}", sample.name, sample.note),
        }
        assert!(!out.ends_with(&[0; 8]) || !verify(&out[..]).unwrap().ok, "{}: taken for whole", sample.name);
        count += 1;
    }
    assert!(count >= 45, "only {count} samples");
}

#[test]
fn a_wrong_word_of_sender_or_guest_is_contradicted() {
    for sample in good() {
        let bytes = sample.bytes();
        let other_word = if sample.width == 64 { WordSize::Four } else { WordSize::Eight };
        let other_guest = if sample.guest == "pv" { DomainType::Hvm } else { DomainType::Pv };
        for options in [
            Options { word: Some(other_word), ..TOLD_NOTHING },
            Options { guest: Some(other_guest), ..TOLD_NOTHING },
        ] {
            let Err(ConvertError::Fault(fault)) = converted(&bytes, options).0 else {
                panic!("{}", sample.name)
            };
            assert_eq!(fault.rule, Rule::Told, "{}: {fault}", sample.name);
            let seen = format!("{}-bit", sample.width);
            assert!(fault.detail.contains(&seen), "it says what was seen: {fault}");
        }
    }
}

/// Gives its bytes and then fails the test: nobody may wait for more.
struct Live<'a>(&'a [u8]);

impl Read for Live<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        assert!(!self.0.is_empty(), "it waits for what a sender will never send");
        self.0.read(buffer)
    }
}

#[test]
fn a_stream_that_says_its_end_is_read_to_it_and_no_further() {
    let mut ended = 0;
    for sample in good().filter(|sample| !sample.name.contains("remus")) {
        let bytes = sample.bytes();
        let (result, expected) = converted(&bytes, TOLD_NOTHING);
        let length = result.unwrap().bytes as usize;
        let mut out = Vec::new();
        let mut channel = Copying::new(Live(&bytes[..length]), &mut out);
        if sample.name.contains("v40") {
            continue; // its device model's state goes on to the end of the file
        }
        convert(&mut channel, Options { after: After::Stop, ..TOLD_NOTHING }).unwrap();
        drop(channel);
        assert!(out == expected, "{}", sample.name);
        ended += 1;
    }
    assert!(ended > 10, "only {ended}");
}

/// Counts how large a piece it was ever asked for at once.
struct Asked<'a> {
    rest: &'a [u8],
    most: &'a mut usize,
}

impl Read for Asked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        *self.most = (*self.most).max(buffer.len());
        self.rest.read(buffer)
    }
}

#[test]
fn a_stream_that_lies_about_lengths_takes_no_memory_for_them() {
    for sample in samples().into_iter().filter(|sample| sample.want == "refuse") {
        let bytes = sample.bytes();
        let mut most = 0;
        let mut out = Vec::new();
        let mut channel = Copying::new(Asked { rest: &bytes, most: &mut most }, &mut out);
        convert(&mut channel, TOLD_NOTHING).unwrap_err();
        assert!(most <= 1 << 20, "{}: {most} bytes were asked for at once", sample.name);
        assert!(out.len() <= bytes.len() + 4096, "{}: {} bytes came out", sample.name, out.len());
    }
}
