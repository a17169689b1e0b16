# The primary's engine is told to end. A guest that is not protected then runs on as if understudy had never been there,
# and stock xl can save and restore it. One that is protected is paused, and b takes over.
guests=(tpvh tpv)
limit_s=900

await_engine_gone() { on "$1" 'n=0; while pgrep -x understudy >/dev/null; do n=$((n + 1)); [ $n -lt 100 ]; sleep 0.2; done'; }

scenario() {
    local boot checksum count
    pair_up
    pair_remember
    judge_begin
    sleep 3
    on a "understudy unprotect $guest"
    await_field a state unprotected 30
    judge_end --lossless
    pair_signal a TERM
    await_engine_gone a
    no_redirects a
    sleep 3
    pair_judge
    on a "xl save $guest /var/tmp/stock.save && xl restore /var/tmp/stock.save && rm /var/tmp/stock.save"
    guest_answers "$address" 60 >/dev/null
    expect "the memory's checksum after stock's save and restore" "$(memory_checksum "$address")" "$checksum"

    pair_node a --guest "name=$guest"
    await_protected a 240
    pair_remember
    judge_begin
    sleep 3
    pair_signal a TERM
    await_engine_gone a
    await_runs b 90
    expect "the state of the guest left on a" "$(on a "xl list $guest" </dev/null | awk 'END { print $5 }')" "--p---"
    pair_judge
    judge_end
    pair_node a --guest "name=$guest"
    await_gone a 60
    await_protected b 240
    nothing_left b "$guest"
}
