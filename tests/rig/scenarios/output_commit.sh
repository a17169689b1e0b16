# Output commit, proven by captures: what the guest sends is captured where the engine takes it, where it gives it back,
# and where it leaves host a, on one clock with the engine's log of cuts and acks. No frame may leave before the ack of
# its epoch, none out of order, none past the engine. Then the redirect is removed behind the engine's back: the same
# judge has to find the leak. (That nothing leaves once the engine is killed is shown by engine_killed.)
guests=(tpvh tpv)
limit_s=900
: "${RIG_OUTPUT_SECONDS:=20}" # of traffic; longer for more frames

captures_begin() { # captures_begin NAME: of frames with the guest's address
    local mac vif
    vif=$(on a 'ip -br link | grep -o "^vif[0-9.]*" | head -n 1' </dev/null)
    mac=$(sed -n 's/.*mac=\([0-9a-f:]*\).*/\1/p' "$RIG/guest/$guest.cfg")
    on a "capture() { setsid tcpdump -q -i \$2 -Q \$3 -U -s 128 -B 8192 --time-stamp-precision=nano -w /var/tmp/$1-\$1.pcap \
            ether src $mac >/var/tmp/$1-\$1.log 2>&1 </dev/null & }
        capture sent us-$vif out; capture released us-$vif in; capture left lan0 out; sleep 2"
}

captures_end() { on a 'sleep 1; pkill -INT -x tcpdump; while pgrep -x tcpdump >/dev/null; do sleep 0.2; done'; }

judge() { # judge NAME: what the judge says; its exit code
    local name
    for name in sent released left; do on a "cat /var/tmp/$1-$name.pcap" </dev/null >"$RUN/machine/$1-$name.pcap"; done
    on a 'cat /var/tmp/understudy.log' </dev/null >"$RUN/machine/$1.log"
    "$RIG/judge-output" "$RUN/machine/$1.log" "$RUN/machine/$1"-{sent,released,left}.pcap
}

traffic() { # traffic SECONDS: from host b; small and large frames, several protocols
    on b "for i in 1 2 3 4 5 6; do (timeout $1 /rig/bin/rigguest watch $address 2 >/dev/null 2>&1 </dev/null &); done
        (timeout $1 ping -q -i 0.005 $address >/dev/null 2>&1 </dev/null &)
        end=\$((SECONDS + $1)); while [ \$SECONDS -lt \$end ]; do
            timeout 20 busybox wget -qO- http://$address/id >/dev/null; ip neigh flush dev xenbr0; done" </dev/null || true
}

scenario() {
    local said seen
    PAIR_TIMES+=" --log info,understudy::output=debug"
    pair_up
    captures_begin held
    T=$((RIG_OUTPUT_SECONDS + 60)) traffic "$RIG_OUTPUT_SECONDS"
    captures_end
    judge held | while read -r line; do say "$line"; done
    judge held >/dev/null || fail "output left before its time"

    captures_begin leaking
    on a 'tc filter del dev $(ip -br link | grep -o "^vif[0-9.]*" | head -n 1) ingress'
    traffic 10
    captures_end
    seen=0
    said=$(judge leaking) || seen=$?
    expect "what the judge says of a leak ($said)" $seen 3
    say "$said"
}
