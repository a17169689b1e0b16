# Stock xl with our save helper under it, or with its own, for scenarios that pair the two; and Xen's own verifier,
# which judges every stream.
#
#   sender: xl migrate|remus ── socat ══ repl0 ══ port 9900 ── tee /var/tmp/stream ── xl migrate-receive :receiver
#
# Plain TCP, with keepalive at the receiver: a dead host is noticed in a few seconds. Over ssh everything takes longer.

xl_of() { # xl_of ours|stock: the command
    case $1 in
        ours) echo "env LIBXL_SAVE_HELPER=/usr/local/bin/understudy-save-helper xl -vv" ;;
        stock) echo "xl -vv" ;;
    esac
}

xl_with() { # xl_with ours|stock HOST ARGUMENTS…
    local whose=$1 host=$2
    shift 2
    T=${T:-400} on "$host" "$(xl_of "$whose") $* >>/var/tmp/xl.log 2>&1 || { tail -n 5 /var/tmp/xl.log; exit 1; }" ||
        fail "$whose: xl $* on host $host"
}

link_address() { if [ "$1" = a ]; then echo 10.9.0.1; else echo 10.9.0.2; fi; } # link_address HOST

receiver_start() { # receiver_start ours|stock HOST [-r]: libxl tells each of its records in /var/tmp/receive.log
    on "$2" "rm -f /var/tmp/stream
        printf '%s\n' '#!/bin/sh' 'tee /var/tmp/stream | $(xl_of "$1")v migrate-receive ${3:-}' >/var/tmp/receiver
        chmod 755 /var/tmp/receiver
        setsid socat TCP-LISTEN:9900,reuseaddr,keepalive,keepidle=1,keepintvl=1,keepcnt=5 \
            EXEC:/var/tmp/receiver,nofork >/var/tmp/receive.log 2>&1 </dev/null &
        until ss -Hltn 'sport = :9900' | grep -q .; do sleep 0.1; done"
}

# What xl has to be told of how to reach the receiver on HOST.
way_to() { echo "-s '' $guest 'socat - TCP:$(link_address "$1"):9900,nodelay'"; } # way_to HOST

# A stream that has an end is judged by Xen's own verifier, that of the host it is on.
stream_passes() { # stream_passes HOST FILE
    T=300 on "$1" "PYTHONPATH=/usr/lib/xen/lib/python /usr/lib/xen/bin/verify-stream-v2 -f xl -i $2 2>&1" </dev/null ||
        fail "Xen's verifier refuses $2 of host $1"
    say "Xen's verifier accepts $2 of host $1, $(on "$1" "stat -c %s $2" </dev/null) bytes"
}

# One of checkpoints: prints how many are whole and where it ends; fails when a record is refused.
checkpoints_pass() { # checkpoints_pass HOST FILE
    host_put "$1" "$RIG/../verify-checkpointed" /var/tmp/verify-checkpointed
    T=300 on "$1" "PYTHONPATH=/usr/lib/xen/lib/python /var/tmp/verify-checkpointed $2 2>&1" </dev/null ||
        fail "Xen's verifiers refuse $2 of host $1"
}
