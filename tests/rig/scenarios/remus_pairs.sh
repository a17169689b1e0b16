# Stock `xl remus`, with understudy's save helper under it and without: ours to ours, ours to stock, stock to ours. Host
# a is cut off from power under load, and the guest goes on at b from the last complete checkpoint. Xen's own verifiers
# accept every record of the stream. (Its output is not held: stock xl's own option -n. So no client is connected.)
guests=(tpvh tpv)
limit_s=1500

scenario() {
    local boot checksum count pair cuts answered
    needs_log_dirty
    for pair in ours:ours ours:stock stock:ours; do
        answered= cuts=0
        until [ -n "$answered" ]; do
            [ "$pair$cuts" = ours:ours0 ] || stand_again
            power_cut "${pair%:*}" "${pair#*:}"
            cuts=$((cuts + 1))
        done
        guest_judge
        nothing_left b "$guest"
    done
}

# Protects the guest, ends host a, and waits for the guest; $answered is then the time that took.
power_cut() { # power_cut SENDER RECEIVER
    local judged
    put_understudy understudy-save-helper
    guest_remember
    writer_set "$address" 200
    receiver_start "$2" b -r
    on a "setsid $(xl_of "$1") remus -Fnd -i 200 $(way_to b) >/var/tmp/remus.log 2>&1 </dev/null &"
    await_checkpoints 12 300
    rig_kill a
    answered=$(guest_answers "$address" 180 2>/dev/null) || true
    judged=$(checkpoints_pass b /var/tmp/stream)
    say "$1 to $2: $judged; answers after ${answered:-180} s"
    if [ -z "$answered" ]; then
        # libxl, which is stock's in every pairing, then reads the end of its input as records without end.
        [[ $judged == *"in libxl's part" ]] && [ $cuts = 0 ] || fail "$1 to $2: the guest does not answer"
        say "the stream was cut where stock libxl waits for ever; again"
    fi
}

await_checkpoints() { # await_checkpoints COUNT SECONDS: libxl at b has read so many
    local until=$((SECONDS + $2)) count
    while :; do
        count=$(on b 'grep -ac "Record: 4, length 0" /var/tmp/receive.log || true' </dev/null)
        [ "$count" -lt "$1" ] || return 0
        [ $SECONDS -lt $until ] || fail "only $count checkpoints came within $2 s: $(on a 'tail -n 3 /var/tmp/remus.log')"
        sleep 1
    done
}
