//! Acknowledgements that the comparer asks for.

use super::support::*;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use understudy_colo::comparer::Acknowledge;

const AS: &[u8] = &[b'a'; 100];

impl Tester {
    /// What the comparer asked for, and nothing else.
    #[track_caller]
    fn told(&mut self) -> Acknowledge {
        let said = self.said();
        let [Said::Told(what)] = said[..] else { panic!("{said:?}") };
        what
    }
}

#[test]
fn the_rest_of_a_capped_ack_is_told_as_the_copy_receives_it() {
    let mut t = Tester::live();
    t.g(data(1, AS).ack(9000)).c(data(1, AS).ack(5000)).says(&[Said::LeftAs(0, patch(Some(5000), None))]);
    let what = t.c(ack(101, 7000)).told();
    assert_eq!((what.sequence, what.ack, what.window), (101, 7000, 1000));
    t.c(ack(101, 7000)).c(ack(101, 6000)).says(&[]);
    assert_eq!(t.c(ack(101, 9500)).told().ack, 9000, "no more than the guest has received");
    t.c(ack(101, 9900)).says(&[]);
    assert_eq!(t.comparer.stats().acknowledged, 2);
}

#[test]
fn what_waits_tells_it_itself() {
    let mut t = Tester::live();
    t.g(data(1, AS).ack(9000)).c(data(1, AS).ack(5000)).expect(&[0]);
    t.g(ack(101, 9000))
        .c(ack(101, 7000))
        .expect(&[])
        .c(ack(101, 9000))
        .expect(&[1])
        .c(ack(101, 9000))
        .says(&[]);
    t.g(data(101, AS).ack(9900)).c(ack(101, 9500)).says(&[]).c(data(101, AS).ack(9900)).expect(&[2]);
}

#[test]
fn room_is_told_if_it_is_much() {
    let mut t = Tester::live();
    t.g(syn_ack(0, &[])).c(syn_ack(0, &[])).says(&[Said::Left(0)]);
    t.g(data(1, AS).ack(1001).window(4000)).c(data(1, AS).ack(1001).window(0));
    t.says(&[Said::LeftAs(1, patch(None, Some(0)))]).c(ack(101, 1001).window(1000)).says(&[]);
    let what = t.c(ack(101, 1001).window(2000)).told();
    assert_eq!((what.ack, what.window), (1001, 2000));
    t.c(ack(101, 1001).window(2000)).says(&[]);
    assert_eq!(t.c(ack(101, 1001).window(60_000)).told().window, 4000);
}

#[test]
fn nothing_is_told_after_a_reset_or_of_a_flow_that_differs() {
    let mut t = Tester::live();
    t.g(data(1, AS).ack(9000)).c(data(1, AS).ack(5000)).expect(&[0]);
    t.g(data(101, &[]).rst()).c(data(101, &[]).rst()).c(ack(101, 9000)).expect(&[1]);
    let mut t = Tester::live();
    t.g(data(1, AS).ack(9000)).c(data(1, AS).ack(5000)).expect(&[0]);
    t.g(data(101, b"a")).c(data(101, b"b").ack(9000));
    assert!(matches!(t.said()[..], [Said::Diverged(_)]));
    t.c(ack(102, 9000)).says(&[]);
}

#[test]
fn the_frame_is_whole() {
    let stamps = [1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 1];
    for (is_v6, vlan) in [(false, None), (true, None), (false, Some(7)), (true, Some(7))] {
        let on = |segment: Seg| Seg { is_v6, vlan, ..segment };
        let mut t = Tester::live();
        t.g(on(data(1, AS).ack(9000).options(&stamps))).c(on(data(1, AS).ack(5000))).expect(&[0]);
        let what = t.c(on(ack(101, 9000))).told();
        let mut frame = vec![7; 3];
        assert!(t.comparer.write_acknowledgement(&what, &mut frame));
        let expected = on(ack(101, 9000).options(&stamps)).frame();
        let [sliced, same] = [&frame, &expected].map(|bytes| SlicedPacket::from_ethernet(bytes).unwrap());
        let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
        match sliced.net {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header().to_header();
                assert_eq!(header.header_checksum, header.calc_header_checksum());
                assert_eq!(tcp.checksum(), tcp.to_header().calc_checksum_ipv4(&header, &[]).unwrap());
            }
            Some(NetSlice::Ipv6(ip)) => {
                let header = ip.header().to_header();
                assert_eq!(tcp.checksum(), tcp.to_header().calc_checksum_ipv6(&header, &[]).unwrap());
            }
            other => panic!("no IP: {other:?}"),
        }
        assert_eq!(frame, expected, "{same:?}");
    }
}
