# understudy says beforehand why a guest cannot be protected: nothing stands against it, then host b has a domain of the
# same name, then b lacks the bridge. Each with its exit code; the guest never notices.
guests=(tpvh tpv)
ci=(tpvh)
limit_s=300

# verdict CODE [WORD] [FROM]: preflight of the guest on a towards b ends with this exit code, and says this; or of one
# on b towards a
verdict() {
    local said code from=${3:-a} to=b
    [ "$from" = a ] || to=a
    said=$(on "$from" "understudy preflight $guest --to $(link_address "$to") 2>&1; echo \"exit \$?\"" </dev/null)
    say "$said"
    code=$(sed -n 's/^exit //p' <<<"$said")
    expect "preflight's exit code" "$code" "$1"
    [[ "$said" == *"${2:-can be protected}"* ]] || fail "preflight does not say '$2'"
}

scenario() {
    local boot count
    needs_log_dirty
    put_understudy
    boot=$(boot_of "$address")
    count=$(count_of "$address")
    verdict 0

    on b "xl create -p /rig/guests/$guest.cfg >/dev/null"
    verdict 3 name_taken
    on b "xl destroy $guest"
    verdict 0

    on b 'ip link set xenbr0 down && ip link set xenbr0 name elsewhere && ip link set elsewhere up'
    verdict 3 'no bridge xenbr0'
    on b 'ip link set elsewhere down && ip link set elsewhere name xenbr0 && ip link set xenbr0 up'
    verdict 0

    on a "xl pause $guest"
    verdict 3 paused
    on a "xl unpause $guest"
    expect "the boot number" "$(boot_of "$address")" "$boot"
    expect "the next count" "$(count_of "$address")" $((count + 1))
    nothing_left a "$guest"
    nothing_left b
}
