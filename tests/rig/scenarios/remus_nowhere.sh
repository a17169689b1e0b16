# What protecting a guest would cost it, without another host: checkpoints to nowhere. The guest's clients see nothing but
# the waiting; Ctrl-C leaves the guest as it was, and what a kill leaves, doctor ends. A guest of a node is left alone.
guests=(tpvh tpv)
limit_s=600

nowhere() { # nowhere: begins, and waits for the third summary: the first is of the full sync
    on a "setsid understudy remus -Fb -i 200 $guest nobody >/var/tmp/nowhere.log 2>&1 </dev/null & echo \$! >/run/nowhere.pid
        until [ \$(grep -c dirty /var/tmp/nowhere.log) -ge 3 ]; do
            [ -d /proc/\$(cat /run/nowhere.pid) ] || { cat /var/tmp/nowhere.log; exit 1; }; sleep 3
        done; cat /var/tmp/nowhere.log" </dev/null
}

scenario() {
    local said
    needs_log_dirty
    put_understudy
    guest_remember
    watch_start "$address" 20
    say "$(T=240 nowhere)"
    said=$(on a 'kill -INT $(cat /run/nowhere.pid); while [ -d /proc/$(cat /run/nowhere.pid) ]; do sleep 0.1; done
        tail -n 1 /var/tmp/nowhere.log' </dev/null)
    expect "its last words" "$said" "$guest: goes on as before"
    say "$(watch_end)"
    guest_judge
    nothing_left a "$guest"

    say "$(T=240 nowhere)"
    on a 'kill -KILL $(cat /run/nowhere.pid)'
    said=$(on a 'understudy doctor --repair' </dev/null) || true
    say "doctor: $said"
    guest_answers "$address" 20 >/dev/null
    guest_judge
    nothing_left a "$guest"

    pair_up
    said=$(on a "understudy remus -Fb $guest nobody 2>&1; echo \"exit \$?\"" </dev/null)
    say "$said"
    [[ "$said" == *"an engine runs it"*"exit 6" ]] || fail "a protected guest is not left alone"
    expect "whether the guest is protected" "$(pair_field a protected)" true
}
