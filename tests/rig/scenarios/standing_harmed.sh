# What stands by at b is harmed while the guest is protected: the domain is destroyed (of a PV guest), or let run (of a PVH
# guest). Not an epoch is acked for what could not be activated: a says that the guest is not protected, and is so again
# from a new copy, which b holds in memory. Then power fails on a, and the guest goes on at b.
guests=(tpvh tpv)
ci=(tpv)
limit_s=1200

harmed() { # harmed COMMAND: of xl, for the domain that stands by; no ack may follow, and a new copy does
    local since until=$((SECONDS + 60))
    expect "what stands by on host b" "$(standing_on b)" "$guest--incoming"
    on b "xl $1 $guest--incoming"
    since=$(($(host_ns a) + 2000000000)) # what was under way
    while [ "$(pair_field a protected)" = true ]; do
        [ $SECONDS -lt $until ] || fail "the guest is still said to be protected a minute after xl $1 of its copy"
        sleep 0.3
    done
    expect "acks after xl $1 of the copy" "$(acks_between a "$since" "$(host_ns a)")" 0
    say "xl $1: $(pair_status a | jq -c --arg guest "$guest" '.guests[] | select(.name == $guest) | [.state, .reason]')"
    await_protected a 300
    expect "what runs on host b" "$(domains_of b)" ""
}

scenario() {
    local boot checksum count how=unpause
    [ "$(type_of "$guest")" != pv ] || how=destroy
    pair_up
    pair_remember
    judge_begin
    harmed $how
    pair_judge
    watch_start "$address" 20
    sleep 3
    rig_kill a
    await_runs b 180
    pair_judge
    judge_end
    nothing_left b "$guest"
}
