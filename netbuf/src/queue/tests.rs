//! What leaves the queue when, in order, and within its bounds.

use super::*;
use proptest::prelude::*;

fn drain(queue: &mut EpochQueue) -> Vec<u8> {
    std::iter::from_fn(|| queue.take()).map(|frame| frame[0]).collect()
}

#[test]
fn frames_leave_with_their_epoch_and_in_order() {
    let mut queue = EpochQueue::new(Epoch(4), Limits::default());
    assert_eq!(queue.push(&[1]), Push::Passing);
    queue.cut(Epoch(4));
    assert_eq!(queue.push(&[2]), Push::Held);
    queue.cut(Epoch(5));
    queue.push(&[3]);
    queue.cut(Epoch(6));
    queue.push(&[4]);
    assert_eq!(drain(&mut queue), [1]);
    queue.release(Epoch(4));
    assert!(drain(&mut queue).is_empty());
    queue.release(Epoch(6));
    assert_eq!(drain(&mut queue), [2, 3]);
    queue.pass();
    assert_eq!(drain(&mut queue), [4]);
}

#[test]
fn a_queue_that_begins_holding_lets_nothing_out_before_it_may() {
    let mut queue = EpochQueue::holding(Epoch(0), Limits::default());
    assert_eq!(queue.push(&[1]), Push::Held);
    assert!(drain(&mut queue).is_empty());
    queue.pass();
    assert_eq!(drain(&mut queue), [1]);
}

#[test]
fn a_fenced_queue_lets_nothing_out_not_even_what_was_released() {
    let mut queue = EpochQueue::new(Epoch(0), Limits::default());
    queue.cut(Epoch(0));
    queue.push(&[1]);
    queue.cut(Epoch(1));
    queue.release(Epoch(1));
    queue.fence();
    queue.release(Epoch(1));
    queue.pass();
    assert_eq!(queue.push(&[2]), Push::Dropped);
    assert!(drain(&mut queue).is_empty());
    assert_eq!(queue.stats().dropped_fenced, 1);
}

#[test]
fn limits_drop_and_count_and_warn_before() {
    let limits = Limits { bytes_max: 10, frames_max: 3, pressure_percent: 50 };
    let mut queue = EpochQueue::new(Epoch(0), limits);
    queue.cut(Epoch(0));
    assert_eq!(queue.push(&[0; 4]), Push::Held);
    assert_eq!(queue.push(&[0; 4]), Push::HeldNearLimit);
    assert_eq!(queue.push(&[0; 4]), Push::Dropped);
    assert_eq!(queue.stats().dropped_at_limit, 1);
    queue.cut(Epoch(1));
    queue.release(Epoch(1));
    drain(&mut queue);
    assert_eq!(queue.push(&[0; 10]), Push::HeldNearLimit);
}

fn take_news(queue: &mut EpochQueue) -> Option<Waiting> {
    queue.has_news().then(|| queue.waiting())
}

#[test]
fn news_is_the_first_answer_and_as_many_as_were_asked_for() {
    let arp = [&[2; 12][..], &[0x08, 0x06], &[0; 28]].concat();
    let mut queue = EpochQueue::holding(Epoch(0), Limits::default());
    queue.push(&[1]);
    assert_eq!(take_news(&mut queue), Some(Waiting { answers: 1, bare: 0 }));
    queue.tell_at(Some(3));
    queue.push(&[2]);
    assert_eq!(take_news(&mut queue), None);
    queue.push(&[3]);
    assert_eq!(take_news(&mut queue), Some(Waiting { answers: 3, bare: 0 }));
    queue.tell_at(Some(2));
    assert!(queue.has_news(), "there are more already");
    queue.cut(Epoch(0));
    assert_eq!(take_news(&mut queue), None, "they wait for an ack, not for a checkpoint");
    queue.push(&arp);
    assert_eq!(take_news(&mut queue), Some(Waiting { answers: 0, bare: 1 }));
    for _ in 0..BARE_MANY - 2 {
        queue.push(&arp);
    }
    assert!(!queue.has_news());
    queue.push(&arp);
    assert_eq!(take_news(&mut queue), Some(Waiting { answers: 0, bare: BARE_MANY }));
    queue.cut(Epoch(1));
    queue.tell_at(None);
    queue.push(&[4]);
    queue.push(&arp);
    assert_eq!(take_news(&mut queue), None, "nobody wants to be told");
    queue.pass();
    queue.push(&[5]);
    assert_eq!(take_news(&mut queue), None, "it has left");
}

proptest! {
    /// Whatever the order of calls, nothing leaves before its release and nothing that was taken in is
    /// lost or reordered.
    #[test]
    fn nothing_leaves_early_nothing_is_lost(steps in proptest::collection::vec(0u8..4, 1..200)) {
        let mut queue = EpochQueue::new(Epoch(0), Limits::default());
        queue.cut(Epoch(0));
        let (mut released, mut pushed, mut seen) = (0u64, Vec::new(), Vec::new());
        for step in steps {
            match step {
                0 | 1 => {
                    let frame = (pushed.len() as u64).to_le_bytes();
                    pushed.push(queue.open_epoch());
                    queue.push(&frame);
                }
                2 => queue.cut(queue.open_epoch()),
                _ => {
                    released = queue.open_epoch().0 - 1;
                    queue.release(Epoch(released));
                }
            }
            while let Some(frame) = queue.take() {
                let index = u64::from_le_bytes(frame.try_into().unwrap());
                prop_assert!(pushed[index as usize] <= Epoch(released));
                seen.push(index);
            }
        }
        queue.pass();
        seen.extend(std::iter::from_fn(|| queue.take()).map(|frame| u64::from_le_bytes(frame.try_into().unwrap())));
        prop_assert_eq!(seen, (0..pushed.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn one_frame_leaves_alone_and_is_waited_for_no_more() {
    let arp = [&[2; 12][..], &[0x08, 0x06], &[0; 28]].concat();
    let mut queue = EpochQueue::new(Epoch(0), Limits::default());
    queue.cut(Epoch(0));
    queue.push(&[1]);
    queue.cut(Epoch(1));
    let first = queue.next_id();
    for frame in [&[2][..], &arp, &[3]] {
        queue.push(frame);
    }
    let ids: Vec<_> = queue.held_from(first).map(|(id, epoch, frame)| (id, epoch, frame[0])).collect();
    assert_eq!(ids[0], (first, Epoch(2), 2));
    assert_eq!(ids.len(), 3);
    assert!(queue.let_out(ids[0].0, |frame| frame[0] = 9));
    assert_eq!(queue.waiting(), Waiting { answers: 1, bare: 1 });
    assert!(queue.let_out(ids[1].0, |_| ()));
    assert!(!queue.let_out(ids[1].0, |_| panic!("it is gone")));
    assert_eq!(queue.waiting(), Waiting { answers: 1, bare: 0 });
    assert_eq!(drain(&mut queue), [9, 2]);
    queue.release(Epoch(1));
    assert_eq!(drain(&mut queue), [1]);
    assert_eq!((queue.stats().acked_frames, queue.stats().matched_frames), (1, 2));
    assert_eq!((queue.stats().held_frames, queue.stats().held_bytes), (1, 1));
    queue.fence();
    assert!(!queue.let_out(ids[2].0, |_| panic!("it was thrown away")));
}

#[test]
fn a_frame_that_is_needless_is_thrown_away_and_no_other() {
    let mut queue = EpochQueue::holding(Epoch(0), Limits::default());
    (1..4).for_each(|byte| _ = queue.push(&[byte]));
    assert!(queue.discard(HeldId(1)));
    assert!(!queue.discard(HeldId(1)), "it is gone");
    assert_eq!(queue.waiting(), Waiting { answers: 2, bare: 0 });
    assert_eq!((queue.stats().held_frames, queue.stats().held_bytes), (2, 2));
    queue.cut(Epoch(0));
    queue.release(Epoch(0));
    assert_eq!(drain(&mut queue), [1, 3]);
    assert_eq!((queue.stats().outdated_frames, queue.stats().acked_frames), (1, 2));
}

#[test]
fn news_of_a_frame_that_has_left_is_none() {
    let mut queue = EpochQueue::holding(Epoch(0), Limits::default());
    queue.push(&[1]);
    queue.let_out(HeldId(0), |_| ());
    assert_eq!(take_news(&mut queue), None);
    queue.push(&[2]);
    assert_eq!(take_news(&mut queue), Some(Waiting { answers: 1, bare: 0 }));
    queue.cut(Epoch(0));
    queue.push(&[3]);
    queue.let_out(HeldId(1), |_| ());
    assert_eq!(take_news(&mut queue), Some(Waiting { answers: 1, bare: 0 }), "that was of a closed epoch");
}

proptest! {
    /// What leaves alone leaves at once, each frame leaves once, and what is not let out leaves with its epoch and in order.
    #[test]
    fn what_leaves_alone_changes_nothing_for_the_others(
        steps in proptest::collection::vec((0u8..5, any::<u8>()), 1..200),
    ) {
        let mut queue = EpochQueue::new(Epoch(0), Limits::default());
        queue.cut(Epoch(0));
        let (mut released, mut held, mut bytes) = (0u64, Vec::<(u64, Epoch)>::new(), 0);
        for (step, any) in steps {
            let mut expected = Vec::new();
            match step {
                0 | 1 => {
                    held.push((queue.next_id().0, queue.open_epoch()));
                    let frame = queue.next_id().0.to_le_bytes();
                    queue.push(&frame);
                    bytes += 8;
                }
                2 => queue.cut(queue.open_epoch()),
                3 if !held.is_empty() => {
                    let (id, _) = held.remove(usize::from(any) % held.len());
                    prop_assert!(queue.let_out(HeldId(id), |frame| frame[7] = 1));
                    prop_assert!(!queue.let_out(HeldId(id), |_| ()));
                    expected.push(id | 1 << 56);
                }
                _ => {
                    released = (released + u64::from(any) % 3).min(queue.open_epoch().0 - 1);
                    queue.release(Epoch(released));
                    let (leave, stay) = held.iter().partition(|(_, epoch)| *epoch <= Epoch(released));
                    held = stay;
                    expected = Vec::from_iter(Vec::into_iter(leave).map(|(id, _): (u64, Epoch)| id));
                }
            }
            let left: Vec<_> =
                std::iter::from_fn(|| queue.take()).map(|frame| u64::from_le_bytes(frame.try_into().unwrap())).collect();
            bytes -= 8 * left.len();
            prop_assert_eq!(left, expected);
            prop_assert_eq!((queue.stats().held_frames, queue.stats().held_bytes), (held.len(), bytes));
            let open = held.iter().filter(|(_, epoch)| *epoch == queue.open_epoch()).count();
            prop_assert_eq!(queue.waiting().answers as usize, open);
        }
    }
}
