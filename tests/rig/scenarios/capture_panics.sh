# What captures a guest panics in a pause: where the guest has just been suspended, where it is to run again, and in the
# thread that encodes. Each time the guest runs on and is protected anew from a full sync, by the same engine. Then power
# fails on a, and the guest goes on at b.
guests=(tpvh tpv)
limit_s=2400

panics() { on a 'grep -c "panicked at a scenario" /var/tmp/understudy.log || :' </dev/null; }

panic_in() { # panic_in FUNCTION
    local before panicked until=$((SECONDS + 60))
    before=$(protections a) panicked=$(panics)
    defect a "$1" panics
    until [ "$(panics)" -gt "$panicked" ]; do
        [ $SECONDS -lt $until ] || fail "nothing has panicked in $1"
        sleep 0.2
    done
    mend a
    ask "$address" id 60 >/dev/null
    say "$1: $(pair_status a | jq -c --arg guest "$guest" '.guests[] | select(.name == $guest) | [.state, .reason]')"
    await_protected_anew a "$before" 600
    expect "whether the guest stands still" "$(on a "xl list $guest" </dev/null | awk 'END { print substr($5, 3, 2) }')" "--"
    say "$1: $(($(panics) - panicked)) panics, $(pair_line a)"
}

scenario() {
    local boot checksum count engine source='<understudy_xen::domain::source::XenSource<.*> as .*Source>'
    PAIR_TIMES=${PAIR_TIMES/--silence-max 5s/--silence-max 30s} # b is not to take over while a backtrace is written
    pair_up
    pair_remember
    engine=$(on a 'pgrep -xo understudy' </dev/null)
    panic_in "$source::drain_dirty"
    panic_in "$source::resume"
    panic_in 'understudy::guest::pipeline::encode::EncodeThread::step'
    expect "the engine's process" "$(on a 'pgrep -xo understudy' </dev/null)" "$engine"
    pair_judge
    watch_start "$address" 20
    sleep 3
    rig_kill a
    await_runs b 180
    pair_judge
    nothing_left b "$guest"
}
