# understudy protects a guest towards host b, with a witness on a third machine. Host a is cut off from power under
# load; b takes over, a client's connection goes on with every number once, and so does the guest's memory. Then host a
# comes back and holds the copy, and the guest is moved back to it; unless its Xen is older, where guests do not go back.
guests=(tpvh tpv)
ci=(tpv)
limit_s=1800

scenario() {
    local boot checksum count
    taken_over
    come_back
}

taken_over() {
    pair_up
    pair_remember
    judge_begin
    sleep 5
    say "$(pair_line a)"
    expect "what stands by on host b" "$(standing_on b)" "$guest--incoming"
    rig_kill a
    say "answers after $(guest_answers "$address" 90) s"
    await_runs b 30
    pair_judge
    judge_end
    nothing_left b "$guest"
}

come_back() { # host a does, and the guest to it
    [ "$SUITE_a" = "$SUITE_b" ] || return 0
    rig_boot a
    put_understudy
    pair_wires a
    pair_node a
    pair_tunnel
    await_protected b 600
    say "protected again: $(pair_line b)"
    fail_back
}

fail_back() { # to host a, by an operator's word
    watch_start "$address" 20
    on b "understudy switchover $guest"
    await_field a role primary 120
    await_protected a 600
    say "failed back: $(pair_line a)"
    pair_judge
    nothing_left a "$guest"
    nothing_left b
}
