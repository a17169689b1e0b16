# Output commit under the judge's eyes, through whatever a scenario does to the hosts:
#
#   judge_begin    both hosts are captured from here on, and the guest sends numbered frames of every kind
#   …
#   judge_end      the captures end; the scenario fails if output left before its time (judge-output)
#
#   $RUN/machine/capture-HOST.pcapng, log-HOST: what the judge is given, brought here by ssh while it grows, since a
#   power cut leaves nothing on a host. Of the last tenth of a second it takes, host b and the numbers tell.

judge_begin() { # judge_begin [FRAMES_PER_S]: of each of the eight kinds
    local host until=$((SECONDS + 300))
    for host in a b; do # a first: whatever b hears a must have let out
        stream_start "$host" "capture-$host.pcapng" "echo \$\$ >/run/capture.pid; exec /rig/bin/rigguest capture $(mac_of "$guest")"
        stream_start "$host" "log-$host" 'exec tail -n +1 -F /var/tmp/understudy.log'
        until [ -s "$RUN/machine/capture-$host.pcapng" ]; do
            [ $SECONDS -lt $until ] || fail "the capture on host $host does not begin"
            sleep 0.2
        done
    done
    frames_set "${1:-10}"
}

frames_set() { ask "$address" "frames?per_s=$1" >/dev/null; } # frames_set FRAMES_PER_S: a guest that booted sends none

frames_sent() { ask "$address" frames | answer_field frames; } # numbered frames of all kinds

# judge_end [OPTIONS of judge-output]: all kinds must have been seen. What the judge says is kept.
judge_end() {
    local code=0
    judge_verdict "$@" >"$RUN/machine/verdict" || code=$?
    while IFS= read -r line; do say "$line"; done <"$RUN/machine/verdict"
    [ $code = 0 ] || fail "judge-output: $(tail -n 1 "$RUN/machine/verdict")"
}

judge_verdict() { # judge_verdict [OPTIONS]: ends the captures; prints what the judge says, and its exit code
    local host off=()
    for host in b a; do
        if host_pid "$host" >/dev/null; then
            on "$host" 'kill -INT $(cat /run/capture.pid)'
            stream_await "capture-$host.pcapng" 300
            machine_stop "log-$host"
            on "$host" 'cat /var/tmp/understudy.log' </dev/null >"$RUN/machine/log-$host"
        else
            machine_stop "capture-$host.pcapng"
            machine_stop "log-$host"
            off+=(--cut-off "$host")
        fi
    done
    "$RIG/judge-output" --all-kinds "${off[@]}" "$@" "$RUN"/machine/{log-a,capture-a.pcapng,log-b,capture-b.pcapng}
}

# stream_start HOST NAME COMMAND: what the command says there is $RUN/machine/NAME here, as soon as it says it. By a
# connection of its own: the shared one is closed before a power cut.
stream_start() {
    ssh_options "$1"
    : >"$RUN/machine/$2"
    machine_start "$2" bash -c 'exec "${@:2}" >"$1"' stream "$RUN/machine/$2" ssh "${SSH[@]}" root@127.0.0.1 "$3"
}

stream_await() { # stream_await NAME SECONDS: until its command has ended
    local pid began until=$((SECONDS + $2))
    read -r pid began <"$RUN/machine/$1.pid"
    while [ "$(process_began "$pid")" = "$began" ]; do
        [ $SECONDS -lt $until ] || fail "$1 does not end"
        sleep 0.1
    done
}
