# A protected guest ends by itself: its protection ends with it, b holds no copy of it and starts nothing. A guest that
# comes back, by reboot or by hand, is protected anew.
guests=(tpvh tpv)
limit_s=1200

ended() { # ended HOW: b has nothing that it could start, and what was held for the guest is gone
    await_field a state ended 60
    await_field b state empty 30
    say "$1: a: $(pair_line a); b: $(pair_line b)"
}

again() { # it is created by hand, and protected without a word to understudy
    on a "xl destroy $guest" 2>/dev/null || true
    guest_up "$guest"
    frames_set 10
    await_protected a 240
    sleep 5
    nothing_left a "$guest"
}

scenario() {
    local boot
    pair_up
    judge_begin
    sleep 3
    # Neither checkpoints nor a look at the guest may end the watch of the xl that is to start it again.
    on a "understudy preflight $guest --to $(link_address b)" </dev/null || fail "preflight of a protected guest"
    boot=$(boot_of "$address")
    ask "$address" reboot >/dev/null
    sleep 3
    guest_answers "$address" 90 >/dev/null
    [ "$(boot_of "$address")" != "$boot" ] || fail "the guest has not rebooted"
    frames_set 10
    await_protected a 240
    sleep 5
    say "rebooted: $(pair_line a)"

    on a "xl destroy $guest"
    ended destroyed
    again
    ask "$address" poweroff >/dev/null || true
    ended "powered off"
    again
    ask "$address" crash >/dev/null || true
    ended crashed
    nothing_left b
    again
    judge_end
}
