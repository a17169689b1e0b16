# Stock tools at work on a protected guest, which take its dirty log: `xl save -c` is noticed, and `understudy remus -b` is
# refused. The guest runs on, and its copy is made anew before it is called protected. Then power fails on a under load:
# what b starts is whole. `migrate_broken` has `xl migrate`, `stock_ends` what ends the guest here.
guests=(tpvh tpv)
limit_s=1800

scenario() {
    local boot checksum count before said
    pair_up
    pair_remember
    before=$(protections a)
    say "$(T=300 on a "xl save -c $guest /var/tmp/image 2>&1 | tail -n 2" </dev/null)"
    await_protected_anew a "$before" 600
    said=$(on a "understudy remus -Fb $guest nobody 2>&1; echo \"exit \$?\"" </dev/null)
    [[ "$said" == *"exit 6" ]] || fail "remus -b of a protected guest is not refused: $said"
    expect "whether the guest is protected" "$(pair_field a protected)" true
    writer_set "$address" 500
    sleep 3
    rig_kill a
    await_runs b 120
    pair_judge
    nothing_left b "$guest"
}
