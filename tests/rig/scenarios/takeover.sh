# understudy protects a guest towards host b, with a witness on a third machine. Host a is cut off from power under
# load; b takes over, and every count that the guest gave before the last checkpoint is given once. Then host a comes
# back and holds the copy.
guests=(tpvh tpv)
limit_s=900

# Emulated hosts are slow: times that suit real ones would take a pause of the emulator for a death.
TIMES="--interval 200ms --heartbeat 500ms --silence 5s --grace 1s --takeover-grace 3s --staging 32M --shadow 64M"

node() { # node HOST SUBCOMMAND OPTIONS…: a node that reaches the witness and its peer by loopback
    local host=$1 port=7101 other=7102 peer=b
    shift
    [ "$host" = a ] || { port=7102 other=7101 peer=a; }
    on "$host" "RUST_BACKTRACE=1 setsid understudy $1 --node $host --listen 127.0.0.1:$port \
        --peer $peer=127.0.0.1:$other --witness 127.0.0.1:7400 --control /run/understudy.sock --hypervisor xen $TIMES \
        ${*:2} >>/var/tmp/understudy.log 2>&1 </dev/null &"
}

wires() { # wires FROM TO_ADDRESS: the witness and the peer's port on loopback, until links have mutual TLS
    on "$1" "setsid socat TCP-LISTEN:7400,bind=127.0.0.1,reuseaddr,fork TCP:10.0.2.100:7400 >/dev/null 2>&1 </dev/null &"
}

tunnel() { # from a to b: each finds the other's port on its own loopback
    on a "setsid ssh -N -L 127.0.0.1:7102:127.0.0.1:7102 -R 127.0.0.1:7101:127.0.0.1:7101 10.9.0.2 \
        >/var/tmp/tunnel.log 2>&1 </dev/null & sleep 2"
}

status_of() { on "$1" 'understudy status --control /run/understudy.sock --output json' </dev/null; }

await_protected() { # await_protected HOST SECONDS
    local until=$((SECONDS + $2))
    until status_of "$1" 2>/dev/null | grep -q '"protected": *true'; do
        [ $SECONDS -lt $until ] || fail "not protected after $2 s: $(status_of "$1")"
        sleep 2
    done
}

scenario() {
    local boot checksum count
    [ "$guest" != tpv ] || needs_shadow_paging
    put_understudy
    rm -rf "$RUN/machine/witness-$guest" # what an earlier run decided is not of this one
    machine_start witness "${CARGO_TARGET_DIR:-$RIG/../../target}/release/understudy" witness \
        --listen "127.0.0.1:$(rig_port third)" --state "$RUN/machine/witness-$guest"
    wires a
    wires b
    node b secondary
    tunnel
    writer_set "$address" 200
    boot=$(boot_of "$address")
    checksum=$(memory_checksum "$address")
    node a primary --domain "name=$guest"
    await_protected a 240
    count=$(count_of "$address")
    sleep 5
    say "$(on a 'understudy status --control /run/understudy.sock | sed -n 4p')"
    rig_kill a
    say "answers after $(guest_answers "$address" 90) s"
    expect "the boot number" "$(boot_of "$address")" "$boot"
    expect "the next count" "$(count_of "$address")" $((count + 1))
    expect "the memory's checksum" "$(memory_checksum "$address")" "$checksum"
    expect "the number of errors" "$(checker_errors "$address")" 0
    nothing_left b "$guest"

    rig_boot a
    put_understudy
    wires a
    node a secondary
    tunnel
    await_protected b 240
    say "protected again: $(on b 'understudy status --control /run/understudy.sock | sed -n 4p')"
    expect "the number of errors" "$(checker_errors "$address")" 0
}
