# A guest is moved ten times in a row, to and fro, by an operator's word. No client's connection breaks, and none of the
# ten silences is longer than six seconds on these slow hosts; what a silence was made of is in the captures beside it.
guests=(tpvh tpv)
limit_s=3600
: "${RIG_SWITCHOVERS:=10}" "${RIG_SILENCE_MS_MAX:=6000}"

heard() { on b 'tail -n 1 /var/tmp/watch.log' </dev/null | answer_field numbers; } # by the watch, up to a second ago

await_heard_more() { # the silence has an end, and is among what the watch tells
    local before until=$((SECONDS + 90))
    before=$(heard)
    until [ "$(heard)" -gt "$before" ]; do
        [ $SECONDS -lt $until ] || fail "the client hears nothing any more"
        sleep 1
    done
}

captures_start() { # captures_start NUMBER: of the guest's TCP, as the client has it, and at the other host
    local host
    for host in a b; do
        on $host "setsid tcpdump -q -i lan0 -U -s 96 --time-stamp-precision=nano -w /var/tmp/switchover-$1.pcap \
            host $address or arp or rarp >/dev/null 2>&1 </dev/null &"
    done
}

captures_end() { local host; for host in a b; do on $host 'pkill -INT -x tcpdump || true'; done; }

captures_keep() { # captures_keep NUMBER
    local host
    for host in a b; do host_get $host "/var/tmp/switchover-$1.pcap" "$RUN/machine/switchover-$1-$host.pcap"; done
}

move() { # move NUMBER FROM TO: what the watch saw, in $silence_ms
    local seen
    captures_start "$1"
    watch_start "$address" 20
    sleep 3
    on "$2" "date +%H:%M:%S.%N; understudy switchover $guest" </dev/null >"$RUN/machine/moved-$1"
    sleep 8 # a question to a host takes its processor, too
    await_field "$3" role primary 120
    await_heard_more
    await_protected "$3" 600
    await_heard_more
    seen=$(watch_end)
    captures_end
    silence_ms=$(answer_field longest_silence_ms <<<"$seen ")
    say "move $1, $2 to $3: $seen"
    say "$(on "$3" "grep -E 'Took over|The guest (runs|uses)' /var/tmp/understudy.log | tail -n 3" </dev/null)"
    captures_keep "$1"
}

scenario() {
    local boot checksum count number from=a to=b worst=0 silence_ms
    pair_up
    guest_remember
    writer_set "$address" 200
    for ((number = 1; number <= RIG_SWITCHOVERS; number++)); do
        move "$number" $from $to
        [ "$silence_ms" -le "$worst" ] || worst=$silence_ms
        [ $from = a ] && { from=b to=a; } || { from=a to=b; }
    done
    guest_judge
    nothing_left $from "$guest"
    nothing_left $to
    [ "$worst" -le "$RIG_SILENCE_MS_MAX" ] || fail "a client waited $worst ms"
}
