#!/usr/bin/env python3
"""The judge judged: an honest buffer's capture is clean, and each kind of wrong is seen as what it is. Needs no rig.

    tests/rig/judge/tests.py
"""
import struct
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent.parent))
from judge.buffer import VIOLATIONS, Buffer  # noqa: E402
from judge.client import Client  # noqa: E402
from judge.pcapng import Capture, Sight  # noqa: E402
from judge.timeline import Timeline  # noqa: E402

BEGIN = 1_800_000_000_000_000_000
PLACES = {"sent": ("vif1.0", False), "held": ("us-vif1.0", True), "released": ("us-vif1.0", False),
          "left": ("lan0", True), "heard": ("lan0", False)}  # fmt: skip
# Epochs end every 100 ns; each is acked 50 ns later, but for the last one.
LOG = "".join(f'T DEBUG understudy::output: cut guest="g" epoch={n} at_ns={BEGIN + 100 * (n + 1)}\n' for n in range(5))
LOG += "".join(f'T DEBUG understudy::output: acked guest="g" epoch={n} at_ns={BEGIN + 100 * (n + 1) + 50}\n' for n in range(4))


def frame(number):
    return bytes(12) + b"\x08\x06" + bytes(28) + b"rigframe" + struct.pack("<QQQ", 7, 5, number)


def sights(*moments):
    """Of (ns since the beginning, place, number)."""
    numbers = {"vif1.0": 0, "us-vif1.0": 1, "lan0": 2}
    places = [(at, *PLACES[place], number) for at, place, number in moments]
    return [Sight(BEGIN + at, name, numbers[name], out, 74, frame(number)) for at, name, out, number in places]


def way(number, sent, released, *more):
    """A frame that is held and leaves."""
    return [(sent, "sent", number), (sent, "held", number), (released, "released", number), (released, "left", number), *more]


def buffer(moments, log=LOG, is_whole=True):
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(log)
        file.flush()
        return Buffer(Capture(sights(*sorted(moments, key=lambda moment: moment[0])), 0, is_whole), Timeline(file.name))


class Judge(unittest.TestCase):
    def seen(self, moments, log=LOG, **wrong):
        buf = buffer(moments, log)
        self.assertEqual({name: buf.total(name) for name in VIOLATIONS}, {**dict.fromkeys(VIOLATIONS, 0), **wrong})
        return buf

    def test_an_honest_buffer(self):
        buf = self.seen(way(1, 10, 151) + way(2, 20, 152) + way(3, 110, 251))
        self.assertEqual((buf.total("judged"), min(buf.margins_ns)), (3, 1))

    def test_before_the_ack(self):
        self.seen(way(1, 10, 149), early=1)

    def test_by_the_ack_of_the_epoch_before(self):
        self.seen(way(1, 110, 151), early=1)

    def test_never_acked(self):
        self.seen(way(1, 410, 560), early=1)

    def test_never_acked_as_far_as_a_host_that_was_cut_off_can_tell(self):
        buf = buffer(way(1, 410, 560), is_whole=False)
        self.assertEqual((buf.violations(), buf.total("undecided")), (0, 1))

    def test_overtaken(self):
        self.seen(way(1, 10, 152) + way(2, 20, 151), disordered=1)

    def test_released_twice(self):
        self.seen(way(1, 10, 151) + [(153, "released", 1), (153, "left", 1)], unsent=1)

    def test_past_the_buffer(self):
        self.seen(way(1, 10, 151) + [(160, "sent", 2), (160, "left", 2)], past=1)

    def test_past_the_buffer_and_held_as_well(self):
        self.seen(way(1, 10, 151) + [(160, "sent", 2), (160, "held", 2), (161, "left", 2)], past=1)

    def test_no_protection_yet(self):
        buf = self.seen([(5, "sent", 1), (5, "left", 1)])
        self.assertEqual(buf.total("unheld"), 1)

    def test_passing_until_the_next_cut(self):
        log = LOG + f'T DEBUG understudy::output: passing guest="g" at_ns={BEGIN + 210}\n'
        self.seen(way(1, 220, 221), log)
        self.seen(way(1, 120, 211), log)
        self.seen(way(1, 120, 209), log, early=1)
        self.seen(way(1, 310, 330), log, early=1)

    def test_what_one_engine_held_is_not_for_the_next(self):
        log = LOG.replace("epoch=2 at_ns=" + str(BEGIN + 350), "epoch=2 at_ns=" + str(BEGIN + 2000))
        self.seen(way(1, 210, 2001), log.replace("T DEBUG understudy::output: acked guest=\"g\" epoch=3", "T "), early=0)
        over = "2027-01-15T08:00:00.000001Z  INFO understudy::node: Node runs node=a\n"  # a microsecond after BEGIN
        self.seen(way(1, 210, 2001), log.replace("T DEBUG understudy::output: acked guest=\"g\" epoch=3", "T ") + over, early=1)


class Hearing(unittest.TestCase):
    def client(self, heard, other=None):
        return Client(Capture(sights(*[(n, "heard", number) for n, number in enumerate(heard)]), 0, True), other)

    def test_in_order(self):
        self.assertEqual(self.client([3, 4, 5]).violations(), 0)

    def test_what_was_held_when_a_host_died(self):
        client = self.client([1, 2, 7])
        self.assertEqual((client.violations(), client.lost), (0, 4))

    def test_a_number_that_comes_again(self):
        self.assertEqual(self.client([1, 2, 3, 3]).again, 1)
        self.assertEqual(self.client([1, 2, 3, 2, 3, 4]).again, 2)

    def test_a_frame_that_no_host_let_out(self):
        self.assertEqual(self.client([1, 2], buffer(way(1, 10, 151))).strange, 1)
        cut_off = self.client([1, 2], buffer(way(1, 10, 151), is_whole=False))
        self.assertEqual((cut_off.strange, cut_off.unconfirmed), (0, 1))


unittest.main()
