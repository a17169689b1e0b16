# The secondary's engine and then the witness are killed, and come back: the guest runs on at a all the time, and is
# protected again.
guests=(tpvh tpv)
limit_s=600

scenario() {
    local boot checksum count
    pair_up
    pair_remember
    judge_begin
    sleep 3
    pair_signal b KILL
    await_field a state unprotected 30
    pair_judge
    watch_start "$address" 20
    pair_node b
    await_protected a 240

    machine_stop witness
    sleep 5
    expect "whether the guest is protected without a witness" "$(pair_field a protected)" true
    pair_witness_again
    sleep 3
    expect "whether the guest is protected" "$(pair_field a protected)" true
    pair_judge
    judge_end --lossless
    nothing_left a "$guest"
    nothing_left b
}
