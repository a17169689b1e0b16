# What doctor does where it cannot see: b has won the guest and cannot start it, as its xenstored is dead; then the engines
# of both hosts die, so that nothing refuses doctor, and at last xenstored of a, too. Each time doctor ends, is not content,
# destroys nothing and lets nothing of the guest out.
guests=(tpvh tpv)
limit_s=1500

xenstored_dies() { on "$1" 'pkill -KILL -f "^/usr/lib/xen[^ ]*/bin/[o]*xenstored"'; } # xenstored_dies HOST

engine_dies() { # engine_dies HOST
    pair_signal "$1" KILL
    on "$1" 'while pgrep -x understudy >/dev/null; do sleep 0.1; done' </dev/null
}

doctor() { # doctor HOST: what doctor --repair says there, which must not be that all is well
    local said
    said=$(T=120 on "$1" 'understudy doctor --repair 2>&1; echo "exit $?"' </dev/null)
    say "doctor on $1: $said"
    [[ "$said" == *"exit 3" ]] || fail "doctor on host $1 does not say that something is left: $said"
}

is_there() { # is_there HOST DOMAIN: Xen itself has it, whatever xenstore says
    on "$1" "/usr/lib/xen-*/bin/xenctx $2 0 >/dev/null 2>&1" </dev/null || fail "domain $2 on host $1 is gone"
}

held_cards() { # what leads to a device that went with its engine lets nothing through
    on a 'for card in $(ip -br link | grep -o "^vif[0-9.]*"); do tc filter show dev $card ingress; done | grep -c mirred || :' </dev/null
}

all_is_kept() { # all_is_kept WHEN
    is_there a "$here"
    is_there b "$there"
    [ "$(held_cards)" -ge 1 ] || fail "nothing holds the guest's output $1"
    on b "! timeout 5 busybox wget -qO- http://$address/id >/dev/null 2>&1" </dev/null || fail "the guest answers $1"
}

scenario() {
    local boot checksum count here there
    PAIR_TIMES=${PAIR_TIMES/--silence-max 5s/--silence-max 20s} # nobody takes over by himself
    pair_up
    pair_remember
    judge_begin
    here=$(on a "xl domid $guest" </dev/null) there=$(on b "xl domid $guest--incoming" </dev/null)
    expect "the number of cards whose output is held" "$(held_cards)" 1
    xenstored_dies b
    on a "timeout 60 understudy switchover $guest" || say "the switchover is not accomplished"
    until_paused a 90

    engine_dies b
    engine_dies a
    doctor b
    all_is_kept "where the host of the copy has no xenstored"
    doctor a
    all_is_kept "where the fenced guest is"
    xenstored_dies a
    doctor a
    all_is_kept "where the fenced guest has no xenstored, either"
    judge_end
}
