# A guest that stock xl saved becomes what xl of Xen 4.5 would have saved, of a 32-bit and of a 64-bit dom0; stock xl
# restores it with our converter. Counter, memory and the number drawn at boot go on each time. (No Xen this old runs here:
# the legacy files are written by the sender that the tests of the conversion have.)
guests=(tpv thvm)

as_legacy() { # as_legacy BITS
    guest_remember
    writer_set "$address" 200
    xl_with stock a save "$guest" /var/tmp/image
    nothing_left a
    on a "stream-parts legacy /var/tmp/image /var/tmp/legacy $1 && rm /var/tmp/image"
    on a "LIBXL_CONVERT_HELPER=/usr/local/bin/understudy-convert-legacy-stream xl -vv restore /var/tmp/legacy \
        >/var/tmp/restore.log 2>&1" || { on a 'tail -n 20 /var/tmp/restore.log'; fail "xl restore of the $1-bit file"; }
    on a 'grep -q "converted from legacy stream format" /var/tmp/restore.log' || fail "xl did not take it for a legacy file"
    say "restored from a file of a $1-bit toolstack: answers after $(guest_answers "$address") s"
    guest_judge
    nothing_left a "$guest"
}

scenario() {
    local boot checksum count
    put_understudy understudy-convert-legacy-stream stream-parts
    as_legacy 32
    as_legacy 64
}
