# b has won the guest, and cannot start it: its xenstored is dead. The guest of a, which knows that it has lost, is still
# there, paused, with nothing of it getting out, and neither doctor lets it out or throws it away. A person has it back
# on a: the same guest, the same connection. Host b is booted anew, and holds the copy again.
guests=(tpvh tpv)
limit_s=1500

doctor() { # doctor HOST: what doctor --repair says there, which must not be that all is well
    local said
    said=$(T=120 on "$1" 'understudy doctor --repair 2>&1; echo "exit $?"' </dev/null)
    say "doctor on $1: $said"
    [[ "$said" != *"exit 0" ]] || fail "doctor on host $1 is content: $said"
}

scenario() {
    local boot checksum count redirects
    pair_up
    pair_remember
    judge_begin
    sleep 3
    redirects=$(redirects_of a)
    on b 'pkill -KILL -f "^/usr/lib/xen[^ ]*/bin/[o]*xenstored"'
    on a "timeout 60 understudy switchover $guest" || say "the switchover is not accomplished"
    until_paused a 90
    say "a: $(pair_status a | jq -c '.guests[] | {state, reason, generation, role}')"
    say "b: $(pair_status b | jq -c '.guests[] | {state, reason, generation, role}')"

    doctor b
    doctor a
    sleep 10
    expect "what runs on host a" "$(domains_of a)" "$guest"
    expect "what holds its output" "$(redirects_of a)" "$redirects"
    on b "! timeout 5 busybox wget -qO- http://$address/id >/dev/null 2>&1" </dev/null || fail "the guest answers"

    have_back
    guest_answers "$address" 60 >/dev/null
    pair_judge
    judge_end
    nothing_left a "$guest"

    rig_kill b
    rig_boot b
    put_understudy
    pair_wires b
    pair_node b
    CLIENT=a
    await_protected a 600
    guest_judge
    say "protected again: $(pair_line a)"
}

have_back() { # by a person's word on a
    on a "understudy reclaim $guest --nobody-else-runs-it"
    await_field a role primary 60
}
