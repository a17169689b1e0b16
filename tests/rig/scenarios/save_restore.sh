# A guest under load is saved and restored back and forth, with understudy's save helper under stock xl and without:
# ours to stock, stock to ours, ours to ours. Counter, memory and the number drawn at boot go on each time, and Xen's own
# verifier accepts what we save. Where host b's Xen is newer, guests do not go back: each pairing begins anew.
guests=(tpvh tpv thvm)
ci=(tpvh)
limit_s=1500

move() { # move SAVER FROM RESTORER TO: and see that nothing was lost
    guest_remember
    writer_set "$address" 200
    xl_with "$1" "$2" save "$guest" /var/tmp/image
    nothing_left "$2"
    [ "$1" = stock ] || stream_passes "$2" /var/tmp/image
    [ "$2" = "$4" ] || on "$2" "scp -q /var/tmp/image $(link_address "$4"):/var/tmp/image"
    xl_with "$3" "$4" restore /var/tmp/image
    say "saved by $1 on $2, restored by $3 on $4: answers after $(guest_answers "$address") s"
    guest_judge
    nothing_left "$4" "$guest"
}

scenario() {
    local boot checksum count
    put_understudy understudy-save-helper
    move ours a stock b
    if [ "$SUITE_a" = "$SUITE_b" ]; then
        move stock b ours a
    else
        stand_again
        put_understudy understudy-save-helper
        move stock a ours b
        stand_again
        put_understudy understudy-save-helper
    fi
    move ours a ours b
}
