//! What QEMU's comparison does otherwise, row by row of its behaviour, and the details of TCP that break a comparison. Each
//! test is named after its row: what the guest sent, what the copy sent, and what is right.

use super::support::*;
use understudy_colo::comparer::{Number, Why};
use understudy_colo::packet::Flags;

const AS: &[u8] = &[b'a'; 100];

fn at(number: u32) -> Number {
    Number(number)
}

// Acknowledgements.

#[test]
fn a_pure_ack_without_the_copys_is_held_until_the_copy_acks() {
    let mut t = Tester::live();
    t.g(ack(1, 9000)).expect(&[]).c(ack(1, 8999)).expect(&[]).c(ack(1, 9000)).expect(&[0]);
}

#[test]
fn a_pure_ack_beyond_the_copys_is_held() {
    let mut t = Tester::live();
    t.c(ack(1, 5000)).g(ack(1, 9000)).expect(&[]).c(ack(1, 9001)).expect(&[0]);
}

#[test]
fn same_bytes_with_a_greater_ack_leave_with_the_copys() {
    let mut t = Tester::live();
    t.g(data(1, AS).ack(9000)).c(data(1, AS).ack(5000));
    t.says(&[Said::LeftAs(0, patch(Some(5000), None))]);
}

#[test]
fn a_shorter_segment_with_a_greater_ack_is_no_divergence() {
    let mut t = Tester::live();
    t.g(data(1, &AS[..50]).ack(9000)).c(data(1, AS).ack(5000));
    t.says(&[Said::LeftAs(0, patch(Some(5000), None))]);
}

#[test]
fn the_greatest_ack_of_the_copy_counts_not_the_last() {
    let mut t = Tester::live();
    t.c(ack(1, 9000)).c(ack(1, 5000)).g(ack(1, 8000)).expect(&[0]);
}

#[test]
fn acks_are_compared_across_the_wrap() {
    let mut t = Tester::live();
    t.c(ack(1, 0xffff_fff0)).g(ack(1, 16)).expect(&[]).c(ack(1, 20)).expect(&[0]);
    t.g(ack(1, 0xffff_fff8)).expect(&[1]);
}

#[test]
fn a_window_update_waits_for_the_copys_room_and_is_no_divergence() {
    let mut t = Tester::live();
    t.g(syn_ack(0, &[])).c(syn_ack(0, &[])).expect_opened(&[0]);
    t.g(data(1, AS).window(500)).c(data(1, AS).window(500)).expect(&[1]);
    t.g(ack(101, 1).window(1100)).expect(&[]).wait(400).says(&[]);
    t.g(ack(101, 1).window(1200)).expect(&[]).c(ack(101, 1).window(1500)).expect(&[3]);
}

#[test]
fn the_right_edge_is_the_smaller_and_never_goes_back() {
    let mut t = Tester::live();
    t.g(syn_ack(0, &[])).c(syn_ack(0, &[])).expect_opened(&[0]);
    t.c(data(1, AS).ack(11).window(50)).g(data(1, AS).ack(11).window(70));
    // The SYN-ACK promised 1 + 1000.
    t.says(&[Said::Left(1)]);
    t.c(data(101, AS).ack(1001).window(50)).g(data(101, AS).ack(1001).window(70));
    t.says(&[Said::LeftAs(2, patch(None, Some(50)))]);
    t.c(data(201, AS).ack(1011).window(10)).g(data(201, AS).ack(1011).window(90));
    t.says(&[Said::LeftAs(3, patch(None, Some(40)))]);
}

#[test]
fn windows_are_compared_shifted() {
    let mut t = Tester::live();
    t.g(syn_ack(0, USUAL_OPTIONS).window(100)).c(syn_ack(0, USUAL_OPTIONS).window(100)).expect_opened(&[0]);
    // 1001 + 10 · 128 = 2281; what the copy offers, 1001 + 5 · 128, is less.
    t.c(data(1, AS).ack(1001).window(5)).g(data(1, AS).ack(1001).window(10));
    t.says(&[Said::LeftAs(1, patch(None, Some(5)))]);
    // The copy is 128 behind with the same edge: the frame leaves with the copy's numbers.
    t.c(data(101, AS).ack(1001).window(9)).g(data(101, AS).ack(1129).window(8));
    t.says(&[Said::LeftAs(2, patch(Some(1001), Some(9)))]);
}

#[test]
fn the_windows_of_a_flow_whose_syn_was_not_seen_are_compared_raw() {
    let mut t = Tester::live();
    t.c(data(1, AS).window(5)).g(data(1, AS).window(10)).says(&[Said::LeftAs(0, patch(None, Some(5)))]);
}

#[test]
fn capped_duplicates_are_never_made() {
    let mut t = Tester::live();
    t.g(data(1, AS).ack(5000)).c(data(1, AS).ack(5000)).expect(&[0]);
    for more in 1..=4 {
        t.g(ack(101, 5000 + more * 1000)).expect(&[]);
    }
    t.c(ack(101, 7000)).expect(&[1, 2]).c(ack(101, 6500)).expect(&[]).c(ack(101, 9000)).expect(&[3, 4]);
}

/// The copy lacks a segment that the guest has. The client sends again, from what it was told last, and comes to that segment
/// only if it is told what the copy has received.
#[test]
fn a_client_is_told_what_the_copy_has_where_the_guest_has_more() {
    let mut t = Tester::live();
    t.g(data(1, AS).ack(5000)).c(data(1, AS).ack(5000)).expect(&[0]);
    t.g(ack(101, 9000)).c(ack(101, 7000)).expect(&[]);
    // Sent again by the client, and answered by both.
    t.g(ack(101, 9000)).c(ack(101, 7000)).says(&[Said::LeftAs(1, patch(Some(7000), None))]);
    t.g(ack(101, 9000)).c(ack(101, 7000)).expect(&[]);
    t.c(ack(101, 9000)).expect(&[2, 3]);
}

#[test]
fn the_guests_own_duplicates_leave() {
    let mut t = Tester::live();
    t.c(ack(1, 5000));
    t.g(ack(1, 5000)).g(ack(1, 5000)).g(ack(1, 5000)).g(ack(1, 5000)).expect(&[0, 1, 2, 3]);
}

// Ends.

#[test]
fn a_fin_against_data_is_a_divergence() {
    let mut t = Tester::live();
    t.g(data(1, &[]).fin()).c(data(1, AS)).says(&[Said::Diverged(Why::End { at: at(1) })]);
    let mut t = Tester::live();
    t.g(data(1, AS)).c(data(1, &AS[..60]).fin()).says(&[Said::Diverged(Why::End { at: at(61) })]);
}

#[test]
fn a_reset_against_data_is_a_divergence() {
    let mut t = Tester::live();
    t.g(data(1, AS)).c(data(1, AS)).expect(&[0]);
    t.g(data(101, &[]).rst()).c(data(101, AS)).says(&[Said::Diverged(Why::Reset { at: at(101) })]);
    let mut t = Tester::live();
    t.g(data(1, AS)).c(data(1, AS)).expect(&[0]);
    t.g(data(101, AS)).c(data(101, &[]).rst()).says(&[Said::Diverged(Why::Reset { at: at(101) })]);
}

#[test]
fn a_reset_of_an_unknown_flow_against_data_is_a_divergence_at_once() {
    let reset = |number| data(number, &[]).rst();
    let differs = |at_number| [Said::Diverged(Why::Reset { at: at(at_number) })];
    Tester::live().g(reset(101)).c(data(101, AS)).says(&differs(101));
    Tester::live().c(data(101, AS)).g(reset(101)).says(&differs(101));
    Tester::live().g(reset(150)).c(data(101, AS)).says(&differs(150));
    Tester::live().c(reset(101)).g(data(101, AS)).says(&differs(101));
    Tester::live().g(data(101, AS)).c(reset(101)).says(&differs(101));
    // The copy sends again what the guest sent before its base, and then resets, too.
    Tester::live().g(reset(201)).c(data(101, AS)).says(&[]).c(reset(201)).expect(&[0]);
    Tester::live().c(data(101, AS)).g(reset(201)).says(&[]).c(reset(201)).expect(&[0]);
}

#[test]
fn equal_resets_leave() {
    let mut t = Tester::live();
    t.g(data(1, AS)).c(data(1, AS)).expect(&[0]);
    t.c(data(101, &[]).rst()).g(data(101, &[]).rst()).expect(&[1]);
    let mut t = Tester::live();
    t.g(data(0, &[]).rst()).c(data(0, &[]).rst()).expect(&[0]);
    // A port on which nobody listens answers each SYN so.
    t.g(data(0, &[]).rst()).expect(&[]).c(data(0, &[]).rst()).expect(&[1]);
}

#[test]
fn a_reset_without_an_ack_needs_none() {
    let mut t = Tester::live();
    t.g(data(9, &[]).rst().without_ack()).c(data(9, &[]).rst().without_ack()).expect(&[0]);
}

#[test]
fn fins_at_one_number_leave_and_at_others_are_a_divergence() {
    let mut t = Tester::live();
    t.g(data(1, AS).fin()).c(data(1, AS)).expect(&[]).c(data(101, &[]).fin()).expect(&[0]);
    let mut t = Tester::live();
    t.g(data(1, AS).fin()).c(data(1, AS)).c(data(101, b"b").fin());
    t.says(&[Said::Diverged(Why::End { at: at(101) })]);
}

// SYNs.

#[test]
fn syns_of_other_options_are_a_divergence() {
    let changes: &[(&str, usize, u8)] =
        &[("mss", 3, 181), ("window scale", 19, 8), ("sack permitted", 4, 1), ("time stamps", 6, 7)];
    for (name, place, value) in changes {
        let mut options = USUAL_OPTIONS.to_vec();
        options[*place] = *value;
        if *name == "sack permitted" {
            options[5] = 1;
        }
        let mut t = Tester::live();
        t.g(syn_ack(0, USUAL_OPTIONS)).c(syn_ack(0, &options));
        t.says(&[Said::Diverged(Why::Handshake { at: at(0) })]);
    }
}

#[test]
fn syns_with_other_time_stamps_leave_and_other_ecn_is_a_divergence() {
    let mut options = USUAL_OPTIONS.to_vec();
    options[11] = 77;
    let mut t = Tester::live();
    t.g(syn_ack(0, USUAL_OPTIONS)).c(syn_ack(0, &options)).expect_opened(&[0]);
    let mut t = Tester::live();
    t.g(syn_ack(0, USUAL_OPTIONS).flag(0x40)).c(syn_ack(0, USUAL_OPTIONS));
    t.says(&[Said::Diverged(Why::Handshake { at: at(0) })]);
}

#[test]
fn a_syn_of_another_number_is_a_divergence() {
    let mut t = Tester::live();
    t.g(syn_ack(1000, &[])).c(syn_ack(9000, &[])).says(&[Said::Diverged(Why::Handshake { at: at(9000) })]);
    let mut t = Tester::live();
    t.c(syn_ack(9000, &[])).g(syn_ack(1000, &[])).says(&[Said::Diverged(Why::Handshake { at: at(9000) })]);
}

#[test]
fn the_primarys_numbers_are_told_to_the_rewriter_once() {
    let mut t = Tester::live();
    t.g(syn_ack(7, USUAL_OPTIONS)).g(syn_ack(7, USUAL_OPTIONS));
    let said = t.said();
    let [Said::Opened(handshake)] = said[..] else { panic!("{said:?}") };
    assert_eq!((handshake.opening.sequence, handshake.opening.timestamp), (7, Some(9)));
    assert_eq!((handshake.epoch, handshake.opening.answers), (t.epoch, Some(1)));
}

#[test]
fn multipath_is_blanked_and_not_compared() {
    let with = |key: u8| [&[30, 12, 1, 1][..], &[key; 8]].concat();
    let mut t = Tester::live();
    t.g(syn_ack(0, &with(1))).c(syn_ack(0, &with(2)));
    let blank = understudy_colo::Patch { is_multipath_blanked: true, ..patch(None, None) };
    t.says(&[Said::LeftAs(0, blank)]);
}

#[test]
fn data_in_a_syn_is_compared() {
    let fast = |payload: &[u8]| Seg { payload: payload.to_vec(), ..syn_ack(0, &[]) };
    let mut t = Tester::live();
    t.g(fast(b"hello")).c(fast(b"hello")).expect_opened(&[0]);
    let mut t = Tester::live();
    t.g(fast(b"hello")).c(fast(b"help!")).says(&[Said::Diverged(Why::Payload { at: at(4) })]);
}

#[test]
fn a_port_used_again_with_a_lower_number_is_compared_anew() {
    let mut t = Tester::live();
    t.g(syn_ack(5000, &[])).c(syn_ack(5000, &[])).g(data(5001, AS)).c(data(5001, AS)).expect_opened(&[0, 1]);
    t.g(syn_ack(1000, &[])).c(syn_ack(1000, &[])).expect_opened(&[2]);
    t.g(data(1001, b"one")).c(data(1001, b"two")).says(&[Said::Diverged(Why::Payload { at: at(1001) })]);
}

#[test]
fn the_copys_new_connection_waits_for_the_guests() {
    let mut t = Tester::live();
    t.g(syn_ack(5000, &[])).c(syn_ack(5000, &[])).expect_opened(&[0]);
    t.c(syn_ack(1000, &[])).c(data(1001, AS)).expect(&[]);
    t.g(syn_ack(1000, &[])).expect_opened(&[1]).g(data(1001, AS)).expect(&[2]);
}

// Streams.

#[test]
fn a_retransmission_of_compared_bytes_leaves() {
    let mut t = Tester::live();
    t.g(data(1, AS)).c(data(1, AS)).expect(&[0]).g(data(1, AS)).g(data(51, &AS[50..])).expect(&[1, 2]);
}

#[test]
fn an_old_tail_with_new_bytes_is_trimmed() {
    let mut t = Tester::live();
    t.g(data(1, AS)).c(data(1, AS)).expect(&[0]);
    let both = [&AS[..20], b"new"].concat();
    t.g(data(81, &both)).c(data(101, b"new")).expect(&[1]);
    t.g(data(81, &[&AS[..20], b"newer"].concat())).expect(&[]).c(data(104, b"er")).expect(&[2]);
}

#[test]
fn the_second_segment_may_come_first() {
    let mut t = Tester::live();
    t.g(data(1, AS)).c(data(1, AS)).expect(&[0]);
    t.g(data(201, AS)).g(data(101, AS)).c(data(101, AS)).expect(&[]).c(data(201, AS)).expect(&[1, 2]);
    t.c(data(401, AS)).c(data(301, AS)).g(data(301, AS)).g(data(401, AS)).expect(&[3, 4]);
}

#[test]
fn padding_is_no_payload() {
    let mut short = data(1, b"x").frame();
    short.resize(60, 0);
    let mut t = Tester::live();
    t.guest(&short).copy(&data(1, b"x").frame()).expect(&[0]);
}

#[test]
fn equal_bytes_at_other_numbers_are_a_divergence() {
    let mut t = Tester::live();
    t.g(data(1, AS)).c(data(301, AS)).expect(&[]).wait(60).says(&[Said::Diverged(Why::Timeout)]);
}

#[test]
fn segments_may_be_cut_otherwise() {
    let bytes: Vec<u8> = (0..200).collect();
    let mut t = Tester::live();
    t.g(data(1, &bytes)).c(data(1, &bytes[..70])).expect(&[]).c(data(71, &bytes[70..])).expect(&[0]);
    t.g(data(201, &bytes[..70])).g(data(271, &bytes[70..])).c(data(201, &bytes)).expect(&[1, 2]);
}

#[test]
fn numbers_wrap_inside_and_between_segments() {
    let mut t = Tester::live();
    let begin = u32::MAX - 49;
    t.g(data(begin, AS)).c(data(begin, &AS[..50])).expect(&[]).c(data(0, &AS[50..])).expect(&[0]);
    t.g(data(50, AS)).c(data(50, AS)).g(data(begin, AS)).expect(&[1, 2]);
}

#[test]
fn options_on_one_side_only_do_not_matter() {
    let stamps = [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 1];
    let mut t = Tester::live();
    t.g(data(1, AS).options(&stamps)).c(data(1, AS)).expect(&[0]);
}

#[test]
fn a_byte_that_differs_lets_out_what_is_before() {
    let mut other = AS.to_vec();
    other[40] = b'b';
    let mut t = Tester::live();
    t.g(data(1, &AS[..30])).g(data(31, &AS[30..])).g(data(101, AS)).c(data(1, &other));
    t.says(&[Said::Left(0), Said::Diverged(Why::Payload { at: at(41) })]);
    t.c(data(101, AS)).g(data(1, &AS[..30])).expect(&[]).wait(1000).says(&[]);
}

#[test]
fn keep_alives_and_window_probes_need_no_counterpart() {
    let mut t = Tester::live();
    t.g(data(1, AS)).c(data(1, AS)).expect(&[0]);
    t.g(ack(100, 1)).g(data(100, b"?")).expect(&[1, 2]);
    t.g(ack(100, 2)).expect(&[]).c(ack(100, 2)).expect(&[3]);
}

#[test]
fn push_and_congestion_flags_are_not_compared_and_urgent_ones_are() {
    let mut t = Tester::live();
    t.g(data(1, AS).flag(0x08 | 0xc0)).c(data(1, AS)).expect(&[0]);
    let urgent = |pointer: u16| Seg { urgent: pointer, ..data(101, AS).flag(Flags::URG) };
    t.g(urgent(5)).c(urgent(5)).expect(&[1]);
    let urgent = |pointer: u16| Seg { urgent: pointer, ..data(201, AS).flag(Flags::URG) };
    t.g(urgent(5)).c(urgent(6)).says(&[Said::Diverged(Why::Urgent { at: at(201) })]);
}

#[test]
fn signed_segments_are_compared_whole() {
    let signed =
        |byte: u8, sequence| data(sequence, AS).options(&[&[19, 18][..], &[byte; 16], &[0, 0]].concat());
    let mut t = Tester::live();
    t.g(signed(1, 1)).c(signed(1, 1)).expect(&[0]).g(signed(1, 101)).c(signed(2, 101)).expect(&[]);
    t.wait(60).says(&[Said::Diverged(Why::Timeout)]);
}

impl Tester {
    #[track_caller]
    fn expect_opened(&mut self, left: &[u64]) -> &mut Self {
        let left: Vec<Said> = left.iter().map(|id| Said::Left(*id)).collect();
        self.says(&left)
    }
}
