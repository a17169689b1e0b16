//! Checkpoints that go nowhere: everything of them is done and counted, output waits for each, and in the end the guest
//! goes on as before.

use nix::sys::signal::{Signal, raise};
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use understudy::blackhole::{BlackholeError, End, Plan, Summary, run};
use understudy::config::Limits;
use understudy::guest::{HeldOutput, LabCards, Machine, OutputMaker, PreviousRun, RunningGuest, activated};
use understudy::signals::{Hangup, ShutdownSignal};
use understudy_checkpoint::{Epoch, Generation};
use understudy_lab::{GuestConfig, LabGuest, Mac, Port};

const FRAME: &[u8] = &[0x5a; 60];

fn plan() -> Plan {
    Plan {
        interval: Duration::from_millis(5),
        limits: Limits { staging_bytes: 4 << 20, shadow_bytes: 8 << 20, ..Limits::default() },
        tell_every: Duration::from_millis(200),
    }
}

fn guest(outputs: OutputMaker) -> Result<RunningGuest, BlackholeError> {
    let config = GuestConfig {
        memory_bytes: 8 << 20,
        load: "mixed".parse().unwrap(),
        ..GuestConfig::new("g1", Mac([0x52, 0x54, 0, 0, 0, 1]), Ipv4Addr::new(10, 77, 0, 11))
    };
    let card = LabCards::new(outputs, None).make("g1", Epoch(0)).unwrap();
    let guest = LabGuest::start(&config, card.port()).unwrap();
    Ok(activated(guest, card)?)
}

/// What left since this was asked last.
fn left(output: &HeldOutput) -> usize {
    let mut frames = Vec::new();
    output.take_into(&mut frames);
    frames.iter().filter(|frame| *frame == FRAME).count()
}

/// What the test has a hand on while the checkpoints are made.
struct Hands {
    output: HeldOutput,
    machine: Arc<dyn Machine>,
}

/// Runs, with `told` at each summary, from 1; how it ended, and the guest.
fn run_with(mut told: impl FnMut(u32, &Hands, Summary)) -> (Result<End, BlackholeError>, Hands) {
    let hands = RefCell::new(None);
    let find = |outputs| {
        let found = guest(outputs)?;
        let (output, machine) = (found.output.clone(), found.machine.clone());
        *hands.borrow_mut() = Some(Hands { output, machine });
        Ok(found)
    };
    let mut signal = ShutdownSignal::install(Hangup::Ends).unwrap();
    let mut count = 0;
    let end = run(find, &plan(), &mut signal, |summary| {
        count += 1;
        told(count, hands.borrow().as_ref().unwrap(), summary);
    });
    (end, hands.into_inner().unwrap())
}

#[test]
fn output_waits_for_each_checkpoint_until_a_signal_ends_them() {
    let (mut summaries, mut left_at_once, mut left_later) = (Vec::new(), 0, 0);
    let (end, hands) = run_with(|count, hands, summary| {
        summaries.push(summary);
        match count {
            2 => {
                hands.output.transmit(FRAME);
                left_at_once = left(&hands.output);
            }
            4 => {
                left_later = left(&hands.output);
                raise(Signal::SIGTERM).unwrap();
            }
            _ => {}
        }
    });
    assert_eq!(end.unwrap(), End::Stopped);
    assert_eq!((left_at_once, left_later), (0, 1), "it waits for its checkpoint, and no longer");
    for summary in &summaries[1..4] {
        assert!(summary.checkpoints > 0 && summary.pause <= summary.pause_max, "{summary:?}");
        assert!(summary.dirty_pages > 0 && summary.bytes > 0, "the guest writes: {summary:?}");
    }
    hands.output.transmit(FRAME);
    assert_eq!(left(&hands.output), 1, "nothing is held any more");
    hands.machine.stop();
}

#[test]
fn a_guest_that_ends_ends_them() {
    let (end, _) = run_with(|_, hands, _| hands.machine.stop());
    assert_eq!(end.unwrap(), End::GuestEnded);
}

#[test]
fn a_guest_that_an_engine_has_is_left_alone() {
    let mut signal = ShutdownSignal::install(Hangup::Ends).unwrap();
    let past = Some(PreviousRun { generation: Generation(3), is_halted: false });
    let find = |outputs| Ok(RunningGuest { past, ..guest(outputs)? });
    let end = run(find, &plan(), &mut signal, |_| panic!("a checkpoint was made"));
    assert!(matches!(end, Err(BlackholeError::Protected)), "{end:?}");
    let none = run(|_| Err(BlackholeError::Unfit("it has disks".into())), &plan(), &mut signal, |_| ());
    assert_eq!(none.unwrap_err().to_string(), "it has disks");
}
