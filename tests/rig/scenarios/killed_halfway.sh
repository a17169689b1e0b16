# The engine of b is killed in the midst of a takeover. Of a PVH guest twice: first while it gives the domain that stood by
# the guest's state. That domain cannot run and is kept, doctor says what to do, and the guest, which a has kept, is had
# back there. Then a has lost its power, so the domain is all that there is; it is whole and not labelled yet, and a person
# makes it the guest, as doctor says. Of a PV guest once, when a has lost its power and all that is missing is that the
# domain runs: nothing of it gets out before the next engine, which lets it run, since a PV guest says where its memory is
# only then, and goes on with it.
guests=(tpvh tpv)
limit_s=2400

engine_dies_in() { # engine_dies_in FUNCTION CONDITION: on b, once what b says shows that it is in there
    local until=$((SECONDS + 120))
    until on b "$2" </dev/null >/dev/null 2>&1; do
        [ $SECONDS -lt $until ] || fail "the engine of b does not come to $1"
        sleep 0.3
    done
    pair_signal b KILL
    on b 'while pgrep -x understudy >/dev/null; do sleep 0.1; done' </dev/null
}

activation() { echo "[ \"\$(xenstore-read /local/domain/\$(xl domid $guest--incoming)/understudy/activation)\" = $1 ]"; }

doctor_says() { # doctor_says WORDS: of b
    local said
    said=$(T=120 on b 'understudy doctor 2>&1; echo "exit $?"' </dev/null)
    say "doctor on b: $said"
    [[ "$said" == *"$1"* ]] || fail "doctor on host b does not say '$1': $said"
}

with_its_state() { # b dies where the domain cannot run
    local give='understudy_xen::standby::state::.*::give_state'
    defect b "$give" hangs
    on a "timeout 20 understudy switchover $guest" || say "the switchover is not accomplished"
    engine_dies_in "$give" "$(activation begun)"
    until_paused a 90
    pair_node b
    await_field a state fenced 60
    doctor_says "its engine died while it gave the domain the guest's state"
    expect "what runs on host b" "$(domains_of b)" "$guest--incoming"
    on b "xl destroy $guest--incoming"
    on a "understudy reclaim $guest --nobody-else-runs-it"
    await_field a role primary 60
    await_protected a 600
    say "had back on a: $(pair_line a)"
}

with_its_labels() { # b dies, and has the only domain, which has no past
    defect b 'understudy_xen::domain_labels::write' hangs
    rig_kill a
    engine_dies_in 'domain_labels::write' "$(activation whole)"
    pair_node b
    sleep 5
    doctor_says "xl rename"
    on b "xl rename $guest--incoming $guest && xl unpause $guest"
    sleep 3
    on b "! timeout 3 busybox wget -qO- http://$address/id >/dev/null 2>&1" </dev/null || fail "the guest answers before it is protected"
    on b "understudy protect $guest --to a"
}

before_it_runs() { # b dies, and the only domain is the guest but for that it is paused
    defect b '<understudy::guest::xen::machine::XenMachine as .*Machine>::unpause' hangs
    rig_kill a
    engine_dies_in unpause "xl domid $guest"
    on b "! timeout 5 busybox wget -qO- http://$address/id >/dev/null 2>&1" </dev/null || fail "the guest answers"
    pair_node b --guest "name=$guest"
}

scenario() {
    local boot checksum count
    PAIR_TIMES=${PAIR_TIMES/--silence-max 5s/--silence-max 20s} # a person and doctor take time on these hosts
    pair_up
    pair_remember
    if [ "$(type_of "$guest")" = pv ]; then
        before_it_runs
    else
        with_its_state
        pair_judge
        watch_start "$address" 20
        sleep 3
        with_its_labels
    fi
    await_runs b 180
    pair_judge
    nothing_left b "$guest"
}
