# A guest follows a request to suspend late: it is paused by hand at a moment that is not chosen, for longer than the
# engine waits for its answer, and let go on. The same with the engine killed, and told to end, while the request is out.
# Each time the guest runs and is protected again, and nobody has to do anything.
guests=(tpvh tpv)
limit_s=1800

await_well() { # await_well WHAT: it runs and is protected, still on a
    guest_answers "$address" 60 >/dev/null
    await_protected a 300
    expect "the state of the guest after $1" "$(on a "xl list $guest" </dev/null | awk 'END { print substr($5, 3, 2) }')" "--"
    say "after $1: $(pair_line a)"
}

scenario() {
    local boot checksum count seconds signal
    # b is not to take over meanwhile, also where starting the engine again takes long.
    PAIR_TIMES=${PAIR_TIMES/--silence-max 5s --link-grace 1s --takeover-grace 3s/--silence-max 60s --link-grace 30s --takeover-grace 60s}
    pair_up
    pair_remember
    for seconds in 0.3 0.7 1.1 12 13; do
        on a "sleep 0.$((RANDOM % 900 + 100)); xl pause $guest; sleep $seconds; xl unpause $guest"
        await_well "a pause of $seconds s"
    done
    for signal in KILL TERM; do
        on a "xl pause $guest; sleep 0.5; pkill -$signal -x understudy
            while pgrep -x understudy >/dev/null; do sleep 0.1; done"
        pair_node a --guest "name=$guest"
        sleep 1
        on a "xl unpause $guest"
        await_well "the engine's end by $signal with the request out"
    done
    pair_judge
    nothing_left a "$guest"
    nothing_left b
}
