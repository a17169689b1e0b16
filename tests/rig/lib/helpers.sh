# What scenarios are written with. In a scenario $guest is the guest's name and $address its address; a command that
# fails ends the scenario as failed.

on() { host_sh "$@"; } # on HOST COMMAND…

fail() { # fail WHY: the scenario has failed
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

expect() { [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"; } # expect WHAT ACTUAL WANTED

address_of() { # address_of GUEST
    sed -n 's/.*gip=\([0-9.]*\).*/\1/p' "$RIG/guest/$1.cfg"
}

type_of() { # type_of GUEST: pv, pvh or hvm
    sed -n 's/^type = "\(.*\)"/\1/p' "$RIG/guest/$1.cfg"
}

mac_of() { # mac_of GUEST
    sed -n 's/.*mac=\([0-9a-f:]*\).*/\1/p' "$RIG/guest/$1.cfg"
}

guest_up() { guest_start "${2:-a}" "$1"; } # guest_up NAME [HOST]: creates it and waits until it answers

# ask ADDRESS PATH [SECONDS]: what the guest answers, asked from host $CLIENT (b unless set: it outlives a)
ask() {
    T=$((${3:-30} + 20)) on "${CLIENT:-b}" "timeout ${3:-30} busybox wget -qO- 'http://$1/$2'" </dev/null
}

# guest_answers ADDRESS [SECONDS]: waits until the guest answers; prints the seconds since it was called. Each attempt waits
# longer than the one before: on a busy machine an answer of a protected guest takes two checkpoints of seconds.
guest_answers() {
    local limit=${2:-120} began=$EPOCHREALTIME
    T=$((limit + 40)) on "${CLIENT:-b}" "until=\$((SECONDS + $limit)) wait=0.7 tries=0
        until timeout \$wait busybox wget -qO- http://$1/id >/dev/null 2>&1; do
            [ \$SECONDS -lt \$until ] || exit 1; sleep 0.05
            tries=\$((tries + 1)) wait=\$((tries < 20 ? tries / 2 + 1 : 10))
        done" </dev/null || fail "the guest at $1 does not answer within $limit s"
    awk "BEGIN { printf \"%.2f\n\", $EPOCHREALTIME - $began }"
}

services_wait() { # until each service of the guest tsvc listens
    on b "for port in 22 5201 5202 6379 8080; do until nc -z -w 2 $address \$port; do sleep 0.2; done; done" </dev/null
}

answer_field() { sed -n "s/.*\b$1 \([^ ]*\).*/\1/p"; } # answer_field NAME <ANSWER

boot_of() { ask "$1" id | cut -d' ' -f1; } # boot_of ADDRESS: changes when the guest boots again

count_of() { ask "$1" count; } # count_of ADDRESS: the next number; each is given once

memory_checksum() { ask "$1" memory 60 | answer_field checksum; } # memory_checksum ADDRESS

# checker_errors ADDRESS: of the memory checker, which verifies its whole region for this answer, and of the writer
checker_errors() {
    local memory writer
    memory=$(ask "$1" memory 60 | answer_field errors)
    writer=$(ask "$1" writer | answer_field errors)
    echo $((memory + writer))
}

writer_set() { ask "$1" "writer?pages=$2&bytes=${3:-4096}" >/dev/null; } # writer_set ADDRESS PAGES_PER_S [BYTES_OF_EACH]

# The judges of a guest that was moved. guest_remember takes down what it is, guest_judge sees that it is the very same.
guest_remember() {
    boot=$(boot_of "$address")
    checksum=$(memory_checksum "$address")
    count=$(count_of "$address")
}

guest_judge() {
    expect "the boot number" "$(boot_of "$address")" "$boot"
    expect "the next count" "$(count_of "$address")" $((count + 1))
    expect "the memory's checksum" "$(memory_checksum "$address")" "$checksum"
    expect "the number of errors" "$(checker_errors "$address")" 0
    count=$((count + 1))
}

watch_start() { # watch_start ADDRESS EVERY_MS: host $CLIENT reads numbers on one connection, through all that comes
    T=90 on "${CLIENT:-b}" "setsid /rig/bin/rigguest watch $1 $2 >/var/tmp/watch.log 2>&1 </dev/null & echo \$! >/run/watch.pid
        until grep -q numbers /var/tmp/watch.log; do sleep 0.1; done" || fail "the guest's stream does not begin"
}

watch_end() { # watch_end: what the watch saw; fails if a number was missing or came twice, or the connection broke
    local seen
    seen=$(on "${CLIENT:-b}" 'kill $(cat /run/watch.pid) 2>/dev/null
        while [ -d /proc/$(cat /run/watch.pid) ]; do sleep 0.05; done; cat /var/tmp/watch.log' </dev/null)
    ! grep -q '^error\|^the connection ended' <<<"$seen" || fail "the guest's stream broke: $(tail -n 3 <<<"$seen")"
    tail -n 1 <<<"$seen"
}

# What is said on a host of its guests leaves out what stands by for an engine that lives: a secondary's copies. Its mark
# names the engine's process, and when that began.
STANDING='stands() { mark=$(xenstore-read /local/domain/$1/understudy/standing 2>/dev/null) || return 1
    [ "$(sed "s/.*) //" /proc/${mark% *}/stat 2>/dev/null | cut -d" " -f20)" = "${mark#* }" ]; }'

domains_of() { # domains_of HOST: the names of its guests, in one line
    on "$1" "$STANDING; xl list | sed '1d; /^Domain-0 /d' | while read -r name domain _; do
        stands \$domain || echo \$name; done | sort | paste -sd' '" </dev/null
}

nothing_left() { # nothing_left HOST [GUEST…]: the host runs these guests and no other; xenstore knows of no other
    local host=$1 known
    shift
    expect "what runs on host $host" "$(domains_of "$host")" "$*"
    known=$(on "$host" "$STANDING"'; for d in $(xenstore-list /local/domain); do
            [ $d = 0 ] || stands $d || xenstore-read /local/domain/$d/name; done | sort | paste -sd" "' </dev/null)
    expect "what xenstore of host $host knows" "$known" "$*"
}

standing_on() { # standing_on HOST: the names of what stands by there, in one line
    on "$1" "$STANDING; xl list | sed '1d; /^Domain-0 /d' | while read -r name domain _; do
        if stands \$domain; then echo \$name; fi; done | sort | paste -sd' '" </dev/null
}

stand_again() { rig_resume "$RESUMED"; } # both hosts as they were when the scenario began

# put_understudy [NAME…]: the built binaries, or these of them, on both hosts. Without their debug information and packed,
# since an emulated host deciphers a few MB a second only.
put_understudy() {
    local release name host puts found=0
    release=${CARGO_TARGET_DIR:-$RIG/../../target}/release
    [ $# -gt 0 ] || set -- understudy understudy-save-helper
    for name in "$@"; do
        [ -x "$release/$name" ] || continue
        found=1 puts=()
        pack_binary "$release/$name" "$RUN/packed/$name.zst"
        for host in a b; do
            on $host "zstd -dqc >/usr/local/bin/$name.new && chmod 755 /usr/local/bin/$name.new &&
                mv /usr/local/bin/$name.new /usr/local/bin/$name" <"$RUN/packed/$name.zst" &
            puts+=($!)
        done
        for host in "${puts[@]}"; do wait "$host"; done
    done
    [ "$found" = 1 ] || skip "no release binaries in $release: cargo build --release"
}

pack_binary() { # pack_binary BINARY FILE: unless the file is of this very binary
    local of
    of=$(stat -c '%n %Y %s %i' "$1")
    [ "$(cat "$2.of" 2>/dev/null)" != "$of" ] || return 0
    mkdir -p "$(dirname "$2")"
    strip --strip-debug -o "$2.stripped" "$1"
    zstd -qf "$2.stripped" -o "$2"
    rm "$2.stripped"
    echo "$of" >"$2.of"
}

# machine_start NAME COMMAND…: a process on this machine, such as a witness, that ends with the scenario. Hosts reach
# what listens on 127.0.0.1:$(rig_port third) as 10.0.2.100:7400. Its output is $RUN/machine/NAME.log.
machine_start() {
    local name=$1
    shift
    mkdir -p "$RUN/machine"
    (
        setsid "$@" >"$RUN/machine/$name.log" 2>&1 </dev/null 9>&- &
        echo "$! $(process_began $!)" >"$RUN/machine/$name.pid"
    )
}

process_began() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; } # process_began PID: in clock ticks since boot

machine_stop() { # machine_stop NAME [SIGNAL]
    local pid began
    read -r pid began <"$RUN/machine/$1.pid" || return 0
    rm "$RUN/machine/$1.pid"
    [ "$(process_began "$pid")" = "$began" ] || return 0 # it ended, and another has its number
    kill -s "${2:-KILL}" "$pid"
}

machine_stop_all() {
    local file
    for file in "$RUN"/machine/*.pid; do
        [ ! -f "$file" ] || machine_stop "$(basename "$file" .pid)" || true
    done
}

needs_log_dirty() { # of the hypervisor: without shadow paging it does not log what a PV guest writes
    [ "$(type_of "$guest")" != pv ] || [ "$XEN_BINARY_a" = "$(shadow_dir)/xen" ] ||
        skip "PV guests have no log-dirty: the hypervisor with shadow paging is not built (rig build-shadow)"
}
