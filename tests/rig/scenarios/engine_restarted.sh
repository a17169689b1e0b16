# The primary's engine is killed and at once started again, as an update does: it goes on with the guest that it finds,
# in a new generation, and nobody takes over.
guests=(tpvh tpv)
limit_s=600

scenario() {
    local boot checksum count
    pair_up
    pair_remember
    judge_begin
    sleep 3
    pair_signal a KILL
    pair_node a --guest "name=$guest"
    await_field a role primary 20
    await_protected a 240
    expect "the generation" "$(pair_field a generation)" 2
    pair_judge
    judge_end
    nothing_left a "$guest"
    nothing_left b
    expect "what b is to the guest" "$(pair_field b role)" secondary
}
