# A guest under load is migrated live, back and forth, by stock xl with understudy's save helper and without: ours to
# stock, stock to ours, ours to ours. A client's connection goes on with every number once, so does the guest's memory,
# and Xen's own verifier accepts every stream.
guests=(tpvh tpv)
limit_s=900

move() { # move SENDER FROM RECEIVER TO
    pair_remember
    receiver_start "$3" "$4"
    xl_with "$1" "$2" migrate "$(way_to "$4")"
    say "migrated by $1 on $2 to $3 on $4: answers after $(guest_answers "$address") s"
    pair_judge
    nothing_left "$2"
    nothing_left "$4" "$guest"
    stream_passes "$4" /var/tmp/stream
}

scenario() {
    local boot checksum count
    needs_log_dirty
    put_understudy understudy-save-helper
    move ours a stock b
    move stock b ours a
    move ours a ours b
}
