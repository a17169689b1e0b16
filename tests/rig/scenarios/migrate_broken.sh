# A stock `xl migrate` of a protected guest breaks off with its connection. Its helper dies of that and leaves the guest's
# dirty log on, having read from it what no checkpoint has. It is noticed: the guest runs on, and its copy is made anew
# before it is called protected. Then power fails on a under load, and what b starts is whole.
guests=(tpvh tpv)
ci=()
limit_s=1200

READY='xl migration receiver ready, send binary domain data.' # what xl waits for before it sends

lost_logs() { on a 'grep -c "dirty log was lost" /var/tmp/understudy.log || :' </dev/null; }

scenario() {
    local boot checksum count before
    pair_up
    pair_remember
    sleep 10
    say "frames that changed without a mark: $(on a 'grep "changed without a mark" /var/tmp/understudy.log | grep -o "frame=[^ ]*" | paste -sd" "' </dev/null)"
    expect "how often the log was lost before anybody touched it" "$(lost_logs)" 0
    before=$(protections a)
    say "$(T=300 on a "xl migrate -s '' $guest 'echo \"$READY\"; head -c 20000000 >/dev/null; false' 2>&1 | tail -n 2" </dev/null)"
    await_protected_anew a "$before" 300
    say "protected again: $(pair_line a)"
    writer_set "$address" 500
    sleep 3
    rig_kill a
    await_runs b 120
    pair_judge
    nothing_left b "$guest"
}
