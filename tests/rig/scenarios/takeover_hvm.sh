# An HVM guest with its QEMU, and with an emulated network card beside its own: understudy protects it towards host b.
# The primary's engine is killed in the midst of checkpoints and started again; then host a is cut off from power and b
# takes over: the same guest, every number once. QEMU runs at b, nothing else is left there; host a, back, holds the copy.
guests=(thvm)
limit_s=1200

qemus_of() { on "$1" 'pgrep -fc "[q]emu-system-i386 -xen-domid" || true' </dev/null; } # qemus_of HOST

qemu_says() { # qemu_says HOST: how the QEMU of its guest stands
    on "$1" "xl qemu-monitor-command $guest 'info status'" </dev/null | tr -d '\r'
}

emulated_as_well() { # the guest anew, with a card that QEMU emulates until the guest's own driver takes over
    on a "xl destroy $guest; sed 's/,type=vif//' /rig/guests/$guest.cfg >/var/tmp/$guest.cfg; xl create /var/tmp/$guest.cfg" \
        >/dev/null || fail "the guest is not created"
    say "answers after $(guest_answers "$address" 120) s, with $(on a "ip -br link | grep -o '^vif[^ ]*' | paste -sd' '" </dev/null)"
}

taps_held() { # taps_held HOST: which of the guest's interfaces have their output held
    on "$1" 'for i in $(ls /sys/class/net | grep ^vif); do tc filter show dev $i ingress 2>/dev/null | grep -q . && echo "${i#vif*.}"; done |
        paste -sd" "' </dev/null
}

scenario() {
    local boot checksum count
    emulated_as_well
    pair_up
    say "interfaces whose output is held: $(taps_held a)"
    pair_remember
    sleep 5
    say "$(pair_line a)"
    say "parts of the pause, us: $(pair_status a | jq -c '.guests[0].pause_parts_us')"
    expect "QEMU between checkpoints" "$(qemu_says a)" "VM status: running"

    pair_signal a KILL
    pair_node a --guest "name=$guest"
    await_protected a 240
    pair_judge
    say "again: $(pair_line a)"
    pair_remember
    sleep 3

    rig_kill a
    say "answers after $(guest_answers "$address" 120) s"
    await_runs b 60
    pair_judge
    nothing_left b "$guest"
    expect "the number of QEMUs on host b" "$(qemus_of b)" 1
    say "interfaces whose output is held: $(taps_held b)"

    rig_boot a
    put_understudy
    pair_wires a
    pair_node a
    pair_tunnel
    await_protected b 300
    say "protected again: $(pair_line b)"
    expect "QEMU at host b" "$(qemu_says b)" "VM status: running"
    expect "the number of errors" "$(checker_errors "$address")" 0
    on b 'understudy doctor'
}
