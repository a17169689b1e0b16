# A guest's twin, made from an image that stock xl saved while the guest ran, is overwritten with the guest's present state on
# the same host and goes on as the guest. A client's connection goes on with every number once, and so does the guest's
# memory; the guest's driver connects nothing anew. Another, with an event channel port too many, was refused before.
guests=(tpvh tpvh2)
limit_s=1200

twin_up() { # a domain from an image of the running guest, with its card in a bridge of its own, until that is connected
    on a "ip link add xenbr1 type bridge 2>/dev/null; ip link set xenbr1 up"
    on a "xl save -c $guest /var/tmp/image >/dev/null 2>&1 &&
        sed 's/^name = .*/name = \"$twin\"/; s/xenbr0/xenbr1/' /rig/guests/$guest.cfg >/var/tmp/twin.cfg &&
        xl restore /var/tmp/twin.cfg /var/tmp/image >/dev/null 2>&1 && rm /var/tmp/image"
    number=$(on a "xl domid $guest") twin_number=$(on a "xl domid $twin")
    frontend=/local/domain/$twin_number/device/vif/0/state backend=/local/domain/0/backend/vif/$twin_number/0
    on a "until [ \"\$(xenstore-read $backend/state 2>/dev/null)\" = 4 ]; do sleep 0.2; done"
}

refused() { # a domain with a port too many; it is let alone, and so is the guest
    local said
    on a "make-twin --offer-port $twin_number"
    said=$(T=300 on a "make-twin --check $number $twin_number 2>&1" || true)
    [[ "$said" == *"is no twin of the guest: event channel port"* ]] || fail "not refused: $said"
    say "refused: $(tail -n 1 <<<"$said")"
    expect "the frontend of what was refused" "$(on a "xenstore-read $frontend")" 4
    on a "xl destroy $twin"
}

scenario() {
    local boot checksum count number twin_number frontend backend ring guests_ring twin=$guest-twin
    put_understudy make-twin
    twin_up
    refused
    twin_up
    pair_remember
    sleep 3
    # Its card is to go where the guest's is. Whatever state its frontend takes is written down.
    on a "xenstore-write $backend/bridge xenbr0
        setsid xenstore-watch $frontend >/var/tmp/states 2>&1 </dev/null & sleep 1"
    ring=/local/domain/$twin_number/device/vif/0/tx-ring-ref
    guests_ring=$(on a "xenstore-read /local/domain/$number/device/vif/0/tx-ring-ref")
    say "$(T=300 on a "make-twin $number $twin_number")"
    say "answers after $(guest_answers "$address") s"
    expect "where the twin's ring is" "$(on a "xenstore-read $ring")" "$guests_ring"
    on a "xl destroy $guest"
    pair_judge
    # A watch fires once when it is made.
    expect "how often the frontend's state was written" "$(on a 'grep -c state /var/tmp/states')" 1
    nothing_left a "$twin"
    expect "what the guest's kernel says" "$(on a "cat /var/log/xen/guest-$twin.log 2>/dev/null | tail -n 3")" ""
}
