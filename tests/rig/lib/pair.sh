# A pair of understudy nodes on the two hosts, with a witness on a third machine, for scenarios.
#
#   host a: understudy node  ══ loopback ══ tunnel ══ loopback ══ understudy node :host b
#                   └── loopback ── 10.0.2.100:7400, the witness ── loopback ─┘

# Emulated hosts are slow: times that suit real ones would take a pause of the emulator for a death. Checkpoints are paced
# as a node does where nothing is said.
: "${PAIR_TIMES:=--heartbeat 500ms --silence-max 5s --link-grace 1s --takeover-grace 3s --slow-max 10s --hold-max 20s --staging 32M --shadow 64M}"

pair_up() { # pair_up: the guest $guest runs on a; in the end it is protected towards b
    pair_secondary
    pair_node a --guest "name=$guest"
    await_protected a 600
}

pair_secondary() { # all but the node that protects the guest
    needs_log_dirty
    put_understudy
    pair_witness
    pair_wires a
    pair_wires b
    pair_node b
    pair_tunnel
}

pair_witness() { # a witness that knows nothing: what an earlier run decided is not of this one
    rm -rf "$RUN/machine/witness"
    pair_witness_again
}

pair_witness_again() { # one that knows what the one before knew
    machine_start witness "${CARGO_TARGET_DIR:-$RIG/../../target}/release/understudy" witness \
        --listen "127.0.0.1:$(rig_port third)" --state "$RUN/machine/witness"
}

pair_wires() { # pair_wires HOST: the witness is found on loopback, until links have mutual TLS
    on "$1" "setsid socat TCP-LISTEN:7400,bind=127.0.0.1,reuseaddr,fork TCP:10.0.2.100:7400 >/dev/null 2>&1 </dev/null &"
}

pair_tunnel() { # each node finds the other's port on its own loopback; made again when it breaks
    on a "setsid sh -c 'while :; do ssh -N -o ServerAliveInterval=1 -o ServerAliveCountMax=2 -o ExitOnForwardFailure=yes \
        -L 127.0.0.1:7102:127.0.0.1:7102 -R 127.0.0.1:7101:127.0.0.1:7101 10.9.0.2; sleep 1; done' \
        >/var/tmp/tunnel.log 2>&1 </dev/null & sleep 2"
}

pair_node() { # pair_node HOST OPTIONS…: starts a node
    local host=$1 port=7101 other=7102 peer=b
    shift
    [ "$host" = a ] || { port=7102 other=7101 peer=a; }
    on "$host" "RUST_BACKTRACE=1 setsid understudy node --node $host --listen 127.0.0.1:$port \
        --peer $peer=127.0.0.1:$other --witness 127.0.0.1:7400 --hypervisor xen $PAIR_TIMES \
        --log ${PAIR_LOG:-info,understudy::output=debug} $* >>/var/tmp/understudy.log 2>&1 </dev/null &"
}

pair_signal() { on "$1" "pkill -$2 -x understudy"; } # pair_signal HOST SIGNAL

pair_status() { on "$1" 'understudy status --output json' </dev/null; } # pair_status HOST

pair_line() { # pair_line HOST: how its guest stands, in one line
    pair_status "$1" | jq -r --arg guest "$guest" '.guests[] | select(.name == $guest) |
        "\(.role) \(.state), generation \(.generation), epoch \(.epoch), pause \(.pause_us.p50) us, held \(.held_bytes) bytes, lost \(.dropped_frames) frames"'
}

pair_field() { # pair_field HOST FIELD: of the guest's status, "none" if the host does not know the guest
    pair_status "$1" 2>/dev/null | jq -r --arg guest "$guest" --arg field "$2" \
        '[.guests[] | select(.name == $guest)] | if length == 0 then "none" else .[0][$field] end'
}

await_field() { # await_field HOST FIELD VALUE SECONDS
    local until=$((SECONDS + $4))
    until [ "$(pair_field "$1" "$2")" = "$3" ]; do
        [ $SECONDS -lt $until ] || fail "$2 of $guest on host $1 is '$(pair_field "$1" "$2")' after $4 s, not '$3'"
        sleep 1
    done
}

await_protected() { await_field "$1" protected true "$2"; } # await_protected HOST SECONDS

# protections HOST: how often its guest has come to be protected since the node was first started
protections() { on "$1" 'grep -c " Primary .*state=protected" /var/tmp/understudy.log || :' </dev/null; }

# await_protected_anew HOST BEFORE SECONDS: it has been unprotected since `protections` said BEFORE, and is protected
await_protected_anew() {
    local until=$((SECONDS + $3))
    until [ "$(protections "$1")" -gt "$2" ]; do
        [ $SECONDS -lt $until ] || fail "nothing is noticed on host $1 in $3 s: $(pair_line "$1")"
        sleep 1
    done
    await_protected "$1" 300
}

host_ns() { on "$1" 'date +%s%N' </dev/null; } # host_ns HOST: its clock, by which its engine's log of output goes

acks_between() { # acks_between HOST FROM_NS TO_NS: of epochs, as that host's primary has them
    on "$1" "awk -v from=$2 -v to=$3 '/understudy::output: acked/ && match(\$0, /at_ns=[0-9]+/) {
        at = substr(\$0, RSTART + 6, RLENGTH - 6) + 0; count += at >= from && at <= to } END { print count + 0 }' \
        /var/tmp/understudy.log" </dev/null
}

await_gone() { # await_gone HOST SECONDS: it runs no guest any more
    local until=$((SECONDS + $2))
    until [ -z "$(domains_of "$1")" ]; do
        [ $SECONDS -lt $until ] || fail "host $1 still runs $(domains_of "$1") after $2 s"
        sleep 1
    done
}

await_runs() { # await_runs HOST SECONDS: understudy has taken the guest over there
    await_field "$1" role primary "$2"
    guest_answers "$address" "$2" >/dev/null
}

until_paused() { # until_paused HOST SECONDS: the guest stands still there
    local until=$((SECONDS + $2))
    until [[ "$(on "$1" "xl list $guest" </dev/null 2>&1 | awk 'END { print $5 }')" == *p* ]]; do
        [ $SECONDS -lt $until ] || fail "the guest on host $1 is not paused: $(on "$1" "xl list $guest" </dev/null 2>&1 | tail -n 1)"
        sleep 1
    done
}

redirects_of() { # redirects_of HOST: what holds the output of its guests; the cards of what stands by are held, too
    on "$1" "$STANDING; ip -br link | grep -o '^us-[^ ]*' | sort | while read -r it; do
        domain=\${it#us-vif}; stands \${domain%%.*} || echo \$it; done | paste -sd' '" </dev/null
}

no_redirects() { expect "what holds output on host $1" "$(redirects_of "$1")" ""; } # no_redirects HOST: nothing of ours

# The judges of a guest that must have lost nothing and repeated nothing. pair_remember takes down what it is; the
# guest is busy from then on, and a client reads numbers on one connection.
pair_remember() {
    guest_remember
    writer_set "$address" 200
    watch_start "$address" 20
}

pair_judge() { # the very same guest, the very same connection
    say "$(watch_end)"
    guest_judge
}
