# The link between the hosts can be cut, each direction alone, and healed.
ci=(none)

reaches() { # reaches HOST: one datagram from it arrives on the other host
    local from=$1 to=b address=10.9.0.2
    if [ "$from" = b ]; then to=a address=10.9.0.1; fi
    on $to 'timeout 2 socat -u UDP-RECV:9999 OPEN:/tmp/heard,creat,trunc & sleep 0.4; echo ready; wait' </dev/null |
        { read -r _; on "$from" "echo word | socat -u - UDP-SENDTO:$address:9999"; cat; }
    [ "$(on $to 'cat /tmp/heard')" = word ]
}

scenario() {
    # The addresses are known beforehand: a resolution needs both directions.
    on a 'ip neigh replace 10.9.0.2 dev repl0 lladdr 52:54:00:00:02:01'
    on b 'ip neigh replace 10.9.0.1 dev repl0 lladdr 52:54:00:00:01:01'
    reaches a && reaches b || fail "the link does not work uncut"
    rig_link cut a-b
    ! reaches a || fail "a still reaches b"
    reaches b || fail "b no longer reaches a"
    rig_link cut both
    ! reaches b || fail "b still reaches a"
    rig_link heal
    reaches a && reaches b || fail "the link does not work after it is healed"
}
