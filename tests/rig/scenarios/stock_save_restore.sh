# Stock xl saves a guest under load on host a and restores it on host b: the rig's own judges agree that nothing is
# lost when nothing should be.
guests=(tpvh tpv thvm)

scenario() {
    local boot checksum count
    writer_set "$address" 200
    boot=$(boot_of "$address")
    checksum=$(memory_checksum "$address")
    watch_start "$address" 50
    count=$(count_of "$address")
    on a "xl save $guest /var/tmp/image >/var/tmp/save.log 2>&1"
    nothing_left a
    on a 'scp -q /var/tmp/image 10.9.0.2:/var/tmp/image'
    on b 'xl restore /var/tmp/image >/var/tmp/restore.log 2>&1'
    say "answers after $(guest_answers "$address") s"
    expect "the boot number" "$(boot_of "$address")" "$boot"
    expect "the next count" "$(count_of "$address")" $((count + 1))
    expect "the memory's checksum" "$(memory_checksum "$address")" "$checksum"
    expect "the number of errors" "$(checker_errors "$address")" 0
    say "$(watch_end)"
    nothing_left b "$guest"
}
