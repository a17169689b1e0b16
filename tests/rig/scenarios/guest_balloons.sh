# A protected guest gives memory back and takes it again under load; then its host is cut off from power. What b starts
# is whole.
guests=(tpvh tpv)
limit_s=600

scenario() {
    local boot checksum count mib
    pair_up
    pair_remember
    judge_begin
    mib=$(on a "xl list $guest" </dev/null | awk 'END { print $3 }')
    for less in 4 0 5 1 4; do
        on a "xl mem-set $guest $((mib - less))"
        sleep 3
    done
    expect "whether the guest is protected" "$(pair_field a protected)" true
    say "$(pair_line a)"
    rig_kill a
    await_runs b 90
    pair_judge
    judge_end
    nothing_left b "$guest"
}
