"""When a frame may leave at the earliest, by the engine's log of cuts and acks (--log understudy::output=debug).

    ── cut 6 ──── cut 7 ─── ack 6 ── cut 8 ── ack 7 ── passing ─────── cut 9 ──
          frame: of 7, may leave ────────────► here
                                        frame: of 9 ──► here              frame: passes at once

A frame belongs to the epoch whose cut came first after it was sent. What one engine held is never let out by the next,
nor by what an engine says after it has ended a guest.
"""
import bisect
import re
from datetime import datetime, timezone

SAID = re.compile(r"^(\S+) .*understudy::output: (cut|acked|passing) (.*)")
OVER = re.compile(r"^(\S+)Z .*(Node runs|Ended here)")


def moment_ns(text):
    seconds, fraction = text.split(".")
    whole = datetime.fromisoformat(seconds).replace(tzinfo=timezone.utc)
    return int(whole.timestamp()) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def lines(path):
    with open(path, errors="replace") as log:
        yield from log


class Timeline:
    def __init__(self, path):
        cuts, acks, passes, overs = [], [], [], []
        for line in lines(path):
            if over := OVER.match(line):
                overs.append(moment_ns(over[1]))
            if not (said := SAID.match(line)):
                continue
            fields = dict(re.findall(r"(\w+)=(\w+)", said[3]))
            if "at_ns" not in fields or not line.endswith("\n"):
                continue  # the last one, cut short
            at = int(fields["at_ns"])
            if said[2] == "passing":
                passes.append(at)
            else:
                (cuts if said[2] == "cut" else acks).append((at, int(fields["epoch"])))
        self.cuts, self.acks, self.passes, self.overs = sorted(cuts), sorted(acks), sorted(passes), sorted(overs)
        self.cut_at = [at for at, _ in self.cuts]
        self.ack_at = [at for at, _ in self.acks]

    def may_leave_ns(self, sent_ns):
        """None: never, as far as the log goes."""
        over = bisect.bisect_right(self.overs, sent_ns)
        begin = self.overs[over - 1] if over else 0
        end = self.overs[over] if over < len(self.overs) else float("inf")
        after = bisect.bisect_left(self.cut_at, sent_ns)
        last_cut = self.cut_at[after - 1] if after else 0
        following = bisect.bisect_right(self.passes, sent_ns)
        if following and self.passes[following - 1] > max(last_cut, begin):
            return sent_ns
        times = self.passes[following : following + 1]
        if after < len(self.cuts):
            times = times + self.ack_of(*self.cuts[after])
        return min((at for at in times if at < end), default=None)

    def ack_of(self, cut_ns, epoch):
        """[when it was acked], or nothing."""
        for at, acked in self.acks[bisect.bisect_left(self.ack_at, cut_ns) :]:
            if acked >= epoch:
                return [at]
        return []
