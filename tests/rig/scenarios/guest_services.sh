# What the rig's guests offer works on each kind of guest: the judges answer, and a guest that crashes, reboots,
# balloons or powers off is seen to.
guests=(tpvh tpv thvm)

state_of() { on a "xl list | awk '\$1 == \"$1\" { print \$5 }'" </dev/null; } # state_of GUEST: r-----, --p---, ---sc-

until_state() { # until_state GUEST PATTERN: within 40 s
    local tries
    for tries in {1..80}; do
        # shellcheck disable=SC2053 # a pattern is wanted
        [[ $(state_of "$1") == $2 ]] && return
        sleep 0.5
    done
    fail "after $tries tries the state of $1 is '$(state_of "$1")', not '$2'"
}

judges_answer() {
    local written gap
    writer_set "$address" 500 64
    gap=$(ask "$address" 'gap?ms=1000&pages=2000')
    say "gap meter: $gap"
    [ "$(answer_field max_us <<<"$gap")" -gt 0 ] && [ "$(answer_field pages <<<"$gap")" -gt 0 ] || fail "the gap meter saw nothing"
    on a "xl pause $guest; sleep 0.3; xl unpause $guest" &
    gap=$(ask "$address" 'gap?ms=3000&over_us=100000')
    wait
    [ "$(answer_field max_us <<<"$gap")" -gt 250000 ] || fail "a pause of 300 ms is not among the gaps: $gap"
    written=$(ask "$address" writer | answer_field written)
    [ "$written" -gt 0 ] || fail "the writer has written nothing"
    expect "the number of errors" "$(checker_errors "$address")" 0
}

scenario() {
    local boot
    judges_answer
    on a "xl mem-set $guest $(($(on a "xl list $guest" </dev/null | awk 'END { print $3 }') - 4))"
    sleep 1
    expect "the number of errors after ballooning" "$(checker_errors "$address")" 0
    boot=$(boot_of "$address")
    ask "$address" reboot >/dev/null
    sleep 3
    say "answers $(guest_answers "$address") s after it was told to reboot"
    [ "$(boot_of "$address")" != "$boot" ] || fail "the guest has not rebooted"
    ask "$address" crash >/dev/null
    until_state "$guest" '*c*'
    on a "xl destroy $guest"
    guest_up "$guest"
    ask "$address" poweroff >/dev/null
    until_state "$guest" ''
    nothing_left a
}
