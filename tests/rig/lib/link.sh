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

link_cut() { # link_cut RECEIVER
    T=20 host_sh "$1" 'tc qdisc replace dev repl0 handle ffff: ingress &&
        tc filter replace dev repl0 parent ffff: prio 1 handle 1 matchall action drop'
}

link_heal() { T=20 host_sh "$1" 'tc qdisc del dev repl0 ingress 2>/dev/null || true'; } # link_heal RECEIVER
