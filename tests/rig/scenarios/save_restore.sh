# A guest under load is saved and restored back and forth, with understudy's save helper under stock xl and without:
# ours to stock, stock to ours, ours to ours. Counter, memory and the number drawn at boot go on each time.
guests=(tpvh tpv thvm)
limit_s=600

xl_with() { # xl_with ours|stock HOST ARGUMENTS…: stock xl, with our save helper or its own
    local whose=$1 host=$2
    shift 2
    if [ "$whose" = ours ]; then set -- env LIBXL_SAVE_HELPER=/usr/local/bin/understudy-save-helper xl -vv "$@"; else set -- xl -vv "$@"; fi
    on "$host" "$* >>/var/tmp/xl.log 2>&1 || { tail -n 5 /var/tmp/xl.log; exit 1; }" ||
        fail "$whose: $* on host $host"
}

move() { # move SAVER FROM RESTORER TO: and see that nothing was lost
    local boot checksum count
    boot=$(boot_of "$address")
    checksum=$(memory_checksum "$address")
    count=$(count_of "$address")
    xl_with "$1" "$2" save "$guest" /var/tmp/image
    nothing_left "$2"
    [ "$2" = "$4" ] || on "$2" "scp -q /var/tmp/image 10.9.0.$([ "$4" = a ] && echo 1 || echo 2):/var/tmp/image"
    xl_with "$3" "$4" restore /var/tmp/image
    say "saved by $1 on $2, restored by $3 on $4: answers after $(guest_answers "$address") s"
    expect "the boot number" "$(boot_of "$address")" "$boot"
    expect "the next count" "$(count_of "$address")" $((count + 1))
    expect "the memory's checksum" "$(memory_checksum "$address")" "$checksum"
    expect "the number of errors" "$(checker_errors "$address")" 0
    nothing_left "$4" "$guest"
}

scenario() {
    [ "$guest" != tpv ] || needs_shadow_paging
    put_understudy
    writer_set "$address" 200
    move ours a stock b
    move stock b ours a
    move ours a ours b
}
