# The primary's engine is killed, its host and the guest run on: nothing of that guest gets out any more, b takes over,
# and clients see one guest with no number lost. The engine that is started again ends what it had left behind.
guests=(tpvh tpv)
ci=(tpvh)
limit_s=1800

scenario() {
    local boot checksum count
    pair_up
    pair_remember
    judge_begin
    sleep 5
    pair_signal a KILL
    expect "what runs on host a" "$(domains_of a)" "$guest"
    await_runs b 90
    sleep 5
    expect "what runs on host a, cut off" "$(domains_of a)" "$guest"
    pair_judge
    judge_end # nothing of the guest that was cut off is among what left a
    on a 'understudy doctor --repair' >"$RUN/machine/doctor" && fail "doctor is content with a guest that is cut off"
    say "doctor: $(cat "$RUN/machine/doctor")"
    grep -q "start the engine" "$RUN/machine/doctor" || fail "doctor does not say what to do"

    pair_node a --guest "name=$guest"
    await_gone a 60
    await_protected b 600
    nothing_left a
    nothing_left b "$guest"
    no_redirects a
    on a 'understudy doctor'
    on b 'understudy doctor'
    say "protected again: $(pair_line b)"
}
