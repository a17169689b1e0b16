# Stock xl remus with network buffering protects a guest under load, host a is cut off from power, and the guest goes
# on at host b: what stock Xen can do on this rig, and the rig's judges at a takeover. Stock Remus releases packets
# before the other host has the checkpoint they belong to, so the stream of numbers may break; the guest's memory may
# not.
guests=(tpvh tpv)

checkpoints() { # checkpoints COUNT: waits until the primary has made so many
    on a "until [ \$(grep -c 'All records processed' /var/tmp/remus.log) -ge $1 ]; do sleep 0.3; done" </dev/null
}

scenario() {
    local boot count
    needs_log_dirty
    [ -d "$(netbuf_dir)" ] || skip "libxenlight with network buffering is not built: rig build-stock-netbuf"
    writer_set "$address" 100
    boot=$(boot_of "$address")
    on a "setsid xl-netbuf -vv remus -Fd -i 200 $guest 10.9.0.2 >/var/tmp/remus.log 2>&1 </dev/null &"
    checkpoints 10
    count=$(count_of "$address")
    rig_kill a
    say "answers $(guest_answers "$address") s after the power cut"
    expect "the boot number" "$(boot_of "$address")" "$boot"
    [ "$(count_of "$address")" -gt "$count" ] || say "a count was given twice: stock released it too early"
    expect "the number of errors" "$(checker_errors "$address")" 0
    rig_boot a
    nothing_left a
}
