# `xl save` of a guest ends it here. While the guest is protected, xl and the engine ask it to suspend at the same time, and xl
# gives up after a minute: the guest runs on, and is protected again. After `understudy unprotect` xl saves it: the protection
# ends with it, b starts nothing, and stock restores the guest as it was.
guests=(tpvh tpv)
limit_s=1200

save() { T=200 on a "xl save $guest /var/tmp/image 2>&1" </dev/null; }

scenario() {
    local boot checksum count
    pair_up
    guest_remember
    if ! save; then
        say "xl has not saved the protected guest"
        guest_answers "$address" 60 >/dev/null
        await_protected a 300
        guest_judge
        on a "understudy unprotect $guest"
        await_field a state unprotected 60
        save
    fi
    await_field a state ended 60
    sleep 15
    nothing_left b
    on a 'pkill -TERM -x understudy; xl restore /var/tmp/image'
    guest_answers "$address" 60 >/dev/null
    guest_judge
}
