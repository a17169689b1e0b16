# Stock tools at work on a protected guest, which take its dirty log: `xl save -c`, an `xl migrate` that its receiver
# breaks off, `understudy remus -b`. Each is refused, or noticed: the guest runs on, and its copy is made anew before it is
# called protected. Then power fails on a under load: what b starts is whole. What ends the guest here is `stock_ends`.
guests=(tpvh tpv)
limit_s=1200

READY='xl migration receiver ready, send binary domain data.' # what xl waits for before it sends

noticed() { # noticed WHAT COMMAND: of stock xl on a; the copy that was made before it must not be called a protection
    local before
    before=$(protections a)
    say "$1: $(T=300 on a "$2 2>&1 | tail -n 2" </dev/null)"
    await_protected_anew a "$before" 300
    say "after $1: $(pair_line a)"
    pair_judge
    watch_start "$address" 20
}

scenario() {
    local boot checksum count said
    pair_up
    pair_remember
    noticed "xl save -c" "xl save -c $guest /var/tmp/image"
    noticed "a migration that is broken off" "xl migrate -s '' $guest 'echo \"$READY\"; head -c 20000000 >/dev/null; false'"
    said=$(on a "understudy remus -Fb $guest nobody 2>&1; echo \"exit \$?\"" </dev/null)
    [[ "$said" == *"exit 6" ]] || fail "remus -b of a protected guest is not refused: $said"
    expect "whether the guest is protected" "$(pair_field a protected)" true
    writer_set "$address" 500
    sleep 5
    rig_kill a
    await_runs b 120
    pair_judge
    nothing_left b "$guest"
}
