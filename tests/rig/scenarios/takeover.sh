# understudy protects a guest towards host b, with a witness on a third machine. Host a is cut off from power under
# load; b takes over, a client's connection goes on with every number once, and so does the guest's memory. Then host a
# comes back and holds the copy; unless its Xen is older, since guests do not go back to one.
guests=(tpvh tpv)
limit_s=1800

scenario() { taken_over; }

taken_over() {
    local boot checksum count
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
    [ "$SUITE_a" = "$SUITE_b" ] || return 0

    rig_boot a
    put_understudy
    pair_wires a
    pair_node a secondary
    pair_tunnel
    await_protected b 600
    say "protected again: $(pair_line b)"
    expect "the number of errors" "$(checker_errors "$address")" 0
}
