# The primary's engine hangs: b takes over. When the engine wakes it learns that its generation is over: nothing of what
# it held leaves, its guest ends, and it holds the copy.
guests=(tpvh tpv)
limit_s=600

scenario() {
    local boot checksum count
    pair_up
    pair_remember
    judge_begin
    sleep 5
    pair_signal a STOP
    await_runs b 90
    pair_signal a CONT
    await_gone a 60
    await_protected b 240
    pair_judge
    judge_end
    expect "what a is to the guest" "$(pair_field a role)" secondary
    nothing_left a
    nothing_left b "$guest"
    no_redirects a
}
