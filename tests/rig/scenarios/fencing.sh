# A guest that needs fencing: host a hangs, since a program that nothing interrupts has dom0's only processor. Xen's watchdog
# resets host a, whose Xen was booted with `noreboot`, before b starts the guest. Before that an engine is killed, and the next one
# goes on with the watchdog of the first, by its number.
guests=(tpvh)
limit_s=1500

# Emulated hosts stand still for seconds at times: a shorter watchdog would take that for a death.
WATCHDOG_S=40

watchdog_of() { pair_status "$1" | jq -r '.fencing.watchdog // "none"'; } # watchdog_of HOST

await_watchdog() { # await_watchdog HOST STATE SECONDS
    local until=$((SECONDS + $3))
    until [ "$(watchdog_of "$1")" = "$2" ]; do
        [ $SECONDS -lt $until ] || fail "the watchdog of host $1 is '$(watchdog_of "$1")' after $3 s, not '$2'"
        sleep 1
    done
}

timer_of() { on "$1" 'cut -d" " -f2 /var/lib/understudy-node/watchdog' </dev/null; } # timer_of HOST: Xen's number of it

scenario() {
    local timer began reset_s='' taken_s=''
    PAIR_TIMES="$PAIR_TIMES --fence-watchdog ${WATCHDOG_S}s"
    pair_secondary
    pair_node a --guest "name=$guest,fence=enforce"
    await_watchdog a armed 120
    await_protected a 600
    timer=$(timer_of a)
    say "the watchdog of a is Xen's timer $timer"
    pair_remember

    pair_signal a KILL
    pair_node a --guest "name=$guest,fence=enforce"
    await_watchdog a armed 60
    expect "the timer of the next engine" "$(timer_of a)" "$timer"
    await_protected a 300
    sleep $((WATCHDOG_S + 10))
    host_pid a >/dev/null || fail "host a was reset, although an engine was back in time"
    guest_judge

    # Nothing on host a runs beside the loop, not even the shell that has started it: nobody waits for an answer from there.
    began=$SECONDS
    on a 'echo -1 >/proc/sys/kernel/sched_rt_runtime_us; exec chrt -f 99 sh -c "while :; do :; done"' </dev/null >/dev/null 2>&1 &
    until [ -n "$taken_s" ]; do
        # In this order: a host that is there, while its guest runs elsewhere, must not pass for one that was gone before.
        [ -n "$reset_s" ] || host_pid a >/dev/null || reset_s=$((SECONDS - began))
        [ "$(pair_field b role)" != primary ] || taken_s=$((SECONDS - began))
        [ -z "$taken_s" ] || [ -n "$reset_s" ] || fail "b started the guest after $taken_s s, and host a still runs"
        [ $((SECONDS - began)) -lt 300 ] || fail "b does not start the guest; a was reset after '$reset_s' s"
        sleep 0.5
    done
    grep -a "Watchdog timer" "$RUN/a/serial.log" || fail "Xen did not say that its watchdog fired"
    say "host a was reset ${reset_s} s after it began to hang; b had the guest after ${taken_s} s"
    guest_answers "$address" 120 >/dev/null
    pair_judge
    await_watchdog b armed 60
}
