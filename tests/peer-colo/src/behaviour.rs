//! What a comparer makes of frames, case by case: QEMU's beside ours.

use crate::cases::{self, Asks, Case, Outcome, Right, Step};
use crate::qemu::Compare;
use crate::{frames, ours};
use std::io;
use std::thread;
use std::time::Duration;

/// Frames of the two guests come by two sockets: apart, they are read in this order.
const APART: Duration = Duration::from_millis(8);
const QUIET: Duration = Duration::from_millis(40);
const NO_TIMEOUT: &str = ",compare_timeout=60000,expired_scan_cycle=60000";

fn of_qemu(compare: &mut Compare, steps: &[Step]) -> io::Result<Outcome> {
    for step in steps {
        match step {
            Step::Primary(frame) => compare.primary(frame)?,
            Step::Copy(frame) | Step::StaleCopy(frame) => compare.secondary(frame)?,
            Step::Checkpoint => compare.checkpoint()?,
        }
        thread::sleep(APART);
    }
    let (left, asked) = compare.answers(QUIET)?;
    let ack = left.last().and_then(|frame| frames::numbers(frame)).map(|(_, ack)| ack);
    Ok(Outcome { left: left.len(), ack, asked: asked > 0 })
}

fn right(right: Right) -> String {
    let Right { left, ack, asks } = right;
    let ack = ack.map(|ack| format!(", ack {ack}")).unwrap_or_default();
    let asks = match asks {
        Asks::No => "",
        Asks::Yes => ", asks",
        Asks::SoonerOrLater => ", asks at last",
    };
    if left == 0 { format!("none leaves{asks}") } else { format!("{left} left{ack}{asks}") }
}

/// A checkpoint lets go what other cases left behind, so such cases have an instance of their own.
fn has_checkpoint(case: &Case) -> bool {
    case.steps.iter().any(|step| matches!(step, Step::Checkpoint))
}

/// Prints the table; how many of ours are wrong.
pub(crate) fn compare(is_qemu_here: bool) -> io::Result<usize> {
    let mut shared = is_qemu_here.then(|| Compare::start(NO_TIMEOUT)).transpose()?;
    let (mut wrong, mut theirs_right, mut count) = (0, 0, 0);
    println!(
        "comparer: the primary's frames / the copy's                {:<25} {:<25} right",
        "QEMU", "ours"
    );
    for case in cases::all() {
        let ours = ours::outcome(&case.steps);
        let theirs = match &mut shared {
            None => None,
            Some(_) if has_checkpoint(&case) => Some(of_qemu(&mut Compare::start(NO_TIMEOUT)?, &case.steps)?),
            Some(shared) => Some(of_qemu(shared, &case.steps)?),
        };
        let is_right = case.right.is(ours);
        wrong += usize::from(!is_right);
        theirs_right += usize::from(theirs.is_some_and(|theirs| case.right.is(theirs)));
        count += 1;
        let theirs = theirs.map_or("?".into(), |theirs| theirs.to_string());
        let mark = if is_right { "" } else { "  OURS IS WRONG" };
        println!("  {:<56} {theirs:<25} {ours:<25} {}{mark}", case.name, right(case.right));
    }
    if is_qemu_here {
        println!("  right: QEMU {theirs_right}, ours {} of {count}", count - wrong);
    }
    Ok(wrong)
}
