"""One host's buffer: what a guest sent, where the engine took it, where it gave it back, and what left the host.

    guest ─► vif in ─► us-vif out: HELD ─► engine ─► us-vif in: RELEASED ─► vif in, again ─► bridge ─► lan0 out: LEFT
                └ a vif whose frames were ever held is held from then on: nothing of it may leave another way

All of it from one capture, so in one order and on one clock, which the engine's log is on too.
"""
from collections import Counter, defaultdict, deque
from judge import frame

VIOLATIONS = ("early", "disordered", "unsent", "past")


class Buffer:
    """Counts by kind: held, released, left; and what must not be:

    early       released before the ack of its epoch
    disordered  released before one that was held before it
    unsent      released, and never held
    past        on the wire, and never released
    """

    def __init__(self, capture, timeline):
        self.capture, self.timeline = capture, timeline
        self.counts = defaultdict(Counter)
        self.margins_ns = []  # from the moment it might leave to its release
        self.held_at = defaultdict(lambda: defaultdict(deque))  # tap, key: (place in the tap's order, when)
        self.held, self.last = Counter(), {}  # of a tap: how many; the place of the last one released
        self.held_vifs, self.of_held_vif = set(), {}
        self.released = Counter()  # by key: those that may be on the wire
        self.left = Counter()
        for sight in capture.sights:
            self.see(sight, frame.key(sight), self.counts[frame.kind(sight.head)])

    def see(self, sight, key, count):
        if sight.interface.startswith("us-"):
            if sight.is_out:
                self.see_held(sight, key, count)
            else:
                self.see_released(sight, key, count)
        elif sight.interface.startswith("vif") and not sight.is_out:
            self.of_held_vif[key] = sight.interface in self.held_vifs
        elif sight.interface == "lan0" and sight.is_out:
            self.see_left(key, count)

    def see_held(self, sight, key, count):
        tap = sight.interface_number
        self.held_vifs.add(sight.interface.removeprefix("us-"))
        self.held_at[tap][key].append((self.held[tap], sight.at_ns))
        self.held[tap] += 1
        count["held"] += 1

    def see_released(self, sight, key, count):
        tap = sight.interface_number
        count["released"] += 1
        self.released[key] += 1
        if not self.held_at[tap][key]:
            # Held before the capture began, if nothing younger was released; or the engine's own word.
            if tap in self.last and frame.kind(sight.head) != frame.ANNOUNCEMENT:
                count["unsent"] += 1
            return
        place, sent_ns = self.held_at[tap][key].popleft()
        if place < self.last.get(tap, 0):
            count["disordered"] += 1
        self.last[tap] = place
        may_leave_ns = self.timeline.may_leave_ns(sent_ns)
        if may_leave_ns is None and not self.capture.is_whole:
            count["undecided"] += 1  # the host's last words did not reach us
        elif may_leave_ns is None or sight.at_ns < may_leave_ns:
            count["early"] += 1
        else:
            count["judged"] += 1
            self.margins_ns.append(sight.at_ns - may_leave_ns)

    def see_left(self, key, count):
        count["left"] += 1
        self.left[key] += 1
        if self.released[key]:
            self.released[key] -= 1
        elif self.of_held_vif.get(key, True):
            count["past"] += 1
        else:
            count["unheld"] += 1  # its vif's output was not held yet: no protection had begun

    def total(self, what):
        return sum(count[what] for count in self.counts.values())

    def violations(self):
        return sum(map(self.total, VIOLATIONS))
