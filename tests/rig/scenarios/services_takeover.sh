# The connections of real programs outlive their host. A protected guest runs Debian's dropbear, iperf3, redis and
# busybox's httpd; clients on host b have a session each: ssh with numbered lines in both directions, iperf3 in both
# directions, downloads of a large file with its checksum, INCR in redis. Host a is cut off from power. No connection
# may break or be reset, no client may be told something that is not true afterwards.
guests=(tsvc)
limit_s=1200
: "${RIG_IPERF_SECONDS:=120}" # long enough to outlive the takeover

clients=(ssh redis download up down)

client_start() { # client_start NAME COMMAND…
    on b "setsid ${*:2} >/var/tmp/$1.json 2>/var/tmp/$1.log </dev/null & echo \$! >/run/$1.pid"
}

clients_start() {
    local sum
    sum=$(on b "ssh -o StrictHostKeyChecking=no -o LogLevel=ERROR root@$address sha256sum /srv/http/file" </dev/null | cut -d' ' -f1)
    client_start ssh /rig/bin/services-client ssh "$address"
    client_start redis /rig/bin/services-client redis "$address"
    client_start download /rig/bin/services-client download "$address" "$sum" 500000
    client_start up iperf3 -J -c "$address" -p 5201 -t "$RIG_IPERF_SECONDS" -b 1M
    client_start down iperf3 -J -c "$address" -p 5202 -t "$RIG_IPERF_SECONDS" -b 1M -R
    on b "setsid tcpdump -n -l -i xenbr0 'host $address and tcp[tcpflags] & tcp-rst != 0' >/var/tmp/resets 2>/dev/null </dev/null &"
}

clients_begun() { # on a slow host a login alone takes many round trips, each of them an epoch
    T=300 on b "for name in ssh redis download; do until grep -q begun /var/tmp/\$name.log; do sleep 0.2; done; done
        for port in 5201 5202; do
            until [ \$(ss -Htn state established \"( dst $address and dport = :\$port )\" | wc -l) -ge 2 ]; do sleep 0.2; done
        done"
}

clients_alive() { # clients_alive WHEN
    local name
    for name in "${clients[@]}"; do
        on b "kill -0 \$(cat /run/$name.pid)" </dev/null || fail "$name has ended $1: $(client_said "$name")"
    done
}

client_said() { on b "tail -c 400 /var/tmp/$1.log /var/tmp/$1.json" </dev/null; } # client_said NAME

client_end() { # client_end NAME [SIGNAL]: what it reports, once it has ended
    on b "${2:+kill -$2 \$(cat /run/$1.pid);} while [ -d /proc/\$(cat /run/$1.pid) ]; do sleep 0.1; done; cat /var/tmp/$1.json" </dev/null
}

judge_client() { # judge_client NAME: it heard nothing wrong, and more after its longest silence
    local seen
    seen=$(client_end "$1" TERM)
    say "$1: $(jq -c . <<<"$seen")"
    expect "what $1 found wrong" "$(jq -c .errors <<<"$seen")" "[]"
    expect "that $1 heard more after its silence" "$(jq '.heard > .heard_before_silence + 1' <<<"$seen")" true
}

# A second in which iperf3 moved nothing is part of a silence. Sending, it sees only its own socket's buffer.
IPERF='def silence: reduce (.intervals[].sum.bytes) as $bytes ({now: 0, max: 0};
        .now = (if $bytes == 0 then .now + 1 else 0 end) | .max = ([.now, .max] | max)) | .max;
    {error: (.error // "none"), received_bytes: .end.sum_received.bytes, longest_silence_s: silence,
     last_bytes: .intervals[-1].sum.bytes}'

judge_iperf() { # judge_iperf NAME: it came to its end in order, and moved data to the last
    local seen
    seen=$(T=$((RIG_IPERF_SECONDS + 120)) client_end "$1" | jq -c "$IPERF")
    say "iperf3 $1: $seen"
    expect "the error of iperf3 $1" "$(jq -r .error <<<"$seen")" none
    expect "that iperf3 $1 moved data to the last" "$(jq '.received_bytes > 0 and .last_bytes > 0' <<<"$seen")" true
}

scenario() {
    local boot checksum count name
    pair_up
    services_wait
    pair_remember
    clients_start
    clients_begun
    sleep 10
    clients_alive "before the cut"
    say "$(pair_line a)"
    rig_kill a
    say "answers after $(guest_answers "$address" 180) s"
    await_runs b 60
    sleep 10
    clients_alive "after the takeover"
    expect "resets on the guests' network" "$(on b 'cat /var/tmp/resets' </dev/null)" ""
    for name in ssh redis download; do judge_client "$name"; done
    for name in up down; do judge_iperf "$name"; done
    pair_judge
    nothing_left b "$guest"
}
