# The guest has used up its quota of xenstore nodes, on a, and xenstored of both hosts allows no more watches and transactions to
# anybody whom it limits. The guest becomes protected all the same, what the engine writes of it is there, and it goes on at b
# when power fails on a.
guests=(tpvh tpv)
limit_s=1200

scenario() {
    local boot checksum count domain host
    domain=$(on a "xl domid $guest" </dev/null)
    on a "xenstore-write \$(for number in \$(seq 1 1200); do echo /local/domain/$domain/data/number\$number x; done)"
    say "on a: $(on a "xenstore-control quota; xenstore-control quota $domain" </dev/null | paste -sd' ')"
    for host in a b; do
        on $host 'xenstore-control quota set watches 1; xenstore-control quota set transactions 1' || fail "no quota can be set"
    done
    pair_up
    expect "the label of the guest on a" "$(on a "xenstore-read /local/domain/$domain/understudy/generation" </dev/null)" \
        "$(pair_field a generation)"
    say "a: $(pair_status a | jq -c '.guests[] | [.state, .reason]')"
    pair_remember
    sleep 5
    expect "whether the guest is protected" "$(pair_field a protected)" true
    rig_kill a
    await_runs b 180
    say "b: $(pair_status b | jq -c '.guests[] | [.state, .reason]')"
    pair_judge
    nothing_left b "$guest"
}
