# Stock `xl remus` on understudy's save helper, on both hosts: host a is cut off from power under load, and the guest
# goes on at b from the last complete checkpoint. (Its output is not held: stock xl's own option -n.)
guests=(tpvh tpv)
limit_s=600
full=yes

scenario() {
    local boot checksum helper=LIBXL_SAVE_HELPER=/usr/local/bin/understudy-save-helper checkpoints
    [ "$guest" != tpv ] || needs_shadow_paging
    put_understudy
    writer_set "$address" 200
    boot=$(boot_of "$address")
    checksum=$(memory_checksum "$address")
    on b "$helper setsid socat TCP-LISTEN:9900,reuseaddr,keepalive,keepidle=1,keepintvl=1,keepcnt=3 \
        EXEC:'xl -vv migrate-receive -r',nofork >/var/tmp/receive.log 2>&1 </dev/null & sleep 0.5"
    on a "$helper setsid xl -vv remus -s xr-nc -Fnd -i 200 $guest 10.9.0.2 >/var/tmp/remus.log 2>&1 </dev/null &"
    for _ in $(seq 120); do
        checkpoints=$(on a 'grep -ac "understudy: detail: checkpoint" /var/tmp/remus.log || true')
        [ "$checkpoints" -lt 12 ] || break
        sleep 2
    done
    [ "$checkpoints" -ge 12 ] || fail "only $checkpoints checkpoints came"
    say "$(on a 'grep -a "understudy: detail: checkpoint" /var/tmp/remus.log | tail -n 1')"
    rig_kill a
    say "answers after $(guest_answers "$address" 90) s"
    expect "the boot number" "$(boot_of "$address")" "$boot"
    expect "the memory's checksum" "$(memory_checksum "$address")" "$checksum"
    expect "the number of errors" "$(checker_errors "$address")" 0
    nothing_left b "$guest"
}
