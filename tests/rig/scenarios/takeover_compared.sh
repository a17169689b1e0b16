# A PV guest on Debian's hypervisor (Xen 4.17, 4.20), which cannot log what it writes: its changes are found by comparing.
# A script has it protected by `understudy remus`; host a is cut off from power under load, b takes over, and the same
# connection goes on. Then a comes back, and b, whose hypervisor has no log either, protects the guest towards it.
guests=(tpv)
suites=(bookworm trixie)
xen=debian
limit_s=1500

scenario() {
    local boot checksum count compared="name=$guest,find-changes=compare"
    # A pause takes seconds where emulation is slow, and a host with one processor does little else meanwhile.
    local PAIR_TIMES="${PAIR_TIMES/--silence-max 5s/--silence-max 20s}"
    put_understudy
    pair_witness
    pair_wires a
    pair_wires b
    pair_node b --guest "$compared"
    pair_tunnel
    pair_node a
    until pair_status a >/dev/null 2>&1; do sleep 1; done
    on a "setsid understudy remus -Fd -i 300 --find-changes compare $guest b \
        >/var/tmp/remus.log 2>&1 </dev/null &"
    await_protected a 400
    say "remus: $(on a 'cat /var/tmp/remus.log' </dev/null)"
    expect "the interval" "$(pair_field a interval_ms)" 300
    pair_remember
    sleep 10
    say "$(pair_line a)"
    say "$(comparing a)"
    rig_kill a
    say "answers after $(guest_answers "$address" 90) s"
    await_runs b 30
    pair_judge
    nothing_left b "$guest"

    rig_boot a
    put_understudy
    pair_wires a
    pair_node a
    pair_tunnel
    await_protected b 400
    sleep 5
    say "protected again: $(pair_line b)"
    say "$(comparing b)"
    expect "the number of errors" "$(checker_errors "$address")" 0
}

# comparing HOST: what it costs there
comparing() {
    pair_status "$1" | jq -r --arg guest "$guest" '.guests[] | select(.name == $guest) |
        "comparing takes \(.pause_parts_us.drain) us of \(.pause_us.p50) us (medians of \(.pause_us.count) pauses), \(.compared_bytes / 1048576) MiB"'
}
