# Output commit, proven by captures: what the guest sends (TCP of its own kernel, ICMP and ARP, and numbered frames of
# every kind) is captured where the engine takes it, where it gives it back, where it leaves host a, and at the client
# on host b. No frame may leave before the ack of its epoch, none out of order, none past the engine, none be lost. Then
# the redirect is removed behind the engine's back: it is put back, and the guest gets a new copy, for what left meanwhile
# is not in the old one. (That the judge finds a leak is shown by output_commit_mutant.)
guests=(tpvh tpv)
ci=(tpv)
limit_s=900
: "${output_frames:=2000}" "${output_frames_per_s:=40}" # numbered ones; a second, of each of the eight kinds
: "${output_packets:=$output_frames}"                     # with all else that the guest sends
: "${output_traffic_s:=10}"

traffic() { # traffic SECONDS: from host b; small and large frames
    T=$(($1 + 60)) on b "for i in 1 2 3; do (timeout $1 /rig/bin/rigguest watch $address 2 >/dev/null 2>&1 </dev/null &); done
        (timeout $1 ping -q -i 0.01 $address >/dev/null 2>&1 </dev/null &)
        end=\$((SECONDS + $1)); while [ \$SECONDS -lt \$end ]; do
            timeout 20 busybox wget -qO- http://$address/id >/dev/null; done" </dev/null || true
}

packets_sent() { # that host a has taken from the guest's card since the guest began
    on a "cat /sys/class/net/vif\$(xl domid $guest).0/statistics/rx_packets" </dev/null
}

scenario() {
    local before tries=0
    PAIR_TIMES=${PAIR_TIMES/--silence-max 5s/--silence-max 60s} # however busy the machine: nobody dies here
    pair_up
    judge_begin "$output_frames_per_s"
    before=$(packets_sent)
    until [ "$(frames_sent)" -ge "$output_frames" ] && [ $(($(packets_sent) - before)) -ge "$output_packets" ]; do
        traffic "$output_traffic_s"
    done
    frames_set 0
    sleep 3 # until the last of them is acked
    say "$(pair_line a)"
    judge_end --lossless --at-least "$output_packets"

    on a 'tc filter del dev $(ip -br link | grep -o "^vif[0-9.]*" | head -n 1) ingress'
    until on a 'grep -q "was changed by another program" /var/tmp/understudy.log' </dev/null; do
        [ $((tries += 1)) -lt 60 ] || fail "host a does not say that the redirect was removed"
        sleep 1
    done
    await_protected a 240
    on a 'tc filter show dev $(ip -br link | grep -o "^vif[0-9.]*" | head -n 1) ingress | grep -q mirred' </dev/null
    say "$(pair_line a)"
}
