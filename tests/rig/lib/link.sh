# Cutting the link between the hosts: frames vanish without a word, as in a real partition; both cards keep their
# carrier. What one host sends is dropped where the other receives it (an ingress filter on repl0), so each direction
# can be cut alone.

rig_link() { # rig_link cut|heal [both|a-b|b-a]
    local what=${1:-} direction=${2:-both}
    case $what in cut | heal) ;; *) die "link: cut or heal, not '$what'" ;; esac
    case $direction in
        both) "link_$what" a; "link_$what" b ;;
        a-b) "link_$what" b ;;
        b-a) "link_$what" a ;;
        *) die "link: both, a-b or b-a, not '$direction'" ;;
    esac
}

link_cut() { # link_cut RECEIVER: may be cut already
    T=20 host_sh "$1" 'tc filter show dev repl0 parent ffff: 2>/dev/null | grep -q drop || {
        tc qdisc add dev repl0 handle ffff: ingress && tc filter add dev repl0 parent ffff: matchall action drop; }'
}

link_heal() { T=20 host_sh "$1" 'tc qdisc del dev repl0 ingress 2>/dev/null || true'; } # link_heal RECEIVER
