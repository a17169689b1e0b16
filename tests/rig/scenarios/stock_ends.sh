# `xl save` of a protected guest, which ends the guest here, ends its protection: b starts nothing, and stock restores the
# guest as it was. Nobody has to say a word.
guests=(tpvh tpv)
limit_s=900

scenario() {
    local boot checksum count
    pair_up
    guest_remember
    on a "xl save $guest /var/tmp/image"
    await_field a state ended 60
    sleep 15
    nothing_left b
    on a 'pkill -TERM -x understudy; xl restore /var/tmp/image'
    guest_answers "$address" 60 >/dev/null
    guest_judge
}
