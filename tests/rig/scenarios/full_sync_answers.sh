# A guest answers while its copy is made: at first, and again by an engine that finds the guest which a killed one protected.
# Nothing that it sends has to wait then, so a client that reads numbers hears nothing for a moment only. Said is how long,
# and how much of its processor the guest had.
guests=(tpvh tpv)
limit_s=1200
: "${RIG_SYNC_SILENCE_MS_MAX:=10000}"

guest_seconds() { on a "xl list $guest" </dev/null | awk 'END { print $6 }'; }

while_it_lasts() { # while_it_lasts WHAT
    local began seen silence
    await_field a state seeding 90
    watch_start "$address" 20
    began=$SECONDS
    say "$1: $(guest_seconds) s of processor; $(pair_status a | jq -c '.guests[0].full_sync')"
    while [ "$(pair_field a state)" = seeding ]; do
        say "$1, after $((SECONDS - began)) s: $(on b 'tail -n 1 /var/tmp/watch.log' </dev/null), $(guest_seconds) s of processor, $(on a 'cat /proc/loadavg' </dev/null)"
        sleep 4
    done
    seen=$(watch_end)
    say "$1, synchronised after $((SECONDS - began)) s: $seen"
    silence=$(answer_field longest_silence_ms <<<"$seen ")
    [ "$silence" -le "$worst" ] || worst=$silence
}

scenario() {
    local boot checksum count worst=0
    pair_secondary
    guest_remember
    pair_node a --guest "name=$guest"
    while_it_lasts "the first copy"
    await_protected a 600
    pair_signal a KILL
    on a 'while pgrep -x understudy >/dev/null; do sleep 0.1; done' </dev/null
    pair_node a --guest "name=$guest"
    while_it_lasts "the copy after a killed engine"
    await_protected a 600
    guest_judge
    nothing_left a "$guest"
    [ "$worst" -le "$RIG_SYNC_SILENCE_MS_MAX" ] || fail "a client waited $worst ms while a copy was made"
}
