"""The client's view: numbered frames as another host hears them, whichever host the guest runs on.

    host a: guest ─► buffer ─► lan0 out ══ wire ══► lan0 in ┐
    host b: guest ─► buffer ─► lan0 out ════════════════════┴► 1 2 3 4 5 ─ takeover ─ 8 9 10 …

Needs neither clock nor log, so it holds for a host whose power was cut. A guest's numbers live in its memory: had a
frame left whose epoch was never acked, the guest that goes on from the last commit would send its number again.
What was held when a host died is lost, as on any wire: numbers may be missing.
"""
from collections import Counter, defaultdict
from judge import frame


class Client:
    """again: numbers that came twice or went back. lost: missing between two that came. strange: frames it heard that no
    host had let out."""

    def __init__(self, capture, other=None):
        self.again, self.lost, self.heard, self.strange, self.unconfirmed = 0, 0, 0, 0, 0
        self.kinds = Counter()
        newest = defaultdict(int)
        let_out = Counter(other.left) if other else Counter()
        for sight in capture.sights:
            if sight.interface != "lan0":
                continue
            if other and not sight.is_out:
                self.confirm(frame.key(sight), let_out, other)
            if numbered := frame.number(sight.head):
                self.hear(newest, *numbered)
                self.kinds[frame.kind(sight.head)] += 1

    def confirm(self, key, let_out, other):
        if let_out[key]:
            let_out[key] -= 1
        elif other.capture.is_whole:
            self.strange += 1
        else:
            self.unconfirmed += 1

    def hear(self, newest, which, number):
        self.heard += 1
        if number <= newest[which]:
            self.again += 1
            return
        if newest[which]:
            self.lost += number - newest[which] - 1
        newest[which] = number

    def violations(self):
        return self.again + self.strange
