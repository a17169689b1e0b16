# The primary's engine is killed, its host and the guest run on: nothing of that guest gets out any more, b takes over,
# and clients see one guest with no number lost. The engine that is started again ends what it had left behind.
guests=(tpvh tpv)
limit_s=600

scenario() {
    local boot checksum count mac
    pair_up
    pair_remember
    sleep 5
    pair_signal a KILL
    mac=$(sed -n 's/.*mac=\([0-9a-f:]*\).*/\1/p' "$RIG/guest/$guest.cfg")
    on a "setsid tcpdump -q -U -i lan0 -Q out -w /var/tmp/leak.pcap ether src $mac >/dev/null 2>&1 </dev/null &"
    expect "what runs on host a" "$(domains_of a)" "$guest"
    await_runs b 90
    sleep 5
    expect "what runs on host a, cut off" "$(domains_of a)" "$guest"
    on a 'pkill -INT -x tcpdump; sleep 1'
    expect "frames of the cut-off guest on the wire" "$(on a 'tcpdump -r /var/tmp/leak.pcap 2>/dev/null | wc -l' </dev/null)" 0
    pair_judge
    on a 'understudy doctor --repair' >"$RUN/machine/doctor" && fail "doctor is content with a guest that is cut off"
    say "doctor: $(cat "$RUN/machine/doctor")"
    grep -q "start the engine" "$RUN/machine/doctor" || fail "doctor does not say what to do"

    pair_node a primary --domain "name=$guest"
    await_gone a 60
    await_protected b 240
    nothing_left a
    nothing_left b "$guest"
    no_redirects a
    on a 'understudy doctor'
    on b 'understudy doctor'
    say "protected again: $(pair_line b)"
}
