//! Legacy streams: anything may come from an old file or a stranger.
//!
//! Whatever it is, it is converted or refused; the result is the same however the input is split; what is converted ends as
//! a plain stream of today does, and takes no more memory than the input and the pages that it names.
//!
//! The input is taken twice: as a stream, and as edits of a sound one of Remus, three bytes each.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Read;
use understudy_checkpoint::legacy::{
    Action, After, ConvertError, Converter, Copying, Layer, Options, Report, convert, recognise,
};
use understudy_checkpoint::stream::{Ending, verify};

const OPTIONS: Options = Options { layer: Layer::Whole, word: None, guest: None, after: After::Look };

fuzz_target!(|data: &[u8]| {
    let _ = judge(data);
    let edits = judge(&edited(data));
    if data.len() < 3 {
        assert_eq!(edits.expect("it is sound").0.checkpoints, 2);
    }
});

fn judge(data: &[u8]) -> Outcome {
    let (found, read) = recognise(&mut &data[..]).expect("a slice can be read");
    assert!(data.starts_with(&read), "what was read is given back");
    let whole = from_memory(data);
    for step in [1, 7, 4096] {
        let dribbled = dribbled(data, step);
        assert_eq!(whole, dribbled, "any split gives the same");
    }
    if let Ok((report, out)) = &whole {
        assert!(found.is_some(), "what is converted is recognised");
        // Libvirt's header is not one that verify takes.
        if !data.starts_with(b"libvirt") {
            let verdict = verify(&out[..]).expect("a slice can be read");
            assert_eq!((verdict.ending, verdict.followed), (Some(Ending::Plain), false), "{:?}", verdict.faults);
        }
        assert!(report.bytes <= data.len() as u64);
    }
    whole
}

type Outcome = Result<(Report, Vec<u8>), String>;

/// The converter is given all there is, far more than it asks for.
fn from_memory(data: &[u8]) -> Outcome {
    let mut converter = Converter::new(OPTIONS);
    let (mut rest, mut out) = (data, Vec::new());
    loop {
        let action = converter.next(rest).map_err(|fault| fault.to_string())?;
        out.append(converter.output());
        match action {
            Action::Took(bytes) => rest = &rest[bytes..],
            Action::Need(bytes) => {
                assert!(bytes > rest.len(), "it asks for what it has");
                converter.end(rest).map_err(|fault| fault.to_string())?;
            }
            Action::UntilEnd => converter.end(rest).map_err(|fault| fault.to_string())?,
            Action::Pass(bytes) => {
                let there = rest.len().min(bytes as usize);
                if there == 0 {
                    converter.end(&[]).map_err(|fault| fault.to_string())?;
                    continue;
                }
                out.extend_from_slice(&rest[..there]);
                rest = &rest[there..];
                converter.passed(there as u64);
            }
            Action::Done => return Ok((converter.report().expect("it is done"), out)),
        }
    }
}

struct Dribble<'a>(&'a [u8], usize);

impl Read for Dribble<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let end = into.len().min(self.1);
        self.0.read(&mut into[..end])
    }
}

fn dribbled(data: &[u8], step: usize) -> Outcome {
    let mut out = Vec::new();
    match convert(&mut Copying::new(Dribble(data, step), &mut out), OPTIONS) {
        Ok(report) => Ok((report, out)),
        Err(ConvertError::Fault(fault)) => Err(fault.to_string()),
        Err(error) => panic!("{error}"),
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A stream of Remus of an HVM guest with two pages, by a 64-bit toolstack; the second checkpoint comes compressed.
/// Returns where its page lies, too, which is not worth editing.
fn sound() -> (Vec<u8>, usize) {
    let tail = || {
        let context = [&words(&[8, 0, 9, 0, 7, 0, 5])[..], &[3; 5], b"DeviceModelRecord0002", &words(&[4]), b"QEVM"];
        context.concat()
    };
    let vcpus = words(&[-2i32 as u32, 0, 1, 0]);
    let region = [&words(&[-18i32 as u32, 42, 1, 1, 0xF0, 0, 1, 0, 2, 0, 2])[..], b"v\0", &[0; 4]].concat();
    let mut stream = words(&[16, 0, -7i32 as u32, 0, 1, 0, 2, 3, 2, 5, 0, 6 | 0xE000_0000, 0]);
    let page_at = stream.len();
    stream.extend([9; 4096]);
    stream.extend(words(&[-3i32 as u32, 0, 11, 0]));
    stream.extend([&vcpus[..], &region, &words(&[-13i32 as u32, 0]), &tail()].concat());
    // Whole, and then as a change of that.
    let packed = [&[0x80][..], &[4; 4096], &[0xFF; 8], &[0x87, 1, 1, 2, 3, 4]].concat();
    stream.extend(words(&[2, 7, 0, 7, 0, -12i32 as u32, packed.len() as u32, 0]));
    stream.extend([&packed[..], &vcpus, &words(&[0]), &tail()].concat());
    (stream, page_at)
}

/// The stream with bytes set, everywhere but in its page.
fn edited(data: &[u8]) -> Vec<u8> {
    let (mut stream, page_at) = sound();
    for edit in data.chunks_exact(3) {
        let offset = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % (stream.len() - 4096);
        stream[if offset < page_at { offset } else { offset + 4096 }] = edit[2];
    }
    stream
}
