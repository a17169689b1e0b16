# What holds the guest's output is taken away under load, by other tools of the host: the whole clsact, its filter, the
# device the output is led to. Each time it is noticed and put back, the guest is called protected only with a copy that
# is younger, and from then on nothing leaves before its ack.
guests=(tpvh tpv)
limit_s=1500

held() { # held: whether the guest's output is led to our device on a, and that is up
    on a 'vif=$(ip -br link | grep -o "^vif[0-9.]*" | head -n 1)
        tc filter show dev $vif ingress | grep -q us-$vif && ip link show us-$vif up | grep -q us-' </dev/null
}

taken_away() { # taken_away COMMAND: by whoever; $vif is the guest's
    local before
    before=$(protections a)
    on a "vif=\$(ip -br link | grep -o '^vif[0-9.]*' | head -n 1); $1" || fail "$1"
    await_protected_anew a "$before" 300
    held || fail "after '$1' the guest is protected, and its output is not held"
    say "after '$1': $(pair_line a)"
}

scenario() {
    local boot checksum count
    PAIR_TIMES=${PAIR_TIMES/--silence-max 5s/--silence-max 60s} # however busy the machine: nobody dies here
    pair_up
    pair_remember
    taken_away 'tc qdisc del dev $vif clsact'
    taken_away 'tc filter del dev $vif ingress'
    on a 'vif=$(ip -br link | grep -o "^vif[0-9.]*" | head -n 1); ip link set us-$vif down' # nothing leaves by that
    sleep 3
    held || fail "the device that the output is led to stays down"
    await_protected a 300
    judge_begin
    sleep 10
    judge_end --lossless
    pair_judge
    nothing_left a "$guest"
}
